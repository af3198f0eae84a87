"""Tiny models, pictures and settings for the tests of inversion."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from origcli.models.pipeline import DiffusionModel, load_pipeline
from origcli.runtime.context import Runtime
from origcli.settings import InvertSettings
from tests.tiny_models import RESOLUTION


@pytest.fixture(scope="session")
def bert(tiny_bert_pipeline_dir: Path) -> DiffusionModel:
    """v-prediction with a BERT text encoder."""
    return load_pipeline(tiny_bert_pipeline_dir, Runtime())


@pytest.fixture(scope="session")
def clip(tiny_clip_pipeline_dir: Path) -> DiffusionModel:
    """ε-prediction with a CLIP text encoder."""
    return load_pipeline(tiny_clip_pipeline_dir, Runtime())


@pytest.fixture(params=["bert", "clip"])
def model(request: pytest.FixtureRequest) -> DiffusionModel:
    """Each of the two."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Three pictures of noise in different colors."""
    source = np.random.default_rng(0)
    levels = [source.integers(0, 128, (RESOLUTION, RESOLUTION, 3)) + 40 * i for i in range(3)]
    return [Image.fromarray(array.astype(np.uint8)) for array in levels]


def invert_settings(**changes: Any) -> InvertSettings:
    """A few steps without early stopping."""
    values = {
        "batch_size": 4,
        "steps": 6,
        "learning_rate": 5e-3,
        "stratified": False,
        "antithetic": False,
        "cool_down": 0,
        "early_stop_window": 4,
        "early_stop_variance": 0.15,
        "early_stop_floor": 0.01,
        "evaluate_every": 2,
        "evaluate_samples": 4,
        "checkpoint_every": 2,
    }
    return InvertSettings.model_validate(values | changes)
