"""The pictures of a recipe, ready to be written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from origcli.scenes.captions import caption
from origcli.scenes.mixtures import Recipe, Sampler
from origcli.scenes.png import encode_png
from origcli.scenes.rendering import render
from origcli.scenes.scene import Scene


@dataclass(frozen=True)
class Picture:
    """One picture of a data set: its index, its scene, its caption and its PNG file."""

    index: int
    scene: Scene
    caption: str
    png: bytes


def make_pictures(recipe: Recipe, indices: range, check: Callable[[], None]) -> Iterator[Picture]:
    """Makes pictures one after another; `check` is called before each, and may raise to stop."""
    sampler = Sampler(recipe)
    for index in indices:
        check()
        scene, order = sampler.draw(index)
        png = encode_png(render(scene, recipe.settings.resolution))
        yield Picture(index, scene, caption(order, "given"), png)
