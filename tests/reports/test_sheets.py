"""Sheets of pictures: every picture in its place, unchanged where it fits."""

import numpy as np
import pytest
from PIL import Image

from origcli.reports.sheets import block_sheet, sheet
from tests.reports import samples


def _places(canvas: Image.Image, picture: Image.Image) -> list[tuple[int, int]]:
    """Where a picture stands in a sheet, pixel for pixel."""
    whole, part = np.asarray(canvas), np.asarray(picture)
    height, width = part.shape[:2]
    first = np.argwhere(
        (whole[: whole.shape[0] - height + 1, : whole.shape[1] - width + 1] == part[0, 0]).all(-1)
    )
    return [
        (int(x), int(y)) for y, x in first if (whole[y : y + height, x : x + width] == part).all()
    ]  # fmt: skip


def _solid(*color: int) -> Image.Image:
    return Image.new("RGB", (16, 16), color)


def test_pictures_stand_in_rows_in_their_order() -> None:
    pictures = [_solid(200, 10 * i, 7) for i in range(5)]
    canvas = sheet(pictures, columns=3)
    places = [_places(canvas, picture) for picture in pictures]
    assert all(len(found) == 1 for found in places)
    (a, b, c, d, e) = (found[0] for found in places)
    assert a[1] == b[1] == c[1] < d[1] == e[1]
    assert a[0] < b[0] < c[0] and d[0] == a[0] and e[0] == b[0]


def test_labels_and_headings_do_not_cover_pictures() -> None:
    pictures = [_solid(10 * i, 90, 200) for i in range(4)]
    canvas = sheet(pictures, ["a very long label that cannot fit"] * 4, 2, headings=["left", "right"])
    assert all(len(_places(canvas, picture)) == 1 for picture in pictures)
    assert canvas.height > sheet(pictures, columns=2).height


def test_small_pictures_grow_without_smoothing_and_large_ones_shrink() -> None:
    grown = sheet([samples.picture(1, 32)], size=64)
    assert _places(grown, samples.picture(1, 32).resize((64, 64), Image.Resampling.NEAREST))
    assert sheet([samples.picture(1, 300)], size=64).size == sheet([_solid(0, 0, 0)], size=64).size
    assert sheet([Image.new("L", (40, 10))], size=40).mode == "RGB"


@pytest.mark.parametrize("labels", [["one"], ["a", "b", "c"]])
def test_a_label_too_few_or_too_many_is_an_error(labels: list[str]) -> None:
    with pytest.raises(ValueError, match="labels for 2 images"):
        sheet([_solid(0, 0, 0)] * 2, labels)


def test_no_pictures_are_no_sheet() -> None:
    with pytest.raises(ValueError, match="needs an image"):
        sheet([])


def test_blocks_stand_side_by_side_and_rows_are_aligned() -> None:
    first, second, third = (_solid(9, 9, 80 * i) for i in range(1, 4))
    canvas = block_sheet(
        ["circle", "star"],
        ["4", "30 prompted", "30 empty"],
        {
            ("circle", "4"): [first],
            ("circle", "30 empty"): [second, second],
            ("star", "30 empty"): [third] * 9,
        },
        columns=3,
        size=16,
    )
    ((x1, y1),) = _places(canvas, first)
    two, three = _places(canvas, second), _places(canvas, third)
    assert len(two) == 2 and len(three) == 3, "no more than a block's columns"
    assert {y for _, y in two} == {y1} and min(y for _, y in three) > y1
    assert min(x for x, _ in two) == min(x for x, _ in three) > x1
