"""Results of made-up numbers, for tests of what is done with results."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from origcli.reports.schema import Estimate, ImageFacts, ScoreResult, Threshold
from origcli.reports.verdict import decide
from origcli.scoring.assessment import Scale, Trial, assess, check_domain


def score_result(
    name: str = "photo",
    *,
    curve: Sequence[float] = (0.5, 0.4),
    spread: float = 0.0,
    originality: float | None = None,
    threshold: float | None = None,
    group: str | None = None,
    l_det: Sequence[float] | None = None,
    floor: float = 0.1,
    ceiling: float = 0.7,
    drawings: int = 4,
) -> ScoreResult:
    """A result whose curve is given; `originality` replaces the one that follows from it."""
    limit = Threshold(value=threshold, source="none" if threshold is None else "flag", how="test")
    scale = Scale(ceiling=ceiling, threshold=limit, psnr_limit=None, bootstrap=50)
    offsets = np.linspace(-spread, spread, drawings)
    losses = l_det or [0.05 - 0.001 * m for m in range(len(curve))]
    trials = {
        m: [Trial([float(d + o) for o in offsets], loss, 10, "budget")]
        for m, (d, loss) in enumerate(zip(curve, losses, strict=True), 1)
    }
    domain = check_domain(30.0, floor, scale)
    assessed = assess(trials, len(curve), floor, scale, np.random.default_rng(0))
    score = assessed.originality if originality is None else Estimate.of(originality)
    facts: dict[str, Any] = {"path": f"{name}.png", "sha256": "0" * 64, "width": 64, "height": 64}
    return ScoreResult(
        id=name,
        image=ImageFacts(**facts),
        group=group,
        domain=group.rpartition("/")[0] or None if group else None,
        verdict=decide("tiny", domain, score, assessed.tokens_needed, limit, assessed.curve),
        originality=score,
        tokens_needed=assessed.tokens_needed,
        threshold=limit,
        curve=assessed.curve,
        distance_0=Estimate.of(0.65),
        l_det_0=Estimate.of(0.06),
        floor=Estimate.of(floor),
        ceiling=Estimate.of(ceiling),
        domain_check=domain,
        intervals=assessed.intervals,
    )
