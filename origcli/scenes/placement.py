"""Where elements stand: uniformly inside the image, apart from each other, or each at one fixed place."""

from collections.abc import Callable, Sequence

from origcli.errors import UsageError
from origcli.scenes.elements import COLORS, SHAPES, SIZES, TEXTURES, Element
from origcli.scenes.geometry import half_extent
from origcli.scenes.scene import Box, boxes_meet, whole_box
from origcli.scenes.stream import Stream

Place = tuple[float, float]

GAP = 0.02  # between the boxes of elements that may not overlap, a fraction of the width
_TRIES_AN_ELEMENT = 100
_TRIES_A_SCENE = 200
_STARTS, _SUCCESSES = 100, 10


def place_freely(element: Element, unit: Callable[[], float]) -> Place:
    """A uniform place wholly inside the image (supplement 2.1)."""
    half_width, half_height = half_extent(element.shape, element.size)
    return half_width + unit() * (1 - 2 * half_width), half_height + unit() * (1 - 2 * half_height)


def place_apart(elements: Sequence[Element], unit: Callable[[], float]) -> list[Place]:
    """Uniform places, one after another, each tried again until its box is clear of the earlier ones.

    Raises:
        UsageError: there is no room, after many fresh starts.
    """
    for _ in range(_TRIES_A_SCENE):
        places = _try_apart(elements, unit)
        if places is not None:
            return places
    raise UsageError(
        f"found no room for {len(elements)} elements that do not overlap",
        "use a lower --max-elements, or small elements alone",
    )


def has_room(element: Element, number: int) -> bool:
    """Whether so many equal elements can always be placed apart.

    One fresh start of ten has to succeed: then all those of a scene fail less than once in a billion scenes.
    """
    stream = Stream(0)
    stream.begin(number)
    placed = sum(_try_apart([element] * number, stream.unit) is not None for _ in range(_STARTS))
    return placed >= _SUCCESSES


def _try_apart(elements: Sequence[Element], unit: Callable[[], float]) -> list[Place] | None:
    places: list[Place] = []
    taken: list[Box] = []
    for element in elements:
        for _ in range(_TRIES_AN_ELEMENT):
            place = place_freely(element, unit)
            box = whole_box(element, *place)
            if not any(boxes_meet(box, other, GAP) for other in taken):
                places.append(place)
                taken.append(box)
                break
        else:
            return None
    return places


def fixed_place(element: Element) -> Place:
    """The one place of an element of a common pair (supplement 3), the same in every data set.

    Colors go from left to right; circles stand in the upper half, squares in the lower, a little further
    down for other sizes and textures, so that no two elements share a place and no pair overlaps.
    """
    column = COLORS.index(element.color)
    row = SHAPES.index(element.shape)
    step = 2 * SIZES.index(element.size) + TEXTURES.index(element.texture)
    return 0.20 + 0.30 * column, 0.20 + 0.03 * step + 0.50 * row
