"""The presets: paper.toml (complete), and those that are layered on it."""

from collections.abc import Sequence

PRESETS = ("paper", "small", "fast", "many")
DEFAULT_PRESETS = ("small", "fast")


def for_many_models(presets: Sequence[str]) -> list[str]:
    """The presets of a command that trains many models: `many` is layered on `small`."""
    layered = {"small": ("small",) if "many" in presets else ("small", "many")}
    return [name for given in presets for name in layered.get(given, (given,))]
