"""One object, one detection.

The rule: detections of a picture are taken from the most confident to the least; one is dropped where its
box and that of a detection already taken overlap by more than `iou` (intersection over union), whatever
the classes of the two. So where two classes claim one object, the more confident claim is counted and the
other is not. Two elements that really stand in one place, one in front of the other, differ in size or
are more than half covered; only an empty one over another of the same size and place is lost.
"""

from torch import Tensor
from torchvision.ops import batched_nms


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
    return batched_nms(boxes.float(), confidences.float(), pictures, iou)
