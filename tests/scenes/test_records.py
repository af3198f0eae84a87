"""Metadata and labels."""

import json

import pytest

from origcli.scenes.elements import ALL_ELEMENTS, Element
from origcli.scenes.records import (
    LABELLED_SHARE,
    data_yaml,
    is_for_validation,
    record_line,
    scene_of,
    yolo_labels,
)
from origcli.scenes.scene import Placed, Scene

STAR, SQUARE = Element.parse("big red full star"), Element.parse("small blue empty square")
SCENE = Scene(
    (
        Placed(STAR, 0.25, 0.5, (0.1, 0.4, 0.4, 0.6), 0.25),
        Placed(SQUARE, 0.5, 0.5, None, 1.0),
        Placed(SQUARE, 0.5, 0.5, (0.5, 0.5, 0.51, 0.51), 0.95),
    ),
    "uniform",
)


def test_a_record_is_a_line_of_json_that_tells_the_scene() -> None:
    line = record_line(SCENE, "images/00000/000007.png", "a caption", ', "offset": 7')
    record = json.loads(line)
    assert line.count("\n") == 1 and line.endswith("\n") and record["offset"] == 7
    assert (record["file_name"], record["text"]) == ("images/00000/000007.png", "a caption")
    assert scene_of(record) == SCENE


def test_labels_are_those_of_yolo() -> None:
    lines = yolo_labels(SCENE).splitlines()
    assert len(lines) == 1  # not what is hidden, and not what shows less than a tenth
    number, *sides = lines[0].split()
    assert int(number) == STAR.index
    assert [float(side) for side in sides] == pytest.approx([0.25, 0.5, 0.3, 0.2])
    shown = Placed(SQUARE, 0.5, 0.5, (0.5, 0.5, 0.6, 0.6), 1 - LABELLED_SHARE - 0.01)
    assert yolo_labels(Scene((shown,), "uniform"))
    assert yolo_labels(Scene((), "empty")) == ""


@pytest.mark.parametrize(
    ("count", "held"), [(1, [0]), (2, [1]), (9, [8]), (10, [9]), (25, [9, 19]), (30, [9, 19, 29])]
)
def test_every_tenth_picture_is_for_validation(count: int, held: list[int]) -> None:
    assert [index for index in range(count) if is_for_validation(index, count)] == held


def test_data_yaml_names_all_classes() -> None:
    lines = data_yaml().splitlines()
    assert [line.strip() for line in lines[-60:]] == [f"{e.index}: {e.phrase}" for e in ALL_ELEMENTS]
    assert not any(line.startswith(("path:", "download:")) for line in lines)
