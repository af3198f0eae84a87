"""Pictures: true to size, place, stroke and color at every resolution."""

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from origcli.scenes.elements import ALL_ELEMENTS, COLORS, SHAPES, Element
from origcli.scenes.geometry import (
    CIRCLE_RADIUS,
    SCALES,
    STROKES,
    half_extent,
    outline,
    signed_distance,
)
from origcli.scenes.rendering import RGB, coverage, render, steps_a_pixel
from origcli.scenes.scene import Placed, Scene

KINDS = sorted({element.kind for element in ALL_ELEMENTS})
RESOLUTIONS = (32, 64, 100, 256, 512, 1024)


def scene(*placed: tuple[str, float, float]) -> Scene:
    return Scene(tuple(Placed(Element.parse(text), x, y, None) for text, x, y in placed), "test")


def polygon_area(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2


def area(kind: tuple[str, str, str]) -> float:
    """The painted area by formulas that the renderer does not use, a fraction of the picture."""
    size, texture, shape = kind
    polygon = outline(shape, size)
    stroke = STROKES[size]
    if polygon is None:
        radius = CIRCLE_RADIUS * SCALES[size]
        whole, hole = np.pi * radius**2, np.pi * (radius - stroke) ** 2
    else:
        whole = polygon_area(polygon[0])
        # Insetting a polygon around a circle by s takes s · perimeter − s² · perimeter² / (4 · area).
        perimeter = float(np.hypot(*(np.roll(polygon[0], -1, axis=0) - polygon[0]).T).sum())
        hole = whole - stroke * perimeter + stroke**2 * perimeter**2 / (4 * whole)
    return whole if texture == "full" else whole - hole


@pytest.mark.parametrize("kind", KINDS)
def test_coverage_has_the_area_of_the_shape_at_every_resolution_and_place(kind: tuple[str, str, str]) -> None:
    for resolution in (32, 64, 256, 512):
        steps = steps_a_pixel(resolution)
        for left, top in ((0, 0), (1, steps - 1), (steps // 2, 3)):
            found = coverage(kind, resolution, left, top).sum() / 255 / resolution**2
            assert found == pytest.approx(area(kind), rel=0.02 if resolution == 32 else 0.012)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL_ELEMENTS), st.floats(0, 1), st.floats(0, 1), st.sampled_from([32, 64, 100, 256]))
@example(Element("big", "blue", "full", "star"), 1.0, 0.0, 100)
@example(Element("small", "blue", "empty", "square"), 0.805, 0.888, 32)
def test_an_element_stands_where_it_should(element: Element, u: float, v: float, resolution: int) -> None:
    half_width, half_height = half_extent(element.shape, element.size)
    x, y = half_width + u * (1 - 2 * half_width), half_height + v * (1 - 2 * half_height)
    picture = render(scene((element.phrase, x, y)), resolution)
    painted = 255.0 - picture.min(axis=2)
    columns, rows = (np.flatnonzero(painted.max(axis=axis) > 0) for axis in (0, 1))
    # No further out than its box, and as far as that within a pixel: a tip may be too thin to show.
    assert columns[0] >= np.floor((x - half_width) * resolution - 1 / 8)
    assert columns[-1] + 1 <= np.ceil((x + half_width) * resolution + 1 / 8)
    assert rows[0] >= np.floor((y - half_height) * resolution - 1 / 8)
    assert rows[-1] + 1 <= np.ceil((y + half_height) * resolution + 1 / 8)
    assert columns[-1] + 1 - columns[0] >= 2 * half_width * resolution - 1.5
    # All shapes are symmetric left and right, so the center of mass is the center, within a step: at the far
    # edges the next place may be outside of the picture, and strokes thinner than a part round unevenly.
    mass = painted.sum(axis=0)
    center = (mass * (np.arange(resolution) + 0.5)).sum() / mass.sum()
    assert center == pytest.approx(x * resolution, abs=1 / steps_a_pixel(resolution) + 0.02)


def test_pictures_of_all_resolutions_are_one_picture() -> None:
    here = scene(("big red full star", 0.3, 0.3), ("small blue empty hexagon", 0.7, 0.6))
    large = render(here, 1024).astype(float)
    for resolution in (32, 64, 128, 256, 512):
        block = 1024 // resolution
        small = large.reshape(resolution, block, resolution, block, 3).mean(axis=(1, 3))
        # Both keep their places to a part of their own pixels, along both axes: edges move by that much.
        apart = 0.5 / steps_a_pixel(resolution) + 0.5 / steps_a_pixel(1024) / block
        assert np.abs(render(here, resolution) - small).max() <= 255 * np.sqrt(2) * apart + 3


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_colors_are_pure_and_the_ground_is_white(resolution: int) -> None:
    for color in COLORS:
        picture = render(scene((f"big {color} full square", 0.5, 0.5)), resolution)
        assert tuple(picture[resolution // 2, resolution // 2]) == RGB[color]
        assert (picture[0] == 255).all() and (picture[:, -1] == 255).all()
        inside = render(scene((f"small {color} empty circle", 0.5, 0.5)), resolution)
        assert (inside[resolution // 2, resolution // 2] == 255).all()


def test_later_elements_are_painted_over_earlier_ones() -> None:
    below, above = ("big red full square", 0.5, 0.5), ("small blue full circle", 0.5, 0.5)
    assert tuple(render(scene(below, above), 64)[32, 32]) == RGB["blue"]
    assert tuple(render(scene(above, below), 64)[32, 32]) == RGB["red"]
    ring = render(scene(below, ("small blue empty circle", 0.5, 0.5)), 64)
    assert tuple(ring[32, 32]) == RGB["red"]  # an empty element is a line: one looks through it


@cache
def patch(kind: tuple[str, str, str], resolution: int, left: int, top: int) -> np.ndarray:
    """A stamp in the corner of a patch large enough for all."""
    side = int(0.5 * resolution)
    whole = np.zeros((side, side))
    stamp = coverage(kind, resolution, left, top)
    whole[: stamp.shape[0], : stamp.shape[1]] = stamp
    return whole / 255


@pytest.mark.parametrize(("resolution", "least"), [(64, 2.0), (32, 0.7)])
def test_kinds_differ_more_than_places(resolution: int, least: float) -> None:
    """The nearest pictures of two kinds, at any two places in a pixel, differ by several pixels."""
    places = [(left, top) for left in (0, 2, 4, 6) for top in (0, 2, 4, 6)]
    stacks = {kind: np.stack([patch(kind, resolution, *p).ravel() for p in places]) for kind in KINDS}
    for kind in KINDS:
        for other in KINDS:
            if kind < other:
                gaps = np.abs(stacks[kind][:, None] - stacks[other][None]).sum(axis=2)
                assert gaps.min() > least, (kind, other)


@pytest.mark.parametrize("shape", SHAPES)
def test_signed_distances_are_distances(shape: str) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.uniform(-0.3, 0.3, (2, 2000, 2))
    for texture in ("full", "empty"):
        da = signed_distance(a[:, 0], a[:, 1], "big", texture, shape)
        db = signed_distance(b[:, 0], b[:, 1], "big", texture, shape)
        assert (np.abs(da - db) <= np.hypot(*(a - b).T) + 1e-12).all()
    corners = outline(shape, "big")
    if corners is not None:
        on_edge = (corners[0] + np.roll(corners[0], -1, axis=0)) / 2
        assert np.abs(signed_distance(on_edge[:, 0], on_edge[:, 1], "big", "full", shape)).max() < 1e-12


def test_sizes_are_told_apart() -> None:
    for shape in SHAPES:
        assert half_extent(shape, "big")[0] > 1.6 * half_extent(shape, "small")[0]
    widths = [2 * half_extent(shape, "big")[0] for shape in SHAPES]
    assert min(widths) > 0.25 and max(widths) < 0.38
