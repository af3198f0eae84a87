"""A small data set and tiny settings for training tests."""

from pathlib import Path
from typing import Any

import pytest

from origcli.runtime.context import open_runtime
from origcli.scenes.dataset import Dataset
from origcli.scenes.mixtures import Recipe
from origcli.scenes.writing import write_dataset
from origcli.settings import Settings, resolve
from origcli.training import unet, vae

TINY: dict[str, dict[str, Any]] = {
    "synth": {"count": 60, "resolution": 32, "mixture": "originality"},
    "vae": {
        "epochs": 0.5,
        "batch_size": 6,
        "channels": (8, 8),
        "norm_groups": 4,
        "warmup_steps": 1,
        "held_out": 6,
        "sample_every": 3,
        "checkpoint_every": 2,
    },
    "text_encoder": {"width": 16, "layers": 1, "heads": 2, "steps": 6, "batch_size": 4, "max_length": 40},
    "unet": {
        "epochs": 0.5,
        "batch_size": 6,
        "channels": (8, 16),
        "norm_groups": 4,
        "attention_head_dim": 8,
        "warmup_steps": 1,
        "sample_every": 3,
        "checkpoint_every": 2,
    },
}


@pytest.fixture(scope="session")
def tiny_settings() -> Settings:
    return resolve(TINY, environment={})[0]


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Settings) -> Dataset:
    """Sixty pictures of 32 pixels. Do not write into it."""
    return write_dataset(Recipe(tiny_settings.synth, 0), tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def vae_run(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Dataset, tiny_settings: Settings) -> Path:
    out = tmp_path_factory.mktemp("runs") / "vae"
    with open_runtime(tiny_settings.runtime, out) as runtime:
        vae.run(tiny_dataset.path, tiny_settings, runtime)
    return out


@pytest.fixture(scope="session")
def unet_run(
    tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Dataset, tiny_settings: Settings, vae_run: Path
) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unet"
    with open_runtime(tiny_settings.runtime, out) as runtime:
        unet.run(tiny_dataset.path, vae_run, tiny_settings, runtime)
    return out


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
