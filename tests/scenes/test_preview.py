"""The contact sheet of a data set: which pictures, where, and in a notebook."""

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from origcli.scenes.dataset import Dataset
from origcli.scenes.mixtures import Sampler
from origcli.scenes.preview import contact_sheet
from origcli.scenes.writing import write_dataset
from tests.scenes.recipes import recipe


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return write_dataset(recipe(count=10, resolution=64), tmp_path / "<b>")


def test_the_sheet_holds_the_first_pictures_enlarged_without_smoothing(data: Dataset) -> None:
    sheet = np.asarray(contact_sheet(data, 2))
    assert sheet.shape[1] == 12 + 2 * (256 + 12)
    white = (data.image(1) == 255).all(-1)  # boxes are drawn over the sheet, so the background is compared
    shown = sheet[12 : 12 + 256 : 4, 12 + 268 : 12 + 268 + 256 : 4]
    share = (shown[white] == 255).all(-1).mean()
    assert share > 0.95


@pytest.mark.parametrize("resolution", [32, 64, 256, 512])
def test_boxes_are_around_elements_and_captions_under_pictures(tmp_path: Path, resolution: int) -> None:
    chosen = recipe(count=1, resolution=resolution, empty=0.0, max_elements=1)
    data = write_dataset(chosen, tmp_path)
    sheet = np.asarray(contact_sheet(data))
    side = max(256, resolution)
    ((item,), text) = data.records[0]["elements"], data.records[0]["text"]
    left, top, right, bottom = (12 + round(edge * side) for edge in item["box"])
    middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
    for x, y in ((left - 1, middle_y), (right, middle_y), (middle_x, top - 1), (middle_x, bottom)):
        assert tuple(sheet[y, x]) == (255, 140, 0)
    assert text and (sheet[12 + side :, 12 : 12 + side] == 0).all(-1).sum() > 100


def test_the_longest_caption_is_shown_whole(tmp_path: Path) -> None:
    settings = {"count": 1, "max_elements": 15, "empty": 0.0}
    seed = next(n for n in range(100) if len(Sampler(recipe(n, **settings)).scene(0).placed) == 15)
    sheet = np.asarray(contact_sheet(write_dataset(recipe(seed, **settings), tmp_path)))
    text = (sheet[12 + 256 + 2 :] == 0).all(-1).any(1)
    assert len(text) > 7 * 16  # 15 phrases of four words take more than five lines
    assert text[-12 - 16 : -12].any() and not text[-8:].any()  # the last line is there, and not cut


def test_in_a_notebook_the_first_pictures_are_shown_and_the_path_is_escaped(data: Dataset) -> None:
    text = data._repr_html_()
    assert "10 pictures of 64 pixels" in text and "&lt;b&gt;" in text and "<b>" not in text
    (inside,) = re.findall(r"data:image/png;base64,([^\"]+)", text)
    with Image.open(BytesIO(b64decode(inside))) as image:
        assert image.size == contact_sheet(data, 8).size
