"""The experiments, each `run(settings, runtime) -> Report`, and the mathematics of what they measure."""
