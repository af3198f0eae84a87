"""Plans count: no network of a model runs, forward or back, and what does not fit is said."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from origcli.runtime.context import Runtime
from origcli.runtime.progress import PlainProgress
from origcli.scoring import dry_run
from origcli.scoring.dry_run import calibrates_first, plan_invert, plan_score
from origcli.scoring.self_calibration import Budget, calibrate_self
from origcli.scoring.setup import open_models
from origcli.scoring.store import Store
from origcli.settings import Settings

Make = Callable[..., Settings]


@pytest.fixture
def no_passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A denoiser or autoencoder that is called with data fails: on tensors without data it only counts."""
    call = torch.nn.Module.__call__

    def checked(module: torch.nn.Module, *words: Any, **named: Any) -> Any:
        given = [value for value in (*words, *named.values()) if isinstance(value, torch.Tensor)]
        fake = torch._subclasses.FakeTensor
        counted = all(value.is_meta or isinstance(value, fake) for value in given)
        assert counted or not type(module).__module__.startswith("diffusers"), type(module)
        return call(module, *words, **named)

    monkeypatch.setattr(torch.nn.Module, "__call__", checked)
    yield


@pytest.mark.fault(14, "--dry-run counts: neither denoiser nor autoencoder runs, however large it is")
def test_a_plan_of_invert_runs_no_network(tiny_settings: Make, no_passes: None) -> None:
    plan = plan_invert(7, [1, 2, 3], tiny_settings(), Runtime())
    assert (plan["images"], plan["tokens"], plan["steps"], plan["batch_size"]) == (7, "1,2,3", 3, 2)
    assert plan["unet_samples"] == 7 * (3 * 2 * 3 + (2 * 3 + 1) * 2)
    assert plan["tflop"] > 0 and plan["minutes"] > 0


def test_a_plan_of_score_runs_no_network_and_says_what_does_not_fit(
    tiny_settings: Make, pixel_metric: None, no_passes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    runtime = Runtime(progress=PlainProgress(said))
    models = open_models(tiny_settings(), runtime)
    said.truncate(0)
    stages = {stage.stage: stage for stage in plan_score(3, models, tiny_settings(), runtime)}
    assert set(stages) == {"learn", "draw", "decode"} and "out of memory" not in said.getvalue()
    assert all(stage.tflop > 0 and stage.minutes > 0 for stage in stages.values())

    monkeypatch.setattr(dry_run, "usable_bytes", lambda device: 1000)
    small: dict[str, Any] = {one.stage: one for one in plan_score(3, models, tiny_settings(), runtime)}
    assert small["learn"].batch == 1 and small["learn"].gigabytes > 0
    assert "one sample needs" in said.getvalue() and "out of memory" in said.getvalue()


def test_only_a_model_without_a_scale_is_calibrated_first(
    tiny_settings: Make, pixel_metric: None, tmp_path: Path
) -> None:
    settings = tiny_settings(score={"calibrate": True}, calibrate={"automatic_captions": 10})
    runtime, store = Runtime(), Store(tmp_path)
    models = open_models(settings, runtime)
    assert calibrates_first(models, settings, None) and calibrates_first(models, settings, tmp_path)

    budget = Budget(captions=10, samples=2, controls=1)
    (stage, *others) = plan_score(3, models, settings, runtime, calibrates=True)
    assert stage.stage == "calibrate" and "10 captions" in stage.product and stage.tflop > 0
    assert [one.tflop for one in others] == [one.tflop for one in plan_score(3, models, settings, runtime)]

    calibrate_self(models, settings, runtime, store, budget)
    assert calibrates_first(models, settings, None) and not calibrates_first(models, settings, tmp_path)
    assert not calibrates_first(models, tiny_settings(), None)
