"""The contact sheet of a data set: which pictures, where, and in a notebook."""

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from origcli.scenes.dataset import Dataset
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


def test_in_a_notebook_the_first_pictures_are_shown_and_the_path_is_escaped(data: Dataset) -> None:
    text = data._repr_html_()
    assert "10 pictures of 64 pixels" in text and "&lt;b&gt;" in text and "<b>" not in text
    (inside,) = re.findall(r"data:image/png;base64,([^\"]+)", text)
    with Image.open(BytesIO(b64decode(inside))) as image:
        assert image.size == contact_sheet(data, 8).size
