"""How good a detector is, against images whose elements are known.

Precision, recall, mAP50 and mAP50-95 are ultralytics' own, matching included. An element of which more
than half is covered is ignored: it need not be found, and a detection that stands for it is not held
against the detector.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from origcli.detection.boxes import areas, intersections, overlaps
from origcli.detection.counting import multiset
from origcli.detection.detector import Detection
from origcli.detection.yolo import metrics_parts
from origcli.scenes.elements import ALL_ELEMENTS
from origcli.scenes.scene import Scene, whole_box

LOWEST = 0.001  # confidence from which detections count for mAP, as in ultralytics
MAX_COVERED = 0.5
_IOUS = torch.linspace(0.5, 0.95, 10)


@dataclass
class Evaluation:
    """Collects images, then tells. The threshold is that of counting."""

    threshold: float
    _metrics: Any = field(init=False)
    _confusion: Any = field(init=False)
    _scores: list[npt.NDArray[np.float64]] = field(default_factory=list)
    _right: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    _elements: int = 0
    _countable: int = 0
    _exact: int = 0

    def __post_init__(self) -> None:
        names = {element.index: element.phrase for element in ALL_ELEMENTS}
        self._metrics = metrics_parts().DetMetrics(names)
        self._confusion = metrics_parts().ConfusionMatrix(names)

    def add(self, detections: Sequence[Detection], scene: Scene, resolution: int) -> None:
        """Takes in one image.

        Args:
            detections: all from a confidence of `LOWEST`, by falling confidence, boxes in pixels.
            scene: what it shows.
            resolution: its width in pixels.
        """
        truth = _truth(scene, resolution)
        boxes = torch.tensor([d.box for d in detections]).view(-1, 4)
        classes = torch.tensor([d.element.index for d in detections], dtype=torch.long)
        iou = overlaps(truth.boxes, boxes)  # (true, found)
        correct = _match(classes, truth.classes, iou)  # (found, 10)
        excused = _excused(boxes, classes, truth) & ~correct[:, 0]
        boxes, classes, correct, iou = boxes[~excused], classes[~excused], correct[~excused], iou[:, ~excused]
        confidences = torch.tensor([d.confidence for d in detections], dtype=torch.float64)[~excused]
        self._metrics.update_stats(
            {
                "tp": correct.numpy(),
                "conf": confidences.numpy(),
                "pred_cls": classes.numpy(),
                "target_cls": truth.classes.numpy(),
                "target_img": truth.classes.unique().numpy(),
                "im_name": str(len(self._scores)),
            }
        )
        self._confusion.process_batch(
            {"cls": classes, "conf": confidences, "bboxes": boxes},
            {"cls": truth.classes, "bboxes": truth.boxes},
            conf=self.threshold,
        )
        self._scores.append(confidences.numpy())
        self._right.append(correct[:, 0].numpy())
        self._elements += len(truth.classes)
        if not truth.ignored_classes.numel():
            counted = multiset(d for d in detections if d.confidence >= self.threshold)
            self._countable += 1
            self._exact += counted == Counter(scene.elements)

    @property
    def scored(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Confidence of every detection, and whether it is right (class, and an overlap of half)."""
        return np.concatenate(self._scores), np.concatenate(self._right)

    @property
    def counted(self) -> int:
        """Detections that reach the threshold, without those that stand for ignored elements."""
        return int((self.scored[0] >= self.threshold).sum())

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """counts[found, true] at the threshold, (classes + 1,) twice; the last is the background."""
        return np.asarray(self._confusion.matrix, dtype=np.int64)

    def results(self) -> dict[str, float]:
        """The figures by name: those `at_threshold` over all elements, the others means over classes."""
        self._metrics.process()
        precision, recall, map50, map50_95 = (float(value) for value in self._metrics.mean_results())
        scores, right = self.scored
        counted = scores >= self.threshold
        hits = int((right & counted).sum())
        return {
            "precision": precision,
            "recall": recall,
            "map50": map50,
            "map50_95": map50_95,
            "precision_at_threshold": hits / max(1, int(counted.sum())),
            "recall_at_threshold": hits / max(1, self._elements),
            "exact_multisets": self._exact / max(1, self._countable),
            "threshold": self.threshold,
            "images": float(len(self._scores)),
            "countable_images": float(self._countable),
            "elements": float(self._elements),
        }


@dataclass(frozen=True)
class _Truth:
    """Boxes in pixels and classes of the elements that count and, whole, of those that are ignored."""

    boxes: Tensor
    classes: Tensor
    ignored_boxes: Tensor
    ignored_classes: Tensor


def _truth(scene: Scene, resolution: int) -> _Truth:
    seen = [p for p in scene.placed if p.box is not None and p.covered <= MAX_COVERED]
    ignored = [p for p in scene.placed if p.box is None or p.covered > MAX_COVERED]
    return _Truth(
        _boxes((p.box for p in seen), resolution),
        torch.tensor([p.element.index for p in seen], dtype=torch.long),
        _boxes((whole_box(p.element, p.x, p.y) for p in ignored), resolution),
        torch.tensor([p.element.index for p in ignored], dtype=torch.long),
    )


def _boxes(boxes: Iterable[Any], resolution: int) -> Tensor:
    return torch.tensor([list(box) for box in boxes], dtype=torch.float32).view(-1, 4) * resolution


def _match(detected: Tensor, true: Tensor, iou: Tensor) -> Tensor:
    """Which detections (n,) are right at each overlap (10,): ultralytics' greedy matching."""
    matcher = SimpleNamespace(iouv=_IOUS)
    correct: Tensor = metrics_parts().BaseValidator.match_predictions(matcher, detected, true, iou)
    return correct


def _excused(boxes: Tensor, classes: Tensor, truth: _Truth) -> Tensor:
    """Which detections stand for an ignored element: its class, and at least half of the box in its own."""
    if not len(boxes) or not truth.ignored_classes.numel():
        return torch.zeros(len(boxes), dtype=torch.bool)
    shared = intersections(boxes, truth.ignored_boxes)  # (found, ignored)
    inside = shared >= 0.5 * areas(boxes)[:, None].clamp(min=1e-9)
    return (inside & (classes[:, None] == truth.ignored_classes)).any(1)
