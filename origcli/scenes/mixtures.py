"""Which scenes a data set is made of (supplement 2.1, 3, 6.1), each drawn from a stream of its own.

- `uniform` (2.1): a share of empty pictures; else 1 to n elements, the number, each element and each place
  uniform and independent.
- `originality` (6.1): besides the empty ones, `common` pictures hold exactly a circle and a square, `rare`
  ones exactly a circle and a triangle; the `rest` holds 1 to n elements with at most one of {circle,
  square, triangle} in all, which is the uniform mixture under that condition. So a square and a triangle,
  `unseen`, never meet.

Picture i of a seed is the same whatever the count, the number of workers and the resolution.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from origcli.errors import UsageError
from origcli.runtime.seeding import derive_seed
from origcli.scenes.elements import Element, select_elements
from origcli.scenes.placement import Place, fixed_place, place_apart, place_freely
from origcli.scenes.scene import Scene
from origcli.scenes.visibility import arrange
from origcli.settings import SynthSettings

PAIRS = {"common": ("circle", "square"), "rare": ("circle", "triangle"), "unseen": ("square", "triangle")}
CATEGORIES = ("common", "rare", "unseen", "rest")
CORE = ("circle", "square", "triangle")
_BUFFER = 16


class Stream:
    """Uniform numbers of one picture: a counter-based generator keyed by the set and the picture's index."""

    def __init__(self, key: int, index: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=np.array([key, index], dtype=np.uint64)))
        self._ready: list[float] = []

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        if not self._ready:
            self._ready = self._generator.random(_BUFFER).tolist()[::-1]
        return self._ready.pop()

    def below(self, bound: int) -> int:
        """Uniform in 0 … bound − 1."""
        return int(self.unit() * bound)


@dataclass(frozen=True)
class Recipe:
    """All that decides the scenes of a data set.

    Raises:
        UsageError: the settings do not go together.
    """

    settings: SynthSettings
    seed: int

    def __post_init__(self) -> None:
        settings = self.settings
        if settings.mixture == "uniform" and (settings.category or settings.fixed_location):
            given = "--category" if settings.category else "--fixed-location"
            raise UsageError(f"{given} has no meaning in the uniform mixture", "add --mixture originality")
        if settings.mixture == "originality":
            if settings.empty + settings.common + settings.rare > 1:
                raise UsageError("the shares of empty, common and rare pictures are over 1 together")
            if settings.max_elements < 2:
                raise UsageError("the originality mixture is made of pairs", "use --max-elements 2 or more")
            for shape in CORE:
                if not any(e.shape == shape for e in self.elements):
                    raise UsageError(f"the originality mixture needs a {shape}", "hold out less, or add it")

    @property
    def elements(self) -> tuple[Element, ...]:
        """The elements in use. The originality mixture has big and full ones alone unless told otherwise."""
        settings = self.settings
        alone = settings.mixture == "originality"
        return select_elements(
            settings.sizes or (("big",) if alone else ("big", "small")),
            settings.colors,
            settings.textures or (("full",) if alone else ("full", "empty")),
            settings.shapes,
            settings.hold_out,
        )


class Sampler:
    """Draws the scenes of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        settings = self.settings = recipe.settings
        self.elements = recipe.elements
        self.core = tuple(e for e in self.elements if e.shape in CORE)
        self.others = tuple(e for e in self.elements if e.shape not in CORE)
        self.by_shape = {shape: tuple(e for e in self.elements if e.shape == shape) for shape in CORE}
        # The last bit of the key tells query sets from training sets: no two of them share a stream.
        purpose = settings.category or "train"
        self.key = derive_seed("scenes", recipe.seed, purpose) << 1 | (settings.category is not None)

    def scene(self, index: int) -> Scene:
        """The scene of picture `index`.

        Raises:
            UsageError: the elements have no room apart from each other (`no_overlap`).
        """
        return self.scene_and_order(index)[0]

    def scene_and_order(self, index: int) -> tuple[Scene, tuple[Element, ...]]:
        """The scene of picture `index` and its elements in the order of the caption."""
        stream = Stream(self.key, index)
        category = self._category(stream)
        elements = self._elements(category, stream)
        scene = Scene(arrange(elements, self._places(category, elements, stream.unit)), category)
        if self.settings.caption_order == "fixed":
            return scene, tuple(sorted(elements))
        return scene, _shuffled(elements, stream)

    def _category(self, stream: Stream) -> str:
        settings = self.settings
        if settings.category is not None:
            return settings.category
        u = stream.unit()
        if u < settings.empty:
            return "empty"
        if settings.mixture == "uniform":
            return "uniform"
        if u < settings.empty + settings.common:
            return "common"
        return "rare" if u < settings.empty + settings.common + settings.rare else "rest"

    def _elements(self, category: str, stream: Stream) -> tuple[Element, ...]:
        if category == "empty":
            return ()
        if category in PAIRS:
            pair = [_one_of(self.by_shape[shape], stream) for shape in PAIRS[category]]
            return _shuffled(tuple(pair), stream)
        count = 1 + stream.below(self.settings.max_elements)
        if category == "uniform":
            return tuple(_one_of(self.elements, stream) for _ in range(count))
        return self._rest(count, stream)

    def _rest(self, count: int, stream: Stream) -> tuple[Element, ...]:
        """Uniform among the sequences of elements with at most one of the core shapes."""
        if not self.others:
            return (_one_of(self.core, stream),)
        # There are o^k sequences without and k·c·o^(k−1) with one core element.
        with_core = count * len(self.core)
        has_core = stream.unit() * (with_core + len(self.others)) < with_core
        position = stream.below(count) if has_core else -1
        return tuple(_one_of(self.core if i == position else self.others, stream) for i in range(count))

    def _places(self, category: str, elements: tuple[Element, ...], unit: Callable[[], float]) -> list[Place]:
        if self.settings.fixed_location and category == "common":
            return [fixed_place(element) for element in elements]
        if self.settings.no_overlap:
            return place_apart(elements, unit)
        return [place_freely(element, unit) for element in elements]


def _one_of(elements: tuple[Element, ...], stream: Stream) -> Element:
    return elements[stream.below(len(elements))]


def _shuffled(elements: tuple[Element, ...], stream: Stream) -> tuple[Element, ...]:
    """A uniform order (Fisher-Yates)."""
    order = list(elements)
    for last in range(len(order) - 1, 0, -1):
        other = stream.below(last + 1)
        order[last], order[other] = order[other], order[last]
    return tuple(order)
