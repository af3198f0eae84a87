"""What is in a picture of the shapes world: detectors, and counting what they find."""
