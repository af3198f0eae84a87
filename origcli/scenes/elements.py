"""The elements of the shapes world: size × color × texture × shape, 60 in all (supplement 2.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Self

from origcli.errors import UsageError

SIZES = ("big", "small")
COLORS = ("red", "green", "blue")
TEXTURES = ("full", "empty")
SHAPES = ("circle", "square", "triangle", "hexagon", "star")
# The originality mixture is made of pairs of these (supplement 6.1).
CORE_SHAPES = SHAPES[:3]
FEATURES: dict[str, tuple[str, ...]] = {"size": SIZES, "color": COLORS, "texture": TEXTURES, "shape": SHAPES}


@dataclass(frozen=True)
class Element:
    """One kind of thing that an image may show. Elements sort in the order of `ALL_ELEMENTS`."""

    size: str
    color: str
    texture: str
    shape: str

    @cached_property
    def phrase(self) -> str:
        """The words of the element in their one order: "big red full circle"."""
        return f"{self.size} {self.color} {self.texture} {self.shape}"

    @cached_property
    def index(self) -> int:
        """The class number, 0 to 59: size counts most, shape least."""
        number = 0
        for value, values in zip(self.features, FEATURES.values(), strict=True):
            number = number * len(values) + values.index(value)
        return number

    @property
    def features(self) -> tuple[str, str, str, str]:
        """Size, color, texture and shape."""
        return self.size, self.color, self.texture, self.shape

    @property
    def kind(self) -> tuple[str, str, str]:
        """What decides the outline: size, texture and shape, without the color."""
        return self.size, self.texture, self.shape

    def __lt__(self, other: "Element") -> bool:
        return self.index < other.index

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a full phrase, its words in any order ("big full red circle" is in use too).

        Raises:
            UsageError: a word is unknown, or a feature is missing or told twice.
        """
        told = parse_description(text)
        missing = [feature for feature in FEATURES if feature not in told]
        if missing:
            raise UsageError(
                f"{text!r} tells no {missing[0]}",
                f"a {missing[0]} is one of {', '.join(FEATURES[missing[0]])}",
            )
        return cls(**told)


def parse_description(text: str) -> dict[str, str]:
    """Reads a partial description such as "blue circle": feature -> value.

    Raises:
        UsageError: it is empty, a word is unknown, or two words tell the same feature.
    """
    told: dict[str, str] = {}
    for word in text.lower().split():
        feature = next((name for name, values in FEATURES.items() if word in values), None)
        if feature is None:
            raise UsageError(f"{text!r}: no element is {word!r}", f"the words are {_vocabulary()}")
        if feature in told:
            raise UsageError(f"{text!r}: both {told[feature]!r} and {word!r} tell the {feature}")
        told[feature] = word
    if not told:
        raise UsageError("an element's description is empty", f"the words are {_vocabulary()}")
    return told


def _vocabulary() -> str:
    return "; ".join(f"{name}: {', '.join(values)}" for name, values in FEATURES.items())


def matches(element: Element, told: dict[str, str]) -> bool:
    """Whether an element is what a partial description tells."""
    return all(getattr(element, feature) == value for feature, value in told.items())


ALL_ELEMENTS: tuple[Element, ...] = tuple(Element(*features) for features in product(*FEATURES.values()))


def select_elements(
    sizes: Sequence[str] = SIZES,
    colors: Sequence[str] = COLORS,
    textures: Sequence[str] = TEXTURES,
    shapes: Sequence[str] = SHAPES,
    hold_out: Iterable[str] = (),
) -> tuple[Element, ...]:
    """The elements of the given features without those that a hold-out description matches.

    Args:
        hold_out: full or partial descriptions; "blue circle" holds out every blue circle.

    Raises:
        UsageError: an unknown word, or a hold-out that matches nothing, or nothing is left.
    """
    chosen = {"size": sizes, "color": colors, "texture": textures, "shape": shapes}
    for feature, values in chosen.items():
        for value in values:
            if value not in FEATURES[feature]:
                raise UsageError(
                    f"unknown {feature} {value!r}", f"choose from {', '.join(FEATURES[feature])}"
                )
    span = [e for e in ALL_ELEMENTS if all(getattr(e, f) in values for f, values in chosen.items())]
    kept = span
    for text in hold_out:
        told = parse_description(text)
        if not any(matches(element, told) for element in span):
            raise UsageError(f"--hold-out {text!r} matches none of the {len(span)} elements in use")
        kept = [element for element in kept if not matches(element, told)]
    if not kept:
        raise UsageError("no element is left", "hold out less, or use more sizes, colors or shapes")
    return tuple(kept)
