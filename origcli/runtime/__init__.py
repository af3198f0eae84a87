"""What all commands share: device, precision, memory, seeds, progress, run directories, cache."""
