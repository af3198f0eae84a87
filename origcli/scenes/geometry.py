"""The outlines of elements, as fractions of the image's width, and signed distances to them.

Every number here is ours: the supplement shows images and gives no measures. An outline lies with
the center of its bounding box at the origin, x to the right and y down. An empty element is a band of
its stroke's width along the inside of the outline, so full and empty ones have the same box; the
inside of an empty one is transparent.

The shapes are drawn at sizes between equal width and equal area, so that none looks bigger than another
of its size, and a small hexagon is not taken for a small circle at 64 pixels.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SCALES = {"big": 1.0, "small": 0.57}
STROKES = {"big": 0.030, "small": 0.021}
CIRCLE_RADIUS = 0.145
SQUARE_SIDE = 0.260
TRIANGLE_SIDE = 0.345
HEXAGON_RADIUS = 0.166
STAR_RADIUS = 0.192
STAR_INNER = 0.50


@cache
def outline(shape: str, size: str) -> tuple[Floats, Floats] | None:
    """The corners (n, 2) of a shape and the center (2,) of its inscribed circle; `None` for the circle."""
    if shape == "circle":
        return None
    if shape == "square":
        half = SQUARE_SIDE / 2
        corners = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    elif shape == "triangle":
        corners = _regular(3, TRIANGLE_SIDE / np.sqrt(3), -np.pi / 2)
    elif shape == "hexagon":
        corners = _regular(6, HEXAGON_RADIUS, 0.0)
    else:
        corners = _regular(10, STAR_RADIUS, -np.pi / 2)
        corners[1::2] *= STAR_INNER
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return (corners - middle) * SCALES[size], -middle * SCALES[size]


def _regular(count: int, radius: float, turn: float) -> Floats:
    angles = turn + 2 * np.pi * np.arange(count) / count
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@cache
def half_extent(shape: str, size: str) -> tuple[float, float]:
    """Half the width and half the height of the bounding box."""
    polygon = outline(shape, size)
    if polygon is None:
        radius = CIRCLE_RADIUS * SCALES[size]
        return radius, radius
    return float(polygon[0][:, 0].max()), float(polygon[0][:, 1].max())


def _polygon_distance(x: Floats, y: Floats, corners: Floats) -> Floats:
    """Signed distance to a simple polygon, negative inside: nearest edge, sign by crossing parity."""
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        wx, wy = x - ax, y - ay
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        nearest = np.minimum(nearest, (wx - ex * along) ** 2 + (wy - ey * along) ** 2)
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (wx < ex * wy / ey)
    distance = np.sqrt(nearest)
    return np.where(inside, -distance, distance)


def signed_distance(x: Floats, y: Floats, size: str, texture: str, shape: str) -> Floats:
    """Distance of points to the painted area of an element, negative inside it.

    Args:
        x, y: offsets from the element's center, fractions of the image's width, any equal shapes.
    """
    polygon = outline(shape, size)
    if polygon is None:
        outer = np.hypot(x, y) - CIRCLE_RADIUS * SCALES[size]
        inner = outer + STROKES[size]
    else:
        corners, center = polygon
        outer = _polygon_distance(x, y, corners)
        if texture == "empty":
            inner = _polygon_distance(x, y, _inset(corners, center, STROKES[size]))
    return outer if texture == "full" else np.maximum(outer, -inner)


def _inset(corners: Floats, center: Floats, width: float) -> Floats:
    """The polygon with edges `width` further in. All edges here touch one circle, so it is a smaller copy."""
    edge = corners[1] - corners[0]
    to_centre = center - corners[0]
    inradius = abs(edge[0] * to_centre[1] - edge[1] * to_centre[0]) / np.hypot(*edge)
    return np.asarray(center + (corners - center) * (1 - width / inradius))
