"""Drawing pictures from a model: one seed a picture, any batching, the same pictures."""
