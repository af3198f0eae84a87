from typing import Any

import torch

from origcli.detection.suppression import keep_one_each

BOX = [10.0, 10.0, 20.0, 20.0]
NEARLY = [10.5, 10.0, 20.5, 20.0]  # IoU 0.905
HALF = [15.0, 10.0, 25.0, 20.0]  # IoU 1/3


def kept(boxes: Any, confidences: Any, pictures: Any, iou: float = 0.7) -> Any:
    return keep_one_each(torch.tensor(boxes), torch.tensor(confidences), torch.tensor(pictures), iou).tolist()


def test_of_two_claims_to_one_object_the_more_confident_counts() -> None:
    assert kept([BOX, NEARLY], [0.91, 0.95], [0, 0]) == [1]
    assert kept([BOX, NEARLY], [0.95, 0.91], [0, 0]) == [0]


def test_overlapping_elements_both_count() -> None:
    assert kept([BOX, HALF], [0.91, 0.95], [0, 0]) == [1, 0]


def test_pictures_do_not_see_each_other() -> None:
    assert kept([BOX, BOX, BOX], [0.91, 0.95, 0.93], [0, 1, 2]) == [1, 2, 0]


def test_what_was_dropped_drops_nothing() -> None:
    # The second falls to the first; the third overlaps the second alone.
    chain = [[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [2.0, 0.0, 12.0, 10.0]]  # IoU 0.82, 0.67
    assert kept(chain, [0.9, 0.8, 0.7], [0, 0, 0]) == [0, 2]


def test_the_share_decides() -> None:
    assert kept([BOX, HALF], [0.91, 0.95], [0, 0], iou=0.3) == [1]


def test_nothing_is_nothing() -> None:
    assert keep_one_each(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), 0.7).tolist() == []
