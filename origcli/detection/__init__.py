"""What is in an image of the shapes world: detectors, and counting what they find."""
