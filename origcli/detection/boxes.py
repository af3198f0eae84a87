"""Geometry of boxes x0, y0, x1, y1.

torchvision has the same functions; to import it takes longer than to detect in a hundred images.
"""

import torch
from torch import Tensor


def areas(boxes: Tensor) -> Tensor:
    """(…, 4) -> (…)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def intersections(a: Tensor, b: Tensor) -> Tensor:
    """The area that each box of `a` (…, n, 4) shares with each of `b` (…, m, 4): (…, n, m)."""
    corner = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    other = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    return (other - corner).clamp(min=0).prod(-1)


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each box of `a` (…, n, 4) and each of `b` (…, m, 4): (…, n, m)."""
    shared = intersections(a, b)
    union = areas(a)[..., :, None] + areas(b)[..., None, :] - shared
    return torch.where(union > 0, shared / union, torch.zeros_like(shared))
