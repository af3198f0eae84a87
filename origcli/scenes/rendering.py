"""Antialiased images of scenes.

An element is blended over what is below it by its coverage of each pixel: the mean over 4 × 4 parts of
the pixel, each part's share taken from the distance to the outline, which is exact for a straight edge.
Places are kept to an eighth of a pixel (a quarter in images over 256 pixels), so that the parts of
all places lie on one fine grid, computed once a kind of element, and stamps are sums over it.
"""

from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

from origcli.scenes.elements import COLORS
from origcli.scenes.geometry import Floats, half_extent, signed_distance
from origcli.scenes.scene import Placed, Scene

Pixels = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint16]
Kind = tuple[str, str, str]
Rectangle = tuple[int, int, int, int]

RGB = dict(zip(COLORS, ((255, 0, 0), (0, 170, 0), (0, 0, 255)), strict=True))
_PARTS = 4  # parts of a pixel along each axis
_MOST_STAMPS = 2048
_SMALL = 64  # images whose stamps are all kept: 20 MB; in larger ones other work takes the time


def steps_a_pixel(resolution: int) -> int:
    """How many places there are in a pixel along each axis: a multiple of the parts."""
    return 8 if resolution <= 256 else 4


@lru_cache(maxsize=64)
def fine_coverage(kind: Kind, resolution: int) -> npt.NDArray[np.float32]:
    """Shares of parts of a pixel, centered on the points of a grid of `steps_a_pixel`.

    Returns:
        fp32 (h, w), one pixel more than the element's box around; the point in row and column
        `steps_a_pixel - 1` has the box's corner.
    """
    size, _, shape = kind
    steps = steps_a_pixel(resolution)
    half_width, half_height = (half * resolution for half in half_extent(shape, size))
    width, height = int(2 * half_width) + 3, int(2 * half_height) + 3

    def distance(x: Floats, y: Floats) -> Floats:
        return signed_distance(x / resolution, y / resolution, *kind) * resolution  # in pixels

    # The grid in blocks of a pixel; the first point is the center of the part in a corner of the pixel.
    within_x, within_y = np.meshgrid(*[np.arange(steps) / steps + 0.5 / _PARTS] * 2)  # (steps, steps)
    x0, y0 = np.meshgrid(np.arange(width) - 1 - half_width, np.arange(height) - 1 - half_height)
    middle = within_x.mean()
    rough = distance(x0 + middle, y0 + middle)  # (height, width)
    blocks = np.empty((height, steps, width, steps), dtype=np.float32)
    by_block = blocks.swapaxes(1, 2)  # (height, width, steps, steps)
    by_block[:] = (rough < 0)[:, :, None, None]
    # Its furthest point is 0.7 from a block's middle, and shares are 0 or 1 from 1/8 of a pixel on.
    edge = np.abs(rough) < 0.9
    fine = distance(x0[edge][:, None, None] + within_x, y0[edge][:, None, None] + within_y)
    by_block[edge] = np.clip(0.5 - fine * _PARTS, 0, 1)
    return blocks.reshape(height * steps, width * steps)


@lru_cache(maxsize=_MOST_STAMPS)
def coverage(kind: Kind, resolution: int, left: int, top: int) -> Pixels:
    """How much of each pixel an element covers.

    Args:
        kind: size, texture and shape.
        left, top: where its bounding box begins inside the first pixel, in steps.

    Returns:
        uint8 (h, w), 255 where it covers the pixel, just large enough to hold the element.
    """
    size, _, shape = kind
    steps = steps_a_pixel(resolution)
    half_width, half_height = half_extent(shape, size)
    width = int(np.ceil(left / steps + 2 * half_width * resolution - 1e-9))
    height = int(np.ceil(top / steps + 2 * half_height * resolution - 1e-9))
    stride = steps // _PARTS
    fine = fine_coverage(kind, resolution)[steps - top :: stride, steps - left :: stride]
    parts = fine[: height * _PARTS, : width * _PARTS].reshape(height, _PARTS, width, _PARTS)
    # The nudge keeps halves from being rounded by the last bit of the arithmetic of one machine.
    return np.rint(parts.mean(axis=(1, 3)) * 255 + 1e-3).astype(np.uint8)


def _stamp(kind: Kind, color: str, resolution: int, left: int, top: int) -> tuple[Words, Words, Pixels]:
    """An element in its color: what is kept of the image below, what is added, and both over white.

    Returns:
        (h, 3 w) each, the first two times 255.
    """
    kept = np.repeat(255 - coverage(kind, resolution, left, top).astype(np.uint16), 3, axis=1)
    row = np.tile(np.array(RGB[color], dtype=np.uint16), kept.shape[1] // 3)
    added = (255 - kept) * row + np.uint16(127)  # 127 rounds the division
    # At most 255 × 255 + 127, which fits 16 bits.
    return kept, added, ((255 * kept + added) // 255).astype(np.uint8)


_cached_stamp = cache(_stamp)


@cache
def _bounds(shape: str, size: str, resolution: int) -> tuple[float, int, float, int]:
    """Half a width and the last place from the left, half a height and the last from the top, in steps."""
    steps = steps_a_pixel(resolution) * resolution
    half_width, half_height = half_extent(shape, size)
    last_left, last_top = (int((1 - 2 * half) * steps + 1e-9) for half in (half_width, half_height))
    return half_width * steps, last_left, half_height * steps, last_top


def stamp_place(placed: Placed, resolution: int) -> tuple[int, int, int, int]:
    """Where an element's stamp goes: its first column and row, and the steps inside that pixel."""
    half_width, last_left, half_height, last_top = _bounds(
        placed.element.shape, placed.element.size, resolution
    )
    steps = steps_a_pixel(resolution)
    left = min(max(round(placed.x * steps * resolution - half_width), 0), last_left)
    top = min(max(round(placed.y * steps * resolution - half_height), 0), last_top)
    return left // steps, top // steps, left % steps, top % steps


def render(scene: Scene, resolution: int) -> Pixels:
    """The image of a scene on white.

    Returns:
        uint8 (resolution, resolution, 3), RGB.
    """
    picture: Pixels = np.full((resolution, 3 * resolution), 255, dtype=np.uint8)
    paint(scene, picture)
    return picture.reshape(resolution, resolution, 3)


def paint(scene: Scene, picture: Pixels) -> None:
    """Paints a scene on a white image.

    Args:
        picture: uint8 (h, 3 w), RGB.
    """
    resolution = len(picture)
    stamp_of = _cached_stamp if resolution <= _SMALL else _stamp
    painted: list[Rectangle] = []
    for placed in scene.placed:
        element = placed.element
        column, row, left, top = stamp_place(placed, resolution)
        kept, added, on_white = stamp_of(element.kind, element.color, resolution, left, top)
        rectangle = row, 3 * column, row + kept.shape[0], 3 * column + kept.shape[1]
        below = picture[rectangle[0] : rectangle[2], rectangle[1] : rectangle[3]]
        if any(_meet(rectangle, other) for other in painted):
            np.floor_divide(below * kept + added, 255, out=below, casting="unsafe")
        else:
            below[...] = on_white
        painted.append(rectangle)


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
