"""What can be seen of every element: its visible box and the share of it that later elements hide.

Facts of the scene, not of a resolution: they are taken on a grid of 512 by 512 points, so the edge of a
partly hidden element is right to 1/512 of the width. The box of an element that nothing hides is exact.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from origcli.scenes.elements import Element
from origcli.scenes.geometry import half_extent, signed_distance
from origcli.scenes.scene import Box, Placed, boxes_meet, whole_box

GRID = 512
Mask = npt.NDArray[np.bool_]


@cache
def _mask(size: str, texture: str, shape: str) -> Mask:
    """Which grid points around an element's centre it covers: (2b + 1, 2a + 1)."""
    half_width, half_height = half_extent(shape, size)
    x = np.arange(-int(half_width * GRID), int(half_width * GRID) + 1) / GRID
    y = np.arange(-int(half_height * GRID), int(half_height * GRID) + 1) / GRID
    xs, ys = np.meshgrid(x, y)
    return np.asarray(signed_distance(xs, ys, size, texture, shape) <= 0)


def _grid_corner(element: Element, x: float, y: float) -> tuple[int, int]:
    height, width = _mask(*element.kind).shape
    return round(x * GRID) - width // 2, round(y * GRID) - height // 2


def arrange(elements: Sequence[Element], places: Sequence[tuple[float, float]]) -> tuple[Placed, ...]:
    """Puts elements at their places, in the order of painting, and finds what can be seen of them."""
    boxes = [whole_box(element, *place) for element, place in zip(elements, places, strict=True)]
    placed = []
    for i, (element, (x, y)) in enumerate(zip(elements, places, strict=True)):
        over = [j for j in range(i + 1, len(elements)) if boxes_meet(boxes[i], boxes[j])]
        box, covered = boxes[i], 0.0
        seen = box
        if over:
            seen, covered = _seen(element, (x, y), [(elements[j], places[j]) for j in over], box)
        placed.append(Placed(element, x, y, seen, covered))
    return tuple(placed)


def _seen(
    element: Element,
    place: tuple[float, float],
    over: Sequence[tuple[Element, tuple[float, float]]],
    box: Box,
) -> tuple[Box | None, float]:
    """The visible box of an element under others and the share of it that they hide."""
    whole = _mask(*element.kind)
    left, top = _grid_corner(element, *place)
    height, width = whole.shape
    seen = whole.copy()
    for other, other_place in over:
        mask = _mask(*other.kind)
        dx, dy = (a - b for a, b in zip(_grid_corner(other, *other_place), (left, top), strict=True))
        rows = slice(max(dy, 0), min(dy + mask.shape[0], height))
        columns = slice(max(dx, 0), min(dx + mask.shape[1], width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        seen[rows, columns] &= ~mask[rows.start - dy : rows.stop - dy, columns.start - dx : columns.stop - dx]
    area, total = int(np.count_nonzero(seen)), int(np.count_nonzero(whole))
    if area == total:
        return box, 0.0
    if area == 0:
        return None, 1.0
    return _visible_box(seen, whole, left, top, box), 1 - area / total


def _span(flags: Mask) -> tuple[int, int]:
    """The first and the last true place."""
    return int(flags.argmax()), len(flags) - 1 - int(flags[::-1].argmax())


def _visible_box(seen: Mask, whole: Mask, left: int, top: int, box: Box) -> Box:
    """The box of what is seen; a side that is as far out as that of the whole element is exact."""
    x0, x1 = _span(seen.any(axis=0))
    y0, y1 = _span(seen.any(axis=1))
    whole_x0, whole_x1 = _span(whole.any(axis=0))
    whole_y0, whole_y1 = _span(whole.any(axis=1))
    return (
        box[0] if x0 == whole_x0 else (left + x0 - 0.5) / GRID,
        box[1] if y0 == whole_y0 else (top + y0 - 0.5) / GRID,
        box[2] if x1 == whole_x1 else (left + x1 + 0.5) / GRID,
        box[3] if y1 == whole_y1 else (top + y1 + 0.5) / GRID,
    )
