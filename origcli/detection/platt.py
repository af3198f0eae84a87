"""Confidences that mean what they say.

What YOLOv8 learns to give a class is not the chance of being right but how well the box will fit (its
target is the intersection over union with the true one), so small elements, whose boxes fit worse, score
low however sure they are. Platt scaling maps the logits to the chance that a detection is right, by a
slope and an offset for all classes alike. It goes into the weights of the last convolutions: the order of
detections stays, and any program that runs the network sees calibrated confidences.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Floats = npt.NDArray[np.float64]

_STEPS = 50
_EPSILON = 1e-6


def fit_platt(confidences: Floats, right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset (a, b) such that sigmoid(a·logit(confidence) + b) is the chance of being right.

    Maximum likelihood by Newton's method, with the targets of Platt (1999) in place of 0 and 1, which keep
    the fit finite where one threshold separates right from wrong. (1, 0) where there is nothing to fit.
    """
    positive, negative = int(right.sum()), int((~right).sum())
    if positive == 0 or negative == 0:
        return 1.0, 0.0
    clipped = np.clip(confidences, _EPSILON, 1 - _EPSILON)
    x = np.stack([np.log(clipped / (1 - clipped)), np.ones(len(clipped))], axis=1)  # (n, 2)
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))
    weights = np.array([1.0, 0.0])
    loss = _loss(x, target, weights)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - target)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        # Newton's step may overshoot where the sigmoid is flat.
        while (ahead := _loss(x, target, weights - step)) > loss and np.abs(step).max() > 1e-9:
            step /= 2
        weights = weights - step
        if abs(loss - ahead) < 1e-9 * (1 + loss):
            break
        loss = ahead
    slope, offset = (float(weight) for weight in weights)
    # A falling map would turn the order round: then the network has learned nothing that could be calibrated.
    return (slope, offset) if slope > 0 else (1.0, 0.0)


def _loss(x: Floats, target: Floats, weights: Floats) -> float:
    z = x @ weights
    return float((np.logaddexp(0, z) - target * z).sum())


@torch.no_grad()
def fold(layers: list[nn.Conv2d], slope: float, offset: float) -> None:
    """Makes convolutions whose outputs are logits give slope·logit + offset."""
    for layer in layers:
        assert layer.bias is not None
        layer.weight.mul_(slope)
        layer.bias.mul_(slope).add_(offset)
