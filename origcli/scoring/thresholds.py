"""The threshold of a run, and the scale that it is a part of: what counts as redrawn, and why.

In this order: the flag, a reference set, the model's registry, the model's own samples, none. A reference set
is an earlier report; it gives a threshold, and images are placed in it. A threshold is calibrated or given,
never invented.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from origcli.errors import InputError, UsageError
from origcli.inversion.cost import measured_rate
from origcli.reports.schema import Landmarks, ScoreReport, ScoreResult, Threshold
from origcli.reports.writers import read_report
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_file
from origcli.scoring.advice import in_words, own_flops
from origcli.scoring.assessment import Reference, Scale
from origcli.scoring.baseline import drawing_facts, find_ceiling
from origcli.scoring.models import Models
from origcli.scoring.self_calibration import (
    SelfCalibration,
    automatic_budget,
    calibrate_self,
    read_self_calibration,
)
from origcli.scoring.store import Store
from origcli.settings import Settings
from origcli.weights.registry import Calibration

QUANTILE = 0.9  # ours, as for the bundled model's threshold
_BUDGET = ("steps", "batch_size", "learning_rate", "early_stop", "initialization", "flip")
_OPTIONS = {"steps": "denoising-steps"}  # of what a model samples with, where its name is another


def open_scale(models: Models, settings: Settings, runtime: Runtime, store: Store) -> Scale:
    """The constants of model, metric and sampling settings: from flags, the registry, the store, or drawn."""
    score, kept = settings.score, _calibrated(models, settings)
    reference, limit = _from_reference(models, settings)
    threshold = _settled(models, settings, runtime, store, limit)

    # Last, because it may draw and write.
    ceiling = registered_ceiling(models, settings)
    if ceiling is None:
        ceiling = find_ceiling(
            models.model, models.metric, score.ceiling_samples, settings.draw, runtime, store
        )
    return Scale(
        ceiling=ceiling,
        threshold=threshold,
        psnr_limit=models.entry.psnr_limit,
        bootstrap=score.bootstrap,
        reference=reference,
        landmarks=_landmarks(kept, settings),
    )


def registered_ceiling(models: Models, settings: Settings) -> float | None:
    """The ceiling of the registry, where it was measured with these settings."""
    kept = _calibrated(models, settings)
    if kept is None or kept.ceiling_images != settings.score.ceiling_samples:
        return None
    return kept.ceiling


def _landmarks(kept: Calibration | None, settings: Settings) -> Landmarks | None:
    """The model's landmarks, where they were measured with these settings."""
    if kept is None or kept.learned != _learned(settings):
        return None
    return kept.landmarks


def _settled(
    models: Models, settings: Settings, runtime: Runtime, store: Store, limit: Threshold | None
) -> Threshold:
    """The threshold; for a model without one, calibrates it on its own samples first, and says so."""
    threshold = _first_of(models, settings, limit, read_self_calibration(models, settings, store))
    if not is_calibrated_first(threshold, models, settings):
        return threshold
    runtime.progress.say(announcement(models, settings, runtime))
    own = calibrate_self(models, settings, runtime, store, automatic_budget(settings))
    return _first_of(models, settings, limit, own)


def is_calibrated_first(threshold: Threshold, models: Models, settings: Settings) -> bool:
    """Whether `score` calibrates a model before its images, for lack of a threshold."""
    return threshold.source == "none" and calibrates_itself(models, settings)


def calibrates_itself(models: Models, settings: Settings) -> bool:
    """Whether `score` calibrates a model where no threshold is found.

    Not where the model has one for other settings: then these are what has to change (`what_was_lost`).
    """
    return settings.score.calibrate and not _calibrated_otherwise(models)


def _calibrated_otherwise(models: Models) -> list[Calibration]:
    """The scales with a threshold that were calibrated on these weights, for whatever settings."""
    return [
        scale
        for scale in models.entry.scales
        if scale.threshold is not None and scale.weights_hash == models.model.weights_hash
    ]


def announcement(models: Models, settings: Settings, runtime: Runtime) -> str:
    """What is said before a model is calibrated by itself: why, how much, and about how long."""
    budget = automatic_budget(settings)
    minutes = in_words(own_flops(models.model, settings, budget) / measured_rate(runtime))
    return (
        f"the model {models.entry.name!r} has no threshold yet: calibrating it once on {budget.captions} × "
        f"{budget.samples} of its own samples (about {minutes}; --no-calibrate skips it)"
    )


def find_threshold(models: Models, settings: Settings, own: SelfCalibration | None = None) -> Threshold:
    """The distance that counts as redrawn, and where it comes from. Draws nothing.

    Args:
        own: what the model's own samples gave, if it was calibrated on them.

    Raises:
        InputError, UsageError: the reference set is unsuitable (`read_reference`).
        UsageError: `until_reached` is set, there is no threshold, and none may be calibrated.
    """
    _, limit = _from_reference(models, settings)
    return _first_of(models, settings, limit, own)


def _first_of(
    models: Models, settings: Settings, limit: Threshold | None, own: SelfCalibration | None
) -> Threshold:
    """The first that there is of flag, reference set, registry and own samples."""
    score, kept = settings.score, _calibrated(models, settings)
    if score.threshold is not None:
        return Threshold(value=score.threshold, source="flag", how="given by --threshold")
    if limit is not None:
        return limit
    if kept is not None and kept.threshold is not None:
        return Threshold(
            value=kept.threshold,
            source="registry",
            how=kept.threshold_how,
            control_images=kept.control_images,
            control_within=kept.control_within,
        )
    if own is not None:
        return own.as_threshold()
    if score.until_reached and not calibrates_itself(models, settings):
        raise UsageError(
            "--until-reached needs a threshold, and none is calibrated here",
            "give --threshold or --reference, or leave out --no-calibrate",
        )
    return Threshold(
        value=None,
        source="none",
        how="no threshold is calibrated for this model, metric and settings; origcli calibrate makes one",
    )


def what_was_lost(models: Models, settings: Settings, threshold: Threshold) -> str:
    """Which settings take the model's calibrated threshold away, and what keeps it; empty where none do."""
    if threshold.source != "none":
        return ""
    facts = drawing_facts(models.model, settings.draw)
    metric = models.metric
    differences = []
    for scale in _calibrated_otherwise(models):
        options = [
            (f"--{_OPTIONS.get(name, name)} {value}", facts.get(name))
            for name, value in scale.draw.items()
            if facts.get(name) != value
        ]
        if scale.metric != metric.name:
            options.append((f"--metric {scale.metric}", metric.name))
        elif scale.metric_version != metric.version:
            options.append(("the model's own --detector", "another"))
        differences.append(options)
    nearest = min(differences, key=len, default=[])
    if not nearest:
        return ""
    wanted = ", ".join(option for option, _ in nearest)
    had = ", ".join(str(value) for _, value in nearest)
    return (
        f"no threshold, so no verdict of redrawn or not: that of {models.entry.name!r} is calibrated for "
        f"{wanted}, not {had}; keep it with {wanted}, or give --threshold or --reference"
    )


def _calibrated(models: Models, settings: Settings) -> Calibration | None:
    """The registry's constants for this model, metric and way of sampling."""
    facts = drawing_facts(models.model, settings.draw)
    wanted = (models.metric.name, models.metric.version, facts, models.model.weights_hash)
    return next(
        (
            scale
            for scale in models.entry.scales
            if (scale.metric, scale.metric_version, dict(scale.draw), scale.weights_hash) == wanted
        ),
        None,
    )


def _from_reference(models: Models, settings: Settings) -> tuple[Reference | None, Threshold | None]:
    if settings.score.reference is None:
        return None, None
    expected = {
        "model": models.model.weights_hash,
        "metric": f"{models.metric.name} {models.metric.version}",
        **drawing_facts(models.model, settings.draw),
        **_learned(settings),
    }
    return read_reference(Path(settings.score.reference), expected)


def _learned(settings: Settings) -> dict[str, Any]:
    """Which tokens are learned, for which prompt, for how long: scores are compared with equal ones."""
    return {
        "max_tokens": settings.score.max_tokens,
        "prompt": settings.score.prompt,
        **learning_budget(settings.invert.model_dump(mode="json")),
    }


def read_reference(path: Path, expected: Mapping[str, Any]) -> tuple[Reference, Threshold]:
    """Reads a score report as a reference set.

    The threshold is the 90th percentile of d(1) of its images: what nine in ten of them are redrawn
    within by a single token.

    Args:
        path: a report.json, or the directory of one.
        expected: what has to be equal for scores to be compared (`comparable`).

    Raises:
        InputError: it is no score report, holds no scored image, or numbers that `score` cannot have written.
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

    # What was out of the model's domain and measured all the same says nothing about originality.
    scored = [
        result
        for result in report.results
        if result.originality.value is not None and result.domain_check.inside is not False
    ]
    if not scored:
        raise InputError(f"{path}: no image in it has an originality")
    first = _first_distances(scored, path)

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


def _first_distances(scored: Sequence[ScoreResult], path: Path) -> list[float]:
    """d(1) of each image of a reference set, which others may have written.

    Raises:
        InputError: one has none, or one that is no distance.
    """
    first = []
    for result in scored:
        distance = next((point.distance.value for point in result.curve if point.m == 1), None)
        if distance is None:
            raise InputError(f"{path}: damaged: {result.id!r} has an originality, and no distance at m = 1")
        if distance < 0 or not 0 <= (result.originality.value or 0) <= 1:
            raise InputError(f"{path}: damaged: the distance or originality of {result.id!r} is out of range")
        first.append(distance)
    return first


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
