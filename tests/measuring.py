"""A tiny model and a metric without weights, so that whole runs take a second."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from origcli.images.inputs import Input, find_inputs
from origcli.perception.distance import EDIT
from origcli.settings import Settings, resolve

TINY: dict[str, dict[str, Any]] = {
    "invert": {"steps": 3, "batch_size": 2, "early_stop": False, "evaluate_samples": 2},
    "draw": {"steps": 2, "batch_size": 4, "guidance": 2.0},
    "score": {
        "max_tokens": 2,
        "samples": 3,
        "ceiling_samples": 4,
        "bootstrap": 40,
        "edit_prompt": "none",
        "calibrate": False,
    },
}


class PixelDistance:
    """The mean absolute difference of pictures shrunk to 4 × 4 pixels, in [0, 1]."""

    name = "pixels"
    version = "1"
    test = EDIT

    def features(self, images: Sequence[Image.Image]) -> list[np.ndarray]:
        return [np.asarray(image.resize((4, 4)), np.float64) / 255 for image in images]

    def captions(self, unprompted: Callable[[], Sequence[Any]]) -> list[str] | None:
        return None

    def between(self, a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a - b).mean())

    def facts_of(self, features: Sequence[np.ndarray]) -> dict[str, Any]:
        return {}


@pytest.fixture
def pixel_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every metric is `PixelDistance`, and a scale of any width is wide enough."""
    monkeypatch.setattr("origcli.scoring.setup.open_metric", lambda *_, **__: PixelDistance())
    monkeypatch.setattr("origcli.scoring.measure.LEAST_RANGE", -10.0)


@pytest.fixture
def tiny_settings(tiny_bert_pipeline_dir: Path) -> Callable[..., Settings]:
    """Settings of the least work; `tiny_settings(score={"samples": 5})` changes some."""

    def make(**changes: dict[str, Any]) -> Settings:
        flags = {name: {**values, **changes.get(name, {})} for name, values in TINY.items()}
        flags["score"] = {"model": str(tiny_bert_pipeline_dir), **flags["score"]}
        flags |= {name: values for name, values in changes.items() if name not in flags}
        return resolve(flags, environment={})[0]

    return make


@pytest.fixture
def pictures(tmp_path: Path) -> list[Input]:
    """Three noisy pictures in two groups."""
    random = np.random.default_rng(0)
    for group, name in [("common", "a"), ("common", "b"), ("original", "c")]:
        folder = tmp_path / "pictures" / group
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return find_inputs([str(tmp_path / "pictures")])


class NarrowDistance(PixelDistance):
    """Between 0.5 and 0.6, so that floor and ceiling are alike."""

    def between(self, a: np.ndarray, b: np.ndarray) -> float:
        return 0.5 + 0.1 * super().between(a, b)


@pytest.fixture
def narrow_metric(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every metric is `NarrowDistance`, and a scale of any width is wide enough."""
    monkeypatch.setattr("origcli.scoring.setup.open_metric", lambda *_, **__: NarrowDistance())
    monkeypatch.setattr("origcli.scoring.measure.LEAST_RANGE", -10.0)
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
