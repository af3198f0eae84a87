"""The images of a recipe, ready to be written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from origcli.scenes.captions import caption
from origcli.scenes.mixtures import Recipe, Sampler
from origcli.scenes.png import blank_lines, encode_lines
from origcli.scenes.rendering import paint
from origcli.scenes.scene import Scene

# Images go through each step together, as many as stay in the processor's cache: a fifth faster.
_MOST_TOGETHER = 50
_BYTES_TOGETHER = 1 << 20


@dataclass(frozen=True)
class SceneImage:
    """One image of a data set: its index, its scene, its caption and its PNG file."""

    index: int
    scene: Scene
    caption: str
    png: bytes


def make_images(recipe: Recipe, indices: range, check: Callable[[], None]) -> Iterator[SceneImage]:
    """Makes images one after another; `check` is called every few of them, and may raise to stop."""
    sampler = Sampler(recipe)
    resolution = recipe.settings.resolution
    together = min(max(_BYTES_TOGETHER // (3 * resolution**2), 1), _MOST_TOGETHER)
    for start in range(indices.start, indices.stop, together):
        check()
        block = range(start, min(start + together, indices.stop))
        drawn = [sampler.draw(index) for index in block]
        lines = blank_lines(len(block), resolution)
        for (scene, _), picture in zip(drawn, lines, strict=True):
            paint(scene, picture[:, 1:])
        files = [encode_lines(picture) for picture in lines]
        for index, (scene, order), png in zip(block, drawn, files, strict=True):
            yield SceneImage(index, scene, caption(order, "given"), png)
