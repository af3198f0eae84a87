"""The time left of a score is that of the whole run, what comes before the images included."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from origcli.inversion.cost import count_flops, decoding_flops
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.progress import PlainProgress
from origcli.scoring import self_calibration
from origcli.scoring.baseline import CEILING, WITHOUT_TOKENS
from origcli.scoring.costs import IMAGES, costs_of_run
from origcli.scoring.run import Request, score_images
from origcli.scoring.self_calibration import CALIBRATING, CONTROLLING
from origcli.scoring.setup import open_measurer, open_models
from origcli.scoring.store import Store
from origcli.settings import Settings

Make = Callable[..., Settings]

pytestmark = pytest.mark.usefixtures("pixel_metric")


def test_parts_that_are_kept_cost_nothing(tiny_settings: Make, tmp_path: Path) -> None:
    settings, store = tiny_settings(), Store(tmp_path / "kept")
    models = open_models(settings, Runtime())
    costs = costs_of_run(3, models, settings, store, None, calibrates=False)
    assert list(costs) == ["sampling for the ceiling", "sampling without tokens", "images"]
    assert costs["sampling for the ceiling"] * 3 == costs["sampling without tokens"] * 4 > 0
    again = costs_of_run(6, models, settings, store, None, calibrates=True)
    assert list(again)[:2] == ["calibrate on own samples", "positive control"]
    assert again["images"] == 2 * costs["images"]
    given = costs_of_run(3, models, settings, store, [1], calibrates=False)
    assert given["images"] * 4 == 9 * costs["sampling for the ceiling"], "3 samples an image, none learned"

    open_measurer(models, settings, Runtime(), store, None)
    assert costs_of_run(3, models, settings, store, None, calibrates=False) == {}
    other = tiny_settings(score={"prompt": "art of {S}"})  # whose samples without tokens are not kept
    assert costs_of_run(3, models, other, store, None, calibrates=False) == {}, "the ceiling is kept"
    assert WITHOUT_TOKENS in costs_of_run(3, models, other, store, None, calibrates=True)
    assert WITHOUT_TOKENS not in costs_of_run(3, models, settings, store, None, calibrates=True)


class Watched(PlainProgress):
    """Remembers each step of a part of the run, the time, and the time left that it says."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.seen: list[tuple[str, float, float | None]] = []

    def _changed(self, work: Any) -> None:
        if work is self.open.works[0]:
            self.seen.append((work.description, time.monotonic(), self.open.left()))


def test_the_time_left_is_that_of_the_whole_run_from_the_first_part_on(
    tiny_settings: Make, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that only the counted operations move on."""
    monkeypatch.setattr(self_calibration, "own_captions", lambda *_: [f"a {i}" for i in range(10)])
    own = {"automatic_captions": 10, "automatic_samples": 3, "automatic_controls": 2}
    settings = tiny_settings(score={"calibrate": True, "measure_anyway": True}, calibrate=own)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    progress = Watched()
    with open_runtime(settings.runtime, tmp_path / "run", progress) as runtime:
        models = open_models(settings, runtime)
        flops = count_flops(models.model)
        modules = models.model.family.modules

        def moves(module: Any, forward: int, backward: int = 0) -> None:
            def tick(module: Any, given: Any, output: Any) -> None:
                samples = len(given[0] if given else output[0])
                now[0] += samples * (forward + backward * torch.is_grad_enabled()) / flops.unet

            module.register_forward_hook(tick)

        moves(modules["unet"], flops.unet, flops.unet_backward)
        moves(modules["text_encoder"], flops.text, flops.text_backward)
        moves(modules["vae"].encoder, flops.vae)
        moves(modules["vae"].decoder, decoding_flops(models.model))
        score_images(Request(pictures), settings, runtime, models=models)

    parts = list(dict.fromkeys(part for part, _, _ in progress.seen))
    assert parts == [CALIBRATING, CONTROLLING, CEILING, WITHOUT_TOKENS, IMAGES]
    said = [(part, when, left) for part, when, left in progress.seen if left is not None]
    assert said[0][0] == CALIBRATING, "from the first part on"
    for part, when, left in said:
        assert left == pytest.approx(now[0] - when, rel=0.2, abs=0.02 * now[0]), part
