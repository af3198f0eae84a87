"""What the UNet's loss is: the error of its prediction, weighed, in training and in measuring."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from origcli.models.noising import Diffusion
from origcli.models.unet import build_scheduler
from origcli.runtime.context import Runtime, open_runtime
from origcli.scenes.dataset import Dataset
from origcli.settings import Settings, resolve
from origcli.training import unet
from origcli.training.denoising import (
    DenoisingObjective,
    Features,
    Latents,
    held_out_loss,
    read_in_part,
    step_randoms,
)

SHAPE = (1, 2, 2)
NOISING = Diffusion(torch.linspace(0.99, 0.01, 1000))
sixty_fourths = st.integers(0, 63).map(lambda k: k / 64)  # the same numbers in fp32 and in fp64


class Nothing(torch.nn.Module):
    """A UNet that predicts zero, in memory for so many pictures."""

    def __init__(self, fits: int = 64) -> None:
        super().__init__()
        self.fits, self.largest = fits, 0

    def forward(self, x: torch.Tensor, t: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
        if len(x) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.largest = max(self.largest, len(x))
        return type("Output", (), {"sample": torch.zeros_like(x)})


def objective(prediction: str, gamma: float | None, unet: torch.nn.Module) -> DenoisingObjective:
    values = {"prediction": prediction, "min_snr_gamma": gamma, "template_probability": 0.0}
    own = resolve({"unet": values}, environment={})[0].unet
    return DenoisingObjective(unet, build_scheduler(own), own, 0.5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("gamma", [0.5, 5.0])
def test_the_loss_is_the_error_times_the_weight_of_its_noise(prediction: str, gamma: float) -> None:
    torch.manual_seed(0)
    timesteps = torch.tensor([0, 100, 400, 700, 999])
    count = len(timesteps)
    batch = {
        "moments": torch.rand(count, 2, *SHAPE),
        "texts": torch.zeros(count, 1, 3, 2),
        "dropped": torch.zeros(count, 1, 3, 2),
        "sample": torch.randn(count, *SHAPE),
        "noise": torch.randn(count, *SHAPE),
        "times": timesteps,
        "drop": torch.ones(count),
        "way": torch.ones(count),
        "part": torch.full((count,), 0.5),
    }
    plain = objective(prediction, None, Nothing())
    weighed = objective(prediction, gamma, Nothing())(**batch)
    alpha = plain.alphas_cumprod[timesteps]
    snr = alpha / (1 - alpha)
    weight = snr.clamp(max=gamma) / (snr if prediction == "epsilon" else snr + 1)
    latents = (batch["moments"][:, 0] + batch["moments"][:, 1] * batch["sample"]) * 0.5
    shape = (-1, 1, 1, 1)
    velocity = alpha.sqrt().view(shape) * batch["noise"] - (1 - alpha).sqrt().view(shape) * latents
    target = batch["noise"] if prediction == "epsilon" else velocity
    error = target.square().mean((1, 2, 3))  # of a prediction of zero
    assert torch.allclose(plain(**batch)["loss"], error, rtol=1e-4)
    assert torch.allclose(weighed["mse"], error, rtol=1e-4)
    assert torch.allclose(weighed["loss"], error * weight, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_either_prediction_trains_with_weights(
    tmp_path: Path, tiny_dataset: Dataset, tiny_settings: Settings, vae_run: Path, prediction: str
) -> None:
    own = tiny_settings.unet.model_copy(
        update={"prediction": prediction, "min_snr_gamma": 5.0, "epochs": 3, "sample_every": 0}
    )
    settings = tiny_settings.model_copy(update={"unet": own})
    with open_runtime(settings.runtime, tmp_path / "run") as runtime:
        report = unet.run(tiny_dataset.path, vae_run, settings, runtime)
    scheduler = json.loads((tmp_path / "run/pipeline/scheduler/scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == prediction
    rows = [point.values for point in report.results[0].history]
    assert rows[-1]["mse"] < rows[0]["mse"] and all(row["loss"] < row["mse"] for row in rows)


@pytest.mark.fault(14, "so does the loss on held-out images")
def test_the_held_out_loss_in_little_memory_is_the_same() -> None:
    count, random = 70, np.random.default_rng(0)
    features = Features(
        moments=random.random((count, 2, *SHAPE), np.float32),
        rows=np.zeros(count, np.int64),
        texts=(np.zeros((1, 3, 2), np.float32),),
        dropped=np.zeros((1, 3, 2), np.float32),
        templates=np.zeros((1, 1), np.int64),
    )
    pictures, randoms = Latents(features, 0, count), step_randoms(SHAPE, NOISING)
    found = []
    for fits in (64, 5):
        network = Nothing(fits)
        whole = objective("v_prediction", 5.0, network)
        found.append(held_out_loss(whole, pictures, randoms, Runtime()))
        assert network.largest <= fits
    assert found[0]["held_out_loss"] == pytest.approx(found[1]["held_out_loss"], rel=1e-5)
    assert found[1]["held_out_images"] == count


@given(st.lists(sixty_fourths, min_size=1, max_size=8), sixty_fourths)
def test_one_part_of_a_caption_is_read_or_the_other_or_both(uniform: list[float], probability: float) -> None:
    count = len(uniform)
    read = read_in_part(torch.ones(count, 3, 2), torch.zeros(count, 3, 2), torch.tensor(uniform), probability)
    for row, number in zip(read[..., 0].bool().tolist(), uniform, strict=True):
        if number < probability / 2:
            assert row == [True, False, False]
        elif number >= 1 - probability / 2:
            assert row == [False, True, True]
        else:
            assert row == [True, True, True]
