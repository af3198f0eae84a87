"""Noise schedule and prediction targets, against diffusers' schedulers and each other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from origcli.models.unet import (
    add_noise,
    build_scheduler,
    build_unet,
    min_snr_weight,
    prediction_target,
    signal_and_noise,
)
from origcli.settings import resolve


def _scheduler(prediction: str) -> object:
    return build_scheduler(resolve({"unet": {"prediction": prediction}}, environment={})[0].unet)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4), st.sampled_from(["epsilon", "v_prediction"]))
def test_targets_are_those_of_the_scheduler(timesteps: list[int], prediction: str) -> None:
    scheduler = _scheduler(prediction)
    t = torch.tensor(timesteps)
    latents, noise = torch.randn(2, len(timesteps), 4, 2, 2)
    signal, sigma = signal_and_noise(scheduler.alphas_cumprod, t)
    assert torch.allclose(
        add_noise(latents, noise, signal, sigma), scheduler.add_noise(latents, noise, t), atol=1e-6
    )
    expected = noise if prediction == "epsilon" else scheduler.get_velocity(latents, noise, t)
    target = prediction_target(prediction, latents, noise, signal, sigma)
    assert torch.allclose(target, expected, atol=1e-6)


def test_min_snr_weighs_noise_alone() -> None:
    nothing, all_of_it = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    assert float(min_snr_weight("epsilon", nothing, all_of_it, 5.0)) == 1
    assert float(min_snr_weight("v_prediction", nothing, all_of_it, 5.0)) == 0


@given(st.integers(0, 999), st.floats(0.1, 20))
def test_min_snr_weighs_as_hang_et_al_have_it(timestep: int, gamma: float) -> None:
    signal, sigma = signal_and_noise(_scheduler("epsilon").alphas_cumprod, torch.tensor([timestep]))
    snr = float((signal / sigma) ** 2)
    assert float(min_snr_weight("epsilon", signal, sigma, gamma)) == pytest.approx(
        min(snr, gamma) / snr, 1e-4
    )
    assert float(min_snr_weight("v_prediction", signal, sigma, gamma)) == pytest.approx(
        min(snr, gamma) / (snr + 1), 1e-4
    )


def test_an_unknown_prediction_is_an_error() -> None:
    with pytest.raises(ValueError, match="sample"):
        prediction_target("sample", *torch.zeros(4, 1, 1, 1, 1))


@pytest.mark.parametrize("channels", [(32, 64), (32, 32, 64, 64)])
def test_a_unet_is_built_for_its_latents(channels: tuple[int, ...]) -> None:
    settings, _ = resolve(
        {"unet": {"channels": channels, "norm_groups": 8, "attention_head_dim": 16}}, environment={}
    )
    unet = build_unet(settings.unet, (4, 8, 8), 16)
    with torch.no_grad():
        out = unet(torch.zeros(2, 4, 8, 8), torch.tensor([1, 2]), torch.zeros(2, 5, 16)).sample
    assert out.shape == (2, 4, 8, 8)
