"""Scenes: which elements an image shows and where. Coordinates are fractions of the image's width."""

from dataclasses import dataclass

from origcli.scenes.elements import Element
from origcli.scenes.geometry import half_extent

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Placed:
    """An element at its place.

    Args:
        x, y: the center of its bounding box, from the left and from the top.
        box: x0, y0, x1, y1 of what can be seen of it; `None` where all of it is hidden.
        covered: the share of its painted area that later elements hide, 0 to 1.
    """

    element: Element
    x: float
    y: float
    box: Box | None
    covered: float = 0.0


@dataclass(frozen=True)
class Scene:
    """The elements of one image in the order in which they are painted, and the kind of image."""

    placed: tuple[Placed, ...]
    category: str

    @property
    def elements(self) -> tuple[Element, ...]:
        """The elements in the order of painting."""
        return tuple(placed.element for placed in self.placed)


def whole_box(element: Element, x: float, y: float) -> Box:
    """The bounding box of an element that nothing covers."""
    half_width, half_height = half_extent(element.shape, element.size)
    return x - half_width, y - half_height, x + half_width, y + half_height


def boxes_meet(a: Box, b: Box, gap: float = 0.0) -> bool:
    """Whether two boxes overlap or are nearer than `gap` along both axes."""
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap
