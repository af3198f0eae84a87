"""The threshold of a run: where it comes from, what takes it away, and reference sets that are damaged."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from origcli.errors import InputError, UsageError
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.reports.schema import Landmarks
from origcli.reports.writers import write_report
from origcli.scoring import thresholds
from origcli.scoring.store import Store
from origcli.scoring.thresholds import find_threshold, what_was_lost
from origcli.settings import resolve
from origcli.weights.registry import Calibration
from tests.reports.samples import report, result

DRAWN = {"steps": 50, "scheduler": "ddim", "guidance": 3.0}
CALIBRATED = Calibration(
    metric="elements", metric_version="1", weights_hash="ab", draw=DRAWN, ceiling=0.8, ceiling_images=64,
    threshold=0.4, threshold_how="90% quantile",
)  # fmt: skip


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(
        thresholds,
        "drawing_facts",
        lambda model, draw: {
            **StableDiffusion.settled(draw).model_dump(include={"steps", "scheduler"}),
            "guidance": draw.guidance or 3.0,
        },
    )
    return SimpleNamespace(
        entry=SimpleNamespace(name="shapes", scales=(CALIBRATED,), psnr_limit=None),
        model=SimpleNamespace(weights_hash="ab"),
        metric=SimpleNamespace(name="elements", version="1"),
    )


def settings(**changes: Any) -> Any:
    return resolve(
        {"draw": {"steps": 50, "scheduler": "ddim"} | changes.pop("draw", {}), **changes}, environment={}
    )[0]


def test_the_threshold_is_the_flag_s_or_the_registry_s_or_none(models: Any) -> None:
    assert find_threshold(models, settings()).source == "registry"
    assert find_threshold(models, settings(score={"threshold": 0.1})).source == "flag"
    none = find_threshold(models, settings(draw={"steps": 20}))
    assert none.source == "none" and none.value is None
    with pytest.raises(UsageError, match="--until-reached needs a threshold"):
        find_threshold(models, settings(draw={"steps": 20}, score={"until_reached": True}))


@pytest.mark.fault(52, "said before any work, with what keeps it")
@pytest.mark.parametrize(
    ("changes", "metric", "wanted", "had"),
    [
        ({"steps": 20}, "elements 1", "--denoising-steps 50", "20"),
        ({"scheduler": "dpm"}, "elements 1", "--scheduler ddim", "dpm"),
        ({"guidance": 5.0}, "elements 1", "--guidance 3.0", "5.0"),
        ({"steps": 20, "guidance": 5.0}, "elements 1", "--denoising-steps 50, --guidance 3.0", "20, 5.0"),
        ({}, "dreamsim 1", "--metric elements", "dreamsim"),
        ({}, "elements 2", "the model's own --detector", "another"),
    ],
)
def test_what_takes_the_threshold_away_is_said(
    models: Any, changes: dict[str, Any], metric: str, wanted: str, had: str
) -> None:
    models.metric.name, models.metric.version = metric.split()
    chosen = settings(draw={"steps": 50, **changes})
    lost = what_was_lost(models, chosen, find_threshold(models, chosen))
    assert f"is calibrated for {wanted}, not {had}; keep it with {wanted}," in lost


def test_nothing_is_lost_where_nothing_was_calibrated_or_another_is_given(models: Any) -> None:
    other = settings(draw={"steps": 20}, score={"threshold": 0.3})
    assert what_was_lost(models, other, find_threshold(models, other)) == ""
    models.entry.scales = ()
    bare = settings(draw={"steps": 20})
    assert what_was_lost(models, bare, find_threshold(models, bare)) == ""


def test_landmarks_hold_for_the_budget_that_they_were_measured_with_alone(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Landmarks(originality={"common": 0.03, "unseen": 0.2}, images=20, how="mean of 20 images")
    usual = settings()
    learned = {
        "max_tokens": usual.score.max_tokens,
        "prompt": usual.score.prompt,
        **thresholds.learning_budget(usual.invert.model_dump(mode="json")),
    }
    models.entry.scales = (CALIBRATED.model_copy(update={"landmarks": known, "learned": learned}),)
    store = Store(tmp_path)

    def found(chosen: Any) -> Landmarks | None:
        return thresholds.open_scale(models, chosen, SimpleNamespace(), store).landmarks  # type: ignore[arg-type]

    monkeypatch.setattr(thresholds, "find_ceiling", lambda *given: 0.8)
    monkeypatch.setattr(thresholds, "read_self_calibration", lambda *given: None)
    assert found(usual) == known
    for other in (
        {"score": {"max_tokens": 2}},
        {"invert": {"steps": 7}},
        {"score": {"prompt": "art of {S}"}},
    ):
        assert found(settings(**other)) is None
    models.entry.scales = (CALIBRATED,)
    assert found(usual) is None, "a model without landmarks has none"


def crafted(directory: Path, change: Any) -> Path:
    """A reference set in which one number was changed by hand."""
    directory.mkdir()
    write_report(directory, report(result(None, "a"), result(None, "b")))
    path = directory / "report.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    return path


def no_curve(value: Any) -> None:
    value["results"][1]["curve"] = []


def no_distances(value: Any) -> None:
    for one in value["results"]:
        for point in one["curve"]:
            point["distance"] = {"value": None, "low": None, "high": None, "reason": "lost"}


def negative(value: Any) -> None:
    value["results"][0]["curve"][0]["distance"] = {"value": -5.0, "low": None, "high": None, "reason": None}


def another_first(value: Any) -> None:
    value["results"][0]["curve"] = value["results"][0]["curve"][1:]


def beyond_one(value: Any) -> None:
    value["results"][0]["originality"] = {"value": 7.0, "low": None, "high": None, "reason": None}


@pytest.mark.fault(53, "a made-up --reference sets no threshold: exit 3, and the image is named")
@pytest.mark.parametrize("change", [no_curve, no_distances, negative, another_first, beyond_one])
def test_a_made_up_reference_is_refused(tmp_path: Path, change: Any) -> None:
    limit = thresholds.read_reference(crafted(tmp_path / "whole", lambda value: None), {})[1]
    assert limit.value is not None and limit.value > 0
    with pytest.raises(InputError, match=r"damaged: .*'[ab]'"):
        thresholds.read_reference(crafted(tmp_path / "crafted", change), {})
