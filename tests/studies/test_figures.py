"""What the sheets show: held-out elements cut out and in their blocks, drawings beside each other."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from origcli.detection.detector import Detection
from origcli.scenes.elements import ALL_ELEMENTS
from origcli.studies.generalization import figures
from origcli.studies.generalization.diversity import Experiment, plan
from origcli.studies.generalization.figures import ShownImages, crop, held_out_sheet, samples_sheet


def square(color: str) -> Image.Image:
    return Image.new("RGB", (16, 16), color)


def shown_images(one: Experiment, prompted: int, empty: int) -> ShownImages:
    pictures = {"empty": [square("red")] * empty, "prompted": [square("blue")] * prompted}
    return ShownImages(one, samples=pictures, crops=pictures)  # type: ignore[arg-type]


def test_a_crop_is_a_square_around_the_element() -> None:
    picture = Image.new("RGB", (64, 64), "white")
    picture.paste("red", (20, 30, 40, 40))
    cut = crop(picture, Detection(ALL_ELEMENTS[0], 0.95, (20, 30, 40, 40)))
    assert cut.width == cut.height == 26  # 20 and a margin of 15 % on either side
    red = (np.asarray(cut) == (255, 0, 0)).all(-1)
    assert red.sum() == 200
    rows, columns = np.nonzero(red)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (3, 22, 8, 17)


def test_a_crop_is_white_where_it_leaves_the_picture() -> None:
    cut = np.asarray(crop(square("red"), Detection(ALL_ELEMENTS[0], 0.95, (10, 10, 16, 16))))
    assert (cut[-1, -1] == 255).all() and (cut[0, 0] == (255, 0, 0)).all()


def test_from_thirty_elements_on_the_conditions_have_blocks_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Figure 4: prompted left, empty right; at fewer elements one block."""
    seen: dict[str, Any] = {}

    def block_sheet(rows: Any, blocks: Any, pictures: Any, **options: Any) -> Any:
        seen.update(rows=rows, blocks=blocks, pictures=pictures)
        return square("white")

    monkeypatch.setattr(figures, "block_sheet", block_sheet)
    held_out_sheet([shown_images(one, 2, 1) for one in plan([4, 30, 60], 2)])
    assert seen["rows"] == ["big red full circle", "big blue empty square"]
    assert seen["blocks"] == ["4 elements", "30 prompted", "30 empty", "60 prompted", "60 empty"]
    assert len(seen["pictures"]["big red full circle", "4 elements"]) == 3
    assert len(seen["pictures"]["big red full circle", "60 prompted"]) == 2


def test_the_empty_prompts_drawings_stand_left_of_the_elements() -> None:
    """Figure 5."""
    sheet = np.asarray(samples_sheet([shown_images(one, 8, 8) for one in plan([4], 1)]))
    places = [np.nonzero((sheet == color).all(-1))[1] for color in ((255, 0, 0), (0, 0, 255))]
    assert places[0].size and places[1].size and places[0].max() < places[1].min()
