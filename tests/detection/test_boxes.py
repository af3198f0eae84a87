from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms, box_area, box_iou

from origcli.detection.boxes import areas, intersections, overlaps
from origcli.detection.suppression import keep_one_each


def random_boxes(count: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    return torch.cat([corner, corner + 1 + 30 * torch.rand(count, 2, generator=generator)], 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 99))
def test_as_torchvision_has_them(n: Any, m: Any, seed: Any) -> None:
    a, b = random_boxes(n, seed), random_boxes(m, seed + 100)
    assert torch.allclose(areas(a), box_area(a))
    assert torch.allclose(overlaps(a, b), box_iou(a, b), atol=1e-6)
    assert torch.allclose(intersections(a, a).diagonal(), areas(a))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 80), st.integers(1, 4), st.floats(0.1, 0.9), st.integers(0, 999))
def test_suppression_is_the_greedy_one(count: Any, pictures: Any, iou: Any, seed: Any) -> None:
    boxes = random_boxes(count, seed)
    generator = torch.Generator().manual_seed(seed)
    confidences = torch.rand(count, generator=generator)
    numbers = torch.randint(0, pictures, (count,), generator=generator)
    wanted = batched_nms(boxes, confidences, numbers, iou)
    assert keep_one_each(boxes, confidences, numbers, iou).tolist() == wanted.tolist()


def test_empty_boxes_overlap_with_nothing() -> None:
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert areas(point).tolist() == [0.0]
    assert overlaps(point, point).tolist() == [[0.0]]
    assert overlaps(point, torch.tensor([[0.0, 0.0, 9.0, 9.0]])).tolist() == [[0.0]]
