"""One object, one detection.

The rule: detections of an image are taken from the most confident to the least; one is dropped where its
box and that of a detection already taken overlap by more than `iou` (intersection over union), whatever
the classes of the two. So where two classes claim one object, the more confident claim is counted and the
other is not. Two elements that really stand in one place, one in front of the other, differ in size or
are more than half covered; only an empty one over another of the same size and place is lost.
"""

import torch
from torch import Tensor

from origcli.detection.boxes import overlaps


def keep_one_each(boxes: Tensor, confidences: Tensor, pictures: Tensor, iou: float) -> Tensor:
    """The detections that count, by the rule above, each image for itself.

    Args:
        boxes: (n, 4) x0, y0, x1, y1, in any unit.
        confidences: (n,).
        pictures: (n,) the number of the image of each.
        iou: overlap above which two boxes claim one object.

    Returns:
        (k,) indices, by falling confidence.
    """
    order = confidences.argsort(descending=True, stable=True)
    order = order[pictures[order].argsort(stable=True)]  # by image, within it by falling confidence
    _, row, counts = pictures[order].unique_consecutive(return_inverse=True, return_counts=True)
    if not len(order):
        return order
    column = torch.arange(len(order)) - (counts.cumsum(0) - counts)[row]
    padded = torch.zeros(len(counts), int(counts.max()), 4)
    padded[row, column] = boxes[order].float()
    order = order[_taken(overlaps(padded, padded) > iou)[row, column]]
    return order[confidences[order].argsort(descending=True, stable=True)]


def _taken(claims: Tensor) -> Tensor:
    """Which of the detections of each image, the most confident first, are taken: (images, n).

    One is taken if none that is taken stands before it and claims the same object (`claims`, (images, n,
    n)): started from all, this settles from the front.
    """
    before = claims.tril(-1)
    taken = torch.ones(claims.shape[:2], dtype=torch.bool)
    while True:
        now = ~(before & taken[:, None]).any(2)
        if torch.equal(now, taken):
            return taken
        taken = now
