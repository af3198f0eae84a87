"""One object, one detection.

The rule: detections of a picture are taken from the most confident to the least; one is dropped where its
box and that of a detection already taken overlap by more than `iou` (intersection over union), whatever
the classes of the two. So where two classes claim one object, the more confident claim is counted and the
other is not. Two elements that really stand in one place, one in front of the other, differ in size or
are more than half covered; only an empty one over another of the same size and place is lost.
"""

import torch
from torch import Tensor

from origcli.detection.boxes import overlaps


def keep_one_each(boxes: Tensor, confidences: Tensor, pictures: Tensor, iou: float) -> Tensor:
    """The detections that count, by the rule above, each picture for itself.

    Args:
        boxes: (n, 4) x0, y0, x1, y1, in any unit.
        confidences: (n,).
        pictures: (n,) the number of the picture of each.
        iou: overlap above which two boxes claim one object.

    Returns:
        (k,) indices, by falling confidence.
    """
    order = confidences.argsort(descending=True, stable=True)
    kept = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    for picture in pictures.unique():
        places = (pictures[order] == picture).nonzero().view(-1)
        kept[places] = _taken(overlaps(*(boxes[order[places]],) * 2) > iou)
    return order[kept]


def _taken(claims: Tensor) -> Tensor:
    """Which of n detections, the most confident first, are taken, given which claim the same object (n, n).

    One is taken if none that is taken stands before it: started from all, this settles from the front.
    """
    before = claims.tril(-1)
    taken = torch.ones(len(claims), dtype=torch.bool, device=claims.device)
    while True:
        now = ~(before & taken).any(1)
        if torch.equal(now, taken):
            return taken
        taken = now
