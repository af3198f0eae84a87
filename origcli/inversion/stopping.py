"""When to stop: DVAR's deterministic criterion (Voronov et al. 2023, arXiv 2302.04841), with a floor.

L_det is the loss on a fixed batch: fixed noise, timesteps and prompts. It has none of the sampling
noise that hides in the training loss whether anything still moves.
"""

from collections.abc import Sequence
from statistics import fmean, pvariance

BUDGET = "budget"
VARIANCE = "variance"
FLOOR = "floor"


def cooling(step: int, last: int, cool_down: int) -> float:
    """The share of the learning rate at a step, counted from 0, of a course of `last` steps.

    In the first of the last `cool_down` steps it is whole, in the one after them it would be zero.
    """
    return min(1.0, (last - step) / cool_down) if cool_down else 1.0


def stop_reason(losses: Sequence[float], window: int, variance: float, floor: float) -> str | None:
    """Why to stop after these evaluations of L_det, or `None` to go on.

    Args:
        losses: L_det so far, evenly spaced in steps, from before the first step on.
        window: how many of the latest evaluations are looked at; with fewer there is no verdict.
        variance: stop when var(window) / var(all) is under this (`variance`).
        floor: stop when std(window) is under this share of mean(window) (`floor`). Without it a start
            that is good already never stops: its whole history varies as little as its window.
    """
    if len(losses) < window:
        return None
    latest = losses[-window:]
    moved = pvariance(latest)
    if moved**0.5 < floor * fmean(latest):
        return FLOOR
    if moved < variance * pvariance(losses):
        return VARIANCE
    return None
