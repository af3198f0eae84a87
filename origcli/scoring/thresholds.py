"""A reference set: an earlier report that an image is placed in, and that gives a threshold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from origcli.errors import InputError, UsageError
from origcli.reports.schema import ScoreReport, Threshold
from origcli.reports.writers import read_report
from origcli.runtime.provenance import hash_file
from origcli.scoring.assessment import Reference

_BUDGET = ("steps", "batch_size", "learning_rate", "early_stop", "initialization", "flip")
QUANTILE = 0.9  # ours, as for the bundled model's threshold


def read_reference(path: Path, expected: Mapping[str, Any]) -> tuple[Reference, Threshold]:
    """Reads a score report as a reference set.

    The threshold is the 90th percentile of d(1) of its images: what nine in ten of them are redrawn
    within by a single token.

    Args:
        path: a report.json, or the directory of one.
        expected: what has to be equal for scores to be compared (`comparable`).

    Raises:
        InputError: it is no score report, or holds no scored image.
        UsageError: it was made with another model, metric or settings; names the first difference.
    """
    report = read_report(path, "score")
    assert isinstance(report, ScoreReport)
    found = comparable(report)
    for name, value in expected.items():
        if found[name] != value:
            raise UsageError(
                f"{path}: not comparable: its {name.replace('_', ' ')} is {found[name]}, not {value}",
                "score the reference set with the same model, metric and settings",
            )
    # What was out of the model's domain and measured by force says nothing about originality.
    scored = [
        result
        for result in report.results
        if result.originality.value is not None and result.domain_check.inside is not False
    ]
    if not scored:
        raise InputError(f"{path}: no image in it has an originality")
    first = [
        result.curve[0].distance.value for result in scored if result.curve[0].distance.value is not None
    ]
    file = path / "report.json" if path.is_dir() else path
    reference = Reference(
        name=file.parent.name or file.name,
        hash=hash_file(file),
        originality=tuple(
            result.originality.value for result in scored if result.originality.value is not None
        ),
    )
    threshold = Threshold(
        value=float(np.quantile(first, QUANTILE)),
        source="reference",
        how=f"{QUANTILE:.0%} quantile of d(1) of the {len(first)} images of {reference.name}",
    )
    return reference, threshold


def comparable(report: ScoreReport) -> dict[str, Any]:
    """What two score reports must share for their scores to be compared."""
    facts, settings = report.provenance, report.provenance.settings
    score, draw, invert = settings.get("score"), settings.get("draw"), settings.get("invert")
    metric, model = facts.metric, facts.model
    return {
        "model": model.weights_hash if model else None,
        "metric": f"{metric.name} {metric.version}" if metric else None,
        "max_tokens": score.get("max_tokens") if isinstance(score, dict) else None,
        "prompt": score.get("prompt") if isinstance(score, dict) else None,
        "steps": draw.get("steps") if isinstance(draw, dict) else None,
        "scheduler": facts.scheduler,
        "guidance": facts.guidance,
        **learning_budget(invert if isinstance(invert, dict) else {}),
    }


def learning_budget(invert: Mapping[str, Any]) -> dict[str, Any]:
    """How long and how fast tokens were learned: what learns longer comes nearer with fewer of them."""
    return {f"learning_{name.removeprefix('learning_')}": invert.get(name) for name in _BUDGET}
