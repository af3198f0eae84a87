from typing import Any

import numpy as np
from PIL import Image

from origcli.detection.detector import Detection
from origcli.detection.drawing import BANDS, PER_BAND, AuditSheet, annotate
from origcli.scenes.elements import ALL_ELEMENTS

RED = ALL_ELEMENTS[0]


def found(confidence: float, box: Any = (10.0, 12.0, 30.0, 28.0)) -> Any:
    return Detection(RED, confidence, box)


def test_a_box_is_drawn_where_the_element_is() -> None:
    picture = Image.new("RGB", (400, 400), "white")
    drawn = np.asarray(annotate(picture, [found(0.95, (100, 120, 300, 280))]))
    assert tuple(drawn[200, 99]) == tuple(drawn[200, 300]) == (0xB0, 0, 0)
    assert tuple(drawn[119, 200]) == tuple(drawn[280, 200]) == (0xB0, 0, 0)
    assert tuple(drawn[200, 200]) == (255, 255, 255)


def test_a_picture_is_left_as_it_was() -> None:
    picture = Image.new("RGB", (64, 64), "white")
    assert annotate(picture, []).getcolors() == [(384 * 384, (255, 255, 255))]
    annotate(picture, [found(0.9)])
    assert picture.getcolors() == [(64 * 64, (255, 255, 255))]


def test_small_pictures_are_enlarged_and_large_ones_kept() -> None:
    assert annotate(Image.new("RGB", (64, 32)), []).size == (384, 192)
    assert annotate(Image.new("L", (500, 300)), []).size == (500, 300)


def test_a_sheet_counts_all_and_keeps_a_few() -> None:
    sheet = AuditSheet(0.9)
    picture = Image.new("RGB", (64, 64), "white")
    for _ in range(100):
        sheet.add(picture, [found(0.93), found(0.1), found(1.0)])
    band = BANDS.index(0.9)
    assert sheet.counts[band] == 100
    assert sheet.counts[-1] == 100
    assert sum(sheet.counts) == 200
    assert len(sheet.kept[band]) == PER_BAND


def test_every_detection_has_the_same_chance_to_be_shown() -> None:
    picture = Image.new("RGB", (64, 64), "white")
    shown = np.zeros(60)
    for seed in range(150):
        sheet = AuditSheet(0.9)
        sheet.random.seed(seed)
        for place in range(60):
            sheet.add(picture, [found(0.90 + place * 0.0005)])
        for kept in sheet.kept[BANDS.index(0.9)]:
            shown[round((kept[0].confidence - 0.90) / 0.0005)] += 1
    assert shown.sum() == 150 * PER_BAND
    # Binomial(150, 1/5): a mean of 30, a standard deviation of 4.9; thirds have 600 ± 18.
    assert shown.min() > 5 and shown.max() < 60
    assert all(500 < third.sum() < 700 for third in np.split(shown, 3))


def test_the_bands_are_half_open() -> None:
    sheet = AuditSheet(0.9)
    sheet.add(Image.new("RGB", (64, 64)), [found(0.9), found(0.25)])
    assert sheet.counts[BANDS.index(0.9)] == 1
    assert sheet.counts[0] == 1


def test_a_sheet_shows_the_most_confident_first_and_a_line_at_the_threshold() -> None:
    sheet = AuditSheet(0.9)
    high, low = Image.new("RGB", (64, 64), (0, 200, 200)), Image.new("RGB", (64, 64), (200, 200, 0))
    sheet.add(high, [found(0.999)])
    sheet.add(low, [found(0.3)])
    drawn = np.asarray(sheet.draw()).astype(int)
    rows = {
        name: np.argwhere((drawn == color).all(2))[:, 0]
        for name, color in (("high", (0, 200, 200)), ("low", (200, 200, 0)), ("line", (0xD0, 0x80, 0)))
    }
    assert rows["high"].max() < rows["line"].min() <= rows["line"].max() < rows["low"].min()


def test_boxes_at_the_edge_can_be_shown() -> None:
    sheet = AuditSheet(0.5)
    sheet.add(
        Image.new("RGB", (64, 64), "white"), [found(0.95, (0, 0, 0.5, 0.5)), found(0.95, (60, 60, 64, 64))]
    )
    assert sheet.draw().width > 0
