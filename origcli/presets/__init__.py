"""The presets: paper.toml (complete), and those that are layered on it."""

PRESETS = ("paper", "small", "fast", "many")
DEFAULT_PRESETS = ("small", "fast")
