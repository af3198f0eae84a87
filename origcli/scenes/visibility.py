"""What can be seen of every element: its visible box and the share of it that later elements hide.

Facts of the scene, not of the data set's resolution: they are taken at the points of a grid of 1024 by
1024, so a side of a partly hidden element is right to a pixel of the largest picture. A side that
shows, and all of an element that nothing hides, is exact.
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

GRID = 1024
Mask = npt.NDArray[np.bool_]
Span = tuple[int, int, int, int]


@dataclass(frozen=True)
class Silhouette:
    """The grid points that an element covers whose centre is a grid point.

    Args:
        mask: (2 b + 1, 2 a + 1), the centre in the middle.
        area: the number of covered points.
        span: x0, y0, x1, y1 of the covered points in the mask.
    """

    mask: Mask
    area: int
    span: Span

    def corner(self, item: Placed) -> tuple[int, int]:
        """The column and the row of the mask's corner where the element stands."""
        height, width = self.mask.shape
        return round(item.x * GRID) - width // 2, round(item.y * GRID) - height // 2


@cache
def silhouette(kind: tuple[str, str, str]) -> Silhouette:
    """The silhouette of a size, texture and shape."""
    size, _, shape = kind
    half_width, half_height = (int(half * GRID) for half in half_extent(shape, size))
    x = np.arange(-half_width, half_width + 1) / GRID
    y = np.arange(-half_height, half_height + 1) / GRID
    mask: Mask = signed_distance(*np.meshgrid(x, y), *kind) <= 0
    return Silhouette(mask, int(np.count_nonzero(mask)), _span(mask))


def _span(points: Mask) -> Span:
    """The first and last columns and rows with a true point: x0, y0, x1, y1."""
    columns = np.flatnonzero(np.logical_or.reduce(points, axis=0))
    rows = np.flatnonzero(np.logical_or.reduce(points, axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def arrange(elements: Sequence[Element], places: Sequence[Place]) -> tuple[Placed, ...]:
    """Puts elements at their places, in the order of painting, and finds what can be seen of them."""
    boxes = [whole_box(element, *place) for element, place in zip(elements, places, strict=True)]
    placed = [
        Placed(element, *place, box) for element, place, box in zip(elements, places, boxes, strict=True)
    ]
    for i, item in enumerate(placed):
        above = [placed[j] for j in range(i + 1, len(placed)) if boxes_meet(boxes[i], boxes[j])]
        if above:
            placed[i] = Placed(item.element, item.x, item.y, *_seen(item, above, boxes[i]))
    return tuple(placed)


def _seen(item: Placed, above: Sequence[Placed], box: Box) -> tuple[Box | None, float]:
    """The visible box of an element under others and the share of it that they hide."""
    whole = silhouette(item.element.kind)
    column, row = whole.corner(item)
    seen = whole.mask.copy()
    for other in above:
        _hide(seen, column, row, other)
    area = int(np.count_nonzero(seen))
    if area == whole.area:
        return box, 0.0
    if area == 0:
        return None, 1.0
    sides = [
        exact if at == end else (first + at) / GRID
        for exact, at, end, first in zip(box, _span(seen), whole.span, (column, row) * 2, strict=True)
    ]
    return (sides[0], sides[1], sides[2], sides[3]), 1 - area / whole.area


def _hide(seen: Mask, column: int, row: int, above: Placed) -> None:
    """Takes from the seen points of an element what another one hides of it."""
    cover = silhouette(above.element.kind)
    above_column, above_row = cover.corner(above)
    dx, dy = above_column - column, above_row - row
    top, bottom = max(dy, 0), min(dy + cover.mask.shape[0], seen.shape[0])
    left, right = max(dx, 0), min(dx + cover.mask.shape[1], seen.shape[1])
    if top < bottom and left < right:
        part = seen[top:bottom, left:right]
        # Seen and not covered, in one pass: of two truth values one is greater where it alone is true.
        np.greater(part, cover.mask[top - dy : bottom - dy, left - dx : right - dx], out=part)
