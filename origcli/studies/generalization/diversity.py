"""Which generalization experiments there are: spans of elements, and the element that each holds out.

An experiment spans K elements, the product of some sizes, colors, textures and shapes, and trains without
one of them, whose every feature is still seen on others (supplement 2.2). K is its diversity.

Symmetry: the i-th experiments of all levels hold out the same element, so levels differ in diversity and
not in what is asked for. Four in a row hold out each size, texture, color and shape equally often, and at
the left end they are the supplement's: all big and full, big and empty, small and full, small and empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from origcli.errors import UsageError
from origcli.runtime.seeding import derive_seed
from origcli.scenes.captions import caption
from origcli.scenes.elements import (
    ALL_ELEMENTS,
    COLORS,
    SHAPES,
    SIZES,
    TEXTURES,
    Element,
    select_elements,
)

_KINDS = (("big", "full"), ("big", "empty"), ("small", "full"), ("small", "empty"))
# Of four experiments, which of size and texture is fixed where only one of the two can vary: no two of
# them then have the same span.
_FIXED = ("size", "texture", "texture", "size")
_LOOKS = (("red", "circle"), ("blue", "square"), ("blue", "circle"), ("red", "square"))
_COLORS_FIRST = ("red", "blue", "green")  # 2.2: two colors are red and blue
MOST_REPEATS = len(_KINDS) * len(_LOOKS)


@dataclass(frozen=True)
class Span:
    """The product of some values of each feature, in their canonical order."""

    sizes: tuple[str, ...]
    colors: tuple[str, ...]
    textures: tuple[str, ...]
    shapes: tuple[str, ...]

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        """Its elements, the held-out one included."""
        return select_elements(self.sizes, self.colors, self.textures, self.shapes)


@dataclass(frozen=True)
class Experiment:
    """One model to train, and what to look for in its samples.

    Attributes:
        name: names its directory; the same for the same level and number whatever else is planned.
        level: K, the number of elements in the span, the held-out one included.
    """

    name: str
    level: int
    span: Span
    held_out: Element

    @property
    def trained_on(self) -> tuple[Element, ...]:
        """The elements that the training data show."""
        return tuple(element for element in self.span.elements if element != self.held_out)

    def facts(self, settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """All that the trained model depends on, as JSON."""
        return {
            "name": self.name,
            "level": self.level,
            "held_out": self.held_out.phrase,
            "trained_on": [element.phrase for element in self.trained_on],
            "settings": dict(settings),
            "seed": seed,
        }


def _extents(level: int) -> tuple[int, int, int] | None:
    """How many kinds (size and texture together), colors and shapes span `level` elements.

    At least two colors and two shapes (2.2), so that each feature of a held-out element is seen on
    others. Among the ways that there are, that in which most features vary; then most shapes.
    """
    ways = [
        (kinds, level // kinds // shapes, shapes)
        for kinds in (1, 2, 4)
        for shapes in range(2, len(SHAPES) + 1)
        if level % (kinds * shapes) == 0 and 2 <= level // kinds // shapes <= len(COLORS)
    ]
    return max(ways, key=lambda way: (way[0], way[2]), default=None)


def possible_levels() -> list[int]:
    """The diversities that there are, 4 to 60."""
    return [level for level in range(1, 61) if _extents(level) is not None]


def span_of(level: int, number: int) -> Span:
    """The span of the `number`-th experiment of a level, from 0.

    Raises:
        UsageError: no product of features has so many elements.
    """
    extents = _extents(level)
    if extents is None:
        known = ", ".join(map(str, possible_levels()))
        raise UsageError(f"no sizes, colors, textures and shapes span {level} elements", f"levels: {known}")
    kinds, colors, shapes = extents
    size, texture = _KINDS[number % len(_KINDS)]
    fixed = _FIXED[number % len(_KINDS)]
    one_size = kinds == 1 or (kinds == 2 and fixed == "size")
    one_texture = kinds == 1 or (kinds == 2 and fixed == "texture")
    used = _COLORS_FIRST[:colors]
    return Span(
        sizes=(size,) if one_size else SIZES,
        colors=tuple(color for color in COLORS if color in used),
        textures=(texture,) if one_texture else TEXTURES,
        shapes=SHAPES[:shapes],
    )


def held_out_of(number: int) -> Element:
    """The element that the `number`-th experiment of each level holds out, from 0."""
    size, texture = _KINDS[number % len(_KINDS)]
    color, shape = _LOOKS[(number + number // len(_KINDS)) % len(_LOOKS)]
    return Element(size, color, texture, shape)


def plan(levels: Sequence[int], repeats: int) -> list[Experiment]:
    """The experiments of each level, level by level.

    Raises:
        UsageError: a level is impossible or named twice, or there are not so many symmetric experiments.
    """
    if repeats > MOST_REPEATS:
        raise UsageError(f"{repeats} symmetric experiments a level: there are {MOST_REPEATS}")
    if len(set(levels)) < len(levels):
        raise UsageError(f"a level is named twice: {', '.join(map(str, levels))}")
    return [
        Experiment(
            name=f"{level:02d}-{number + 1:02d}-no-{held_out_of(number).phrase.replace(' ', '-')}",
            level=level,
            span=span_of(level, number),
            held_out=held_out_of(number),
        )
        for level, number in product(levels, range(repeats))
    ]


def choose(experiments: Sequence[Experiment], only: Sequence[str]) -> list[Experiment]:
    """The experiments that names or patterns such as `04-*` name; all where there are none.

    Raises:
        UsageError: a name fits none.
    """
    for wanted in only:
        if not any(fnmatchcase(experiment.name, wanted) for experiment in experiments):
            raise UsageError(f"--only {wanted}: no such experiment", "--plan lists them")
    return [e for e in experiments if not only or any(fnmatchcase(e.name, wanted) for wanted in only)]


def caption_pool(max_elements: int, count: int, seed: int) -> list[str]:
    """Distinct captions over all 60 elements, for a text encoder that all experiments share.

    Captions say nothing of how an element looks, so a phrase that a model's images never show may be
    among them.

    Args:
        count: captions that are drawn, repetitions included.
    """
    random = np.random.default_rng(derive_seed(seed, "captions"))
    numbers = random.integers(1, max_elements + 1, size=count)
    drawn = {
        caption([ALL_ELEMENTS[k] for k in random.integers(len(ALL_ELEMENTS), size=number)])
        for number in numbers
    }
    return sorted(drawn | {element.phrase for element in ALL_ELEMENTS})
