"""The shapes world: elements, scenes, captions, rendering, mixtures and data sets. It knows no torch."""
