"""What can be seen of every element: its visible box and the share of it that later elements hide.

Facts of the scene, not of the data set's resolution: they are taken at the points of a grid of 1024 by
1024, so a side of a partly hidden element is right to a pixel of the largest image. A side that
shows, and all of an element that nothing hides, is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from origcli.scenes.elements import Element
from origcli.scenes.geometry import half_extent
from origcli.scenes.placement import Place
from origcli.scenes.rendering import Kind, fine_coverage, steps_a_pixel
from origcli.scenes.scene import Box, Placed, boxes_meet, whole_box

GRID = 1024
_RESOLUTION = 128
_MARGIN = steps_a_pixel(_RESOLUTION) - 1  # points before the corner of the element's box
_ROWS = 16  # the rows of a silhouette are a multiple of this
Bits = npt.NDArray[np.uint8]
Span = tuple[int, int, int, int]


@dataclass(frozen=True)
class Silhouette:
    """The grid points that an element covers, eight to a byte.

    Args:
        bits: (h, w / 8); its first bit is that of a column whose number in the grid divides by eight.
        others: the other points, the complement of `bits`.
        area: the number of covered points.
        span: x0, y0, x1, y1 of the covered points.
    """

    bits: Bits
    others: Bits
    area: int
    span: Span


@cache
def silhouette(kind: Kind, shift: int) -> Silhouette:
    """The silhouette of a size, texture and shape.

    Args:
        shift: the columns between its first one and the last one before that divides by eight.
    """
    covered = fine_coverage(kind, _RESOLUTION) >= 0.5
    height, width = covered.shape
    filler = ((0, -height % _ROWS), (shift, -(width + shift) % 64))  # whole words a row: see `_area`
    bits = np.packbits(np.pad(covered, filler), axis=1)
    return Silhouette(bits, ~bits, _area(bits), _span(bits))


def _stand(item: Placed) -> tuple[Silhouette, int, int]:
    """An element's silhouette, and the byte and the row of the grid where it begins."""
    half_width, half_height = half_extent(item.element.shape, item.element.size)
    column, shift = divmod(round((item.x - half_width) * GRID) - _MARGIN, 8)
    return silhouette(item.element.kind, shift), column, round((item.y - half_height) * GRID) - _MARGIN


def _area(bits: Bits) -> int:
    return int(np.bitwise_count(bits.view(np.uint64)).sum())


def _span(bits: Bits) -> Span:
    """The first and last columns and rows with a point: x0, y0, x1, y1."""
    width = bits.shape[1]
    points = bits.tobytes()
    first, last = len(points) - len(points.lstrip(b"\0")), len(points.rstrip(b"\0")) - 1
    # Over blocks of rows first: NumPy is fast along long lines.
    some_rows = np.bitwise_or.reduce(bits.reshape(-1, _ROWS * width), axis=0)
    columns = np.unpackbits(np.bitwise_or.reduce(some_rows.reshape(_ROWS, width), axis=0)).tobytes()
    return columns.index(1), first // width, columns.rindex(1), last // width


def arrange(elements: Sequence[Element], places: Sequence[Place]) -> tuple[Placed, ...]:
    """Puts elements at their places, in the order of painting, and finds what can be seen of them."""
    boxes = [whole_box(element, x, y) for element, (x, y) in zip(elements, places, strict=True)]
    placed = [
        Placed(element, x, y, box) for element, (x, y), box in zip(elements, places, boxes, strict=True)
    ]
    for i, box in enumerate(boxes[:-1]):
        above = [placed[j] for j in range(i + 1, len(placed)) if boxes_meet(box, boxes[j])]
        if above:
            item = placed[i]
            placed[i] = Placed(item.element, item.x, item.y, *_seen(item, above, box))
    return tuple(placed)


def _seen(item: Placed, above: Sequence[Placed], box: Box) -> tuple[Box | None, float]:
    """The visible box of an element under others and the share of it that they hide."""
    whole, column, row = _stand(item)
    seen = whole.bits.copy()
    for other in above:
        _hide(seen, column, row, other)
    area = _area(seen)
    if area == whole.area:
        return box, 0.0
    if area == 0:
        return None, 1.0
    x0, y0, x1, y1 = _span(seen)
    whole_x0, whole_y0, whole_x1, whole_y1 = whole.span
    shown = (
        box[0] if x0 == whole_x0 else (8 * column + x0) / GRID,
        box[1] if y0 == whole_y0 else (row + y0) / GRID,
        box[2] if x1 == whole_x1 else (8 * column + x1) / GRID,
        box[3] if y1 == whole_y1 else (row + y1) / GRID,
    )
    return shown, 1 - area / whole.area


def _hide(seen: Bits, column: int, row: int, above: Placed) -> None:
    """Takes from the seen points of an element what another one hides of it."""
    cover, above_column, above_row = _stand(above)
    dx, dy = above_column - column, above_row - row
    height, width = cover.others.shape
    top, bottom = max(dy, 0), min(dy + height, seen.shape[0])
    left, right = max(dx, 0), min(dx + width, seen.shape[1])
    if top < bottom and left < right:
        seen[top:bottom, left:right] &= cover.others[top - dy : bottom - dy, left - dx : right - dx]
