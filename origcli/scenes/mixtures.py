"""Which scenes a data set is made of (supplement 2.1, 3, 6.1).

- `uniform` (2.1): a share of empty images; else 1 to n elements, the number, each element and each place
  uniform and independent.
- `originality` (6.1): besides the empty ones, `common` images hold exactly a circle and a square, `rare`
  ones exactly a circle and a triangle, each color independent. The `rest` holds 1 to n elements, the
  number uniform, and then uniform among all choices with at most one element of {circle, square, triangle}.
  So a square and a triangle, `unseen`, never meet. All are big and full, unless told otherwise.
- A category alone: query sets of one kind of image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from operator import attrgetter

from origcli.errors import UsageError
from origcli.runtime.seeding import derive_seed
from origcli.scenes.captions import shuffled
from origcli.scenes.elements import CORE_SHAPES, SIZES, TEXTURES, Element, select_elements
from origcli.scenes.geometry import half_extent
from origcli.scenes.placement import Place, fixed_place, has_room, place_apart, place_freely
from origcli.scenes.scene import Scene
from origcli.scenes.stream import Stream
from origcli.scenes.visibility import arrange
from origcli.settings import SynthSettings

PAIRS = {"common": ("circle", "square"), "rare": ("circle", "triangle"), "unseen": ("square", "triangle")}


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
        _ = self.elements  # unknown words are reported at once
        if settings.mixture == "originality":
            self._check_originality()
        elif settings.category is not None or settings.fixed_location:
            given = "--category" if settings.category else "--fixed-location"
            raise UsageError(f"{given} says nothing about the uniform mixture", "add --mixture originality")
        if settings.no_overlap:
            self._check_room()

    def _check_room(self) -> None:
        """The fullest image has to have room whatever its elements are, or the set fails after an hour."""
        settings, elements, most = self.settings, self.elements, self.settings.max_elements
        if settings.category in PAIRS:
            most, elements = 2, tuple(e for shape in PAIRS[settings.category] for e in self.of_shape(shape))
        elif settings.mixture == "originality" and not self.others:
            most = 2  # pairs, or one core element alone
        widest = max(elements, key=lambda element: half_extent(element.shape, element.size))
        if not has_room(widest, most):
            fitting = next(n for n in count(1) if not has_room(widest, n + 1))
            raise UsageError(
                f"no room for {most} elements that do not overlap, were each a {widest.size} {widest.shape}",
                f"use --max-elements {fitting} at most, or elements less wide",
            )

    def _check_originality(self) -> None:
        settings = self.settings
        if settings.empty + settings.common + settings.rare > 1:
            raise UsageError("the shares of empty, common and rare images add up to more than 1")
        if settings.max_elements < 2:
            raise UsageError("the originality mixture is made of pairs", "use --max-elements 2 or more")
        for shape in CORE_SHAPES:
            if not self.of_shape(shape):
                raise UsageError(
                    f"the originality mixture needs a {shape}", "hold out less, or add the shape"
                )

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        """The elements in use."""
        settings = self.settings
        alone = settings.mixture == "originality"
        return select_elements(
            settings.sizes or (SIZES[:1] if alone else SIZES),
            settings.colors,
            settings.textures or (TEXTURES[:1] if alone else TEXTURES),
            settings.shapes,
            settings.hold_out,
        )

    def of_shape(self, shape: str) -> tuple[Element, ...]:
        """The elements in use of one shape."""
        return tuple(element for element in self.elements if element.shape == shape)

    @cached_property
    def core(self) -> tuple[Element, ...]:
        """The circles, squares and triangles in use."""
        return tuple(element for element in self.elements if element.shape in CORE_SHAPES)

    @cached_property
    def others(self) -> tuple[Element, ...]:
        """The elements in use of other shapes."""
        return tuple(element for element in self.elements if element.shape not in CORE_SHAPES)


def core_probability(number: int, core: int, others: int) -> float:
    """The share of sequences with one core element among those with at most one.

    There are o^k sequences of k elements without and k · c · o^(k−1) with one core element.

    Args:
        number: the elements of the image, k.
        core: the core elements in use, c.
        others: the other elements in use, o.
    """
    return number * core / (number * core + others)


class Sampler:
    """Draws the scenes of a recipe: image i depends on the recipe's mixture, its seed and i alone.

    One stream serves all images, so a sampler is not for several threads at once.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._pairs = {
            kind: tuple(recipe.of_shape(shape) for shape in shapes) for kind, shapes in PAIRS.items()
        }
        # The last bit of the key tells query sets from training sets: no two of them share a stream.
        category = recipe.settings.category
        key = derive_seed("scenes", recipe.seed, category or "train") << 1 | (category is not None)
        self._stream = Stream(key)

    def draw(self, index: int) -> tuple[Scene, tuple[Element, ...]]:
        """The scene of image `index`, and its elements in the order of the caption.

        Raises:
            UsageError: the elements found no room apart from each other (`no_overlap`).
        """
        self._stream.begin(index)
        kind = self._kind()
        elements = self._elements(kind)
        scene = Scene(arrange(elements, self._places(kind, elements)), kind)
        if self.recipe.settings.caption_order == "fixed":
            return scene, tuple(sorted(elements, key=attrgetter("index")))
        return scene, shuffled(elements, self._stream.below)

    def scene(self, index: int) -> Scene:
        """The scene of image `index`."""
        return self.draw(index)[0]

    def _kind(self) -> str:
        settings = self.recipe.settings
        if settings.category is not None:
            return settings.category
        u = self._stream.unit()
        if u < settings.empty:
            return "empty"
        if settings.mixture == "uniform":
            return "uniform"
        if u < settings.empty + settings.common:
            return "common"
        return "rare" if u < settings.empty + settings.common + settings.rare else "rest"

    def _elements(self, kind: str) -> tuple[Element, ...]:
        """The elements of an image in the order of painting."""
        if kind == "empty":
            return ()
        if kind in PAIRS:
            pair = tuple(self._one_of(elements) for elements in self._pairs[kind])
            return shuffled(pair, self._stream.below)
        number = 1 + self._stream.below(self.recipe.settings.max_elements)
        if kind == "uniform":
            return tuple(self._one_of(self.recipe.elements) for _ in range(number))
        return self._rest(number)

    def _rest(self, number: int) -> tuple[Element, ...]:
        core, others = self.recipe.core, self.recipe.others
        if not others:
            return (self._one_of(core),)  # nothing else may stand beside it
        has_core = self._stream.unit() < core_probability(number, len(core), len(others))
        place = self._stream.below(number) if has_core else -1
        return tuple(self._one_of(core if i == place else others) for i in range(number))

    def _places(self, kind: str, elements: Sequence[Element]) -> list[Place]:
        settings = self.recipe.settings
        if settings.fixed_location and kind == "common":
            return [fixed_place(element) for element in elements]
        if settings.no_overlap:
            return place_apart(elements, self._stream.unit)
        return [place_freely(element, self._stream.unit) for element in elements]

    def _one_of(self, elements: Sequence[Element]) -> Element:
        return elements[self._stream.below(len(elements))]
