"""Antialiased pictures of scenes.

An element is blended over what is below it by its coverage of each pixel: the exact area for straight
edges, and an average of 16 such areas in a pixel for corners and curves. Places are kept to an
eighth of a pixel, so that small pictures are put together from stamps that are computed once.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from origcli.scenes.elements import COLORS, Element
from origcli.scenes.geometry import half_extent, signed_distance
from origcli.scenes.scene import Scene

Pixels = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint16]

RGB = dict(zip(COLORS, ((255, 0, 0), (0, 170, 0), (0, 0, 255)), strict=True))
STEPS = 8  # places a pixel, along each axis
_SUBSAMPLES = 4
# Stamps of bigger pictures would fill the memory, and painting costs little beside compressing those.
_CACHED_RESOLUTION = 256


def coverage(size: str, texture: str, shape: str, resolution: int, left: float, top: float) -> Pixels:
    """How much of each pixel an element covers.

    Args:
        left, top: where its bounding box begins inside the first pixel, in pixels, 0 to 1.

    Returns:
        uint8 (h, w), 255 where it covers the pixel, just large enough to hold the element.
    """
    half_width, half_height = half_extent(shape, size)
    width = int(np.ceil(left + 2 * half_width * resolution - 1e-9))
    height = int(np.ceil(top + 2 * half_height * resolution - 1e-9))
    x = np.arange(width) + 0.5 - left - half_width * resolution
    y = np.arange(height) + 0.5 - top - half_height * resolution
    xs, ys = np.meshgrid(x, y)  # (h, w) offsets of pixel centres from the element's, in pixels

    def distance(px: npt.NDArray[np.float64], py: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return signed_distance(px / resolution, py / resolution, size, texture, shape) * resolution

    rough = distance(xs, ys)
    covered = (rough < 0).astype(np.float64)
    edge = np.abs(rough) < 1.0  # a pixel's corner is 0.71 from its centre: the others are all in or all out
    sub = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
    sub_y, sub_x = (axis.ravel() for axis in np.meshgrid(sub, sub, indexing="ij"))
    fine = distance(xs[edge][:, None] + sub_x, ys[edge][:, None] + sub_y)  # (edge pixels, 16)
    covered[edge] = np.clip(0.5 - fine * _SUBSAMPLES, 0.0, 1.0).mean(axis=1)
    return np.rint(covered * 255).astype(np.uint8)


def _stamp(element: Element, resolution: int, left: int, top: int) -> tuple[Words, Words]:
    """What is kept of the picture below and what is added, each (h, w, 3), times 255."""
    cover = _cached_coverage if resolution <= _CACHED_RESOLUTION else coverage
    alpha = cover(*element.kind, resolution, left / STEPS, top / STEPS).astype(np.uint16)[:, :, None]
    kept = np.repeat(255 - alpha, 3, axis=2)
    # At most 255 × 255 + 127, which still fits: the blend needs no wider integers.
    added = alpha * np.array(RGB[element.color], dtype=np.uint16) + np.uint16(127)
    return kept, added


_cached_coverage = lru_cache(maxsize=None)(coverage)
_cached_stamp = lru_cache(maxsize=None)(_stamp)


def _first_pixel(centre: float, half: float, resolution: int) -> tuple[int, int]:
    """The first pixel of an element along an axis and its place inside that pixel, in steps."""
    last = int((1 - 2 * half) * resolution * STEPS + 1e-9)
    return divmod(min(max(round((centre - half) * resolution * STEPS), 0), last), STEPS)


def render(scene: Scene, resolution: int) -> Pixels:
    """The picture of a scene on white.

    Returns:
        uint8 (resolution, resolution, 3), RGB.
    """
    picture: Pixels = np.full((resolution, resolution, 3), 255, dtype=np.uint8)
    stamp = _cached_stamp if resolution <= _CACHED_RESOLUTION else _stamp
    for placed in scene.placed:
        element = placed.element
        half_width, half_height = half_extent(element.shape, element.size)
        x, left = _first_pixel(placed.x, half_width, resolution)
        y, top = _first_pixel(placed.y, half_height, resolution)
        kept, added = stamp(element, resolution, left, top)
        below = picture[y : y + kept.shape[0], x : x + kept.shape[1]]
        below[...] = (below * kept + added) // 255
    return picture
