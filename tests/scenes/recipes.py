"""Recipes of the tests: the settings of the small preset with what a test changes."""

from typing import Any

from origcli.scenes.mixtures import Recipe
from origcli.settings import resolve


def recipe(seed: int = 0, **changes: Any) -> Recipe:
    """A recipe of the small preset, no environment read."""
    settings, _ = resolve({"synth": changes}, environment={})
    return Recipe(settings.synth, seed)
