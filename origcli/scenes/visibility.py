"""What can be seen of every element: its visible box and the share of it that later elements hide.

Facts of the scene, not of a resolution: they are taken on a grid of 512 by 512 points, so the edge of a
partly hidden element is right to 1/512 of the width. The box of an element that nothing hides is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from origcli.scenes.elements import Element
from origcli.scenes.geometry import half_extent, signed_distance
from origcli.scenes.placement import Place
from origcli.scenes.scene import Box, Placed, boxes_meet, whole_box

GRID = 512
Mask = npt.NDArray[np.bool_]
Corner = tuple[int, int]


@dataclass(frozen=True)
class Silhouette:
    """The grid points around its centre that an element covers.

    Args:
        mask: (2 b + 1, 2 a + 1), the centre in the middle.
        area: the number of covered points.
        span: x0, y0, x1, y1 of the covered points in the mask.
    """

    mask: Mask
    area: int
    span: tuple[int, int, int, int]

    def corner(self, place: Place) -> Corner:
        """The grid point of the mask's corner for an element at a place: x and y."""
        height, width = self.mask.shape
        return round(place[0] * GRID) - width // 2, round(place[1] * GRID) - height // 2


@cache
def silhouette(kind: tuple[str, str, str]) -> Silhouette:
    """The silhouette of an element of some size, texture and shape."""
    size, _, shape = kind
    half_width, half_height = half_extent(shape, size)
    x = np.arange(-int(half_width * GRID), int(half_width * GRID) + 1) / GRID
    y = np.arange(-int(half_height * GRID), int(half_height * GRID) + 1) / GRID
    xs, ys = np.meshgrid(x, y)
    mask = np.asarray(signed_distance(xs, ys, *kind) <= 0)
    return Silhouette(mask, int(np.count_nonzero(mask)), _span(mask))


def _span(mask: Mask) -> tuple[int, int, int, int]:
    """The first and last columns and rows with a true point: x0, y0, x1, y1."""
    columns: Mask = np.any(mask, axis=0)
    rows: Mask = np.any(mask, axis=1)
    return (
        int(columns.argmax()),
        int(rows.argmax()),
        len(columns) - 1 - int(columns[::-1].argmax()),
        len(rows) - 1 - int(rows[::-1].argmax()),
    )


def arrange(elements: Sequence[Element], places: Sequence[Place]) -> tuple[Placed, ...]:
    """Puts elements at their places, in the order of painting, and finds what can be seen of them."""
    things = list(zip(elements, places, strict=True))
    boxes = [whole_box(element, *place) for element, place in things]
    placed = []
    for i, (element, place) in enumerate(things):
        over = [j for j in range(i + 1, len(things)) if boxes_meet(boxes[i], boxes[j])]
        box, covered = _seen(element, place, [things[j] for j in over], boxes[i]) if over else (boxes[i], 0.0)
        placed.append(Placed(element, *place, box, covered))
    return tuple(placed)


def _seen(
    element: Element, place: Place, over: Sequence[tuple[Element, Place]], box: Box
) -> tuple[Box | None, float]:
    """The visible box of an element under others and the share of it that they hide."""
    whole = silhouette(element.kind)
    corner = whole.corner(place)
    seen = whole.mask.copy()
    for other, other_place in over:
        above = silhouette(other.kind)
        _hide(seen, corner, above.mask, above.corner(other_place))
    area = int(np.count_nonzero(seen))
    if area == whole.area:
        return box, 0.0
    if area == 0:
        return None, 1.0
    span = _span(seen)
    sides = [
        # A side that reaches as far as that of the whole element is exact; the others end half a point out.
        exact if at == end else (origin + at + outward) / GRID
        for exact, at, end, origin, outward in zip(
            box, span, whole.span, corner * 2, (-0.5, -0.5, 0.5, 0.5), strict=True
        )
    ]
    return (sides[0], sides[1], sides[2], sides[3]), 1 - area / whole.area


def _hide(seen: Mask, corner: Corner, above: Mask, above_corner: Corner) -> None:
    """Takes from `seen` the points that a mask above it covers."""
    dx, dy = above_corner[0] - corner[0], above_corner[1] - corner[1]
    height, width = seen.shape
    top, bottom = max(dy, 0), min(dy + above.shape[0], height)
    left, right = max(dx, 0), min(dx + above.shape[1], width)
    if top < bottom and left < right:
        part = seen[top:bottom, left:right]
        # Where above is set the point is hidden: seen and not above is seen > above.
        np.greater(part, above[top - dy : bottom - dy, left - dx : right - dx], out=part)
