"""Noising and prediction targets, against diffusers' schedulers and each other."""

from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import ModelError
from origcli.models.noising import (
    Diffusion,
    Flow,
    add_noise,
    diffusion_of,
    min_snr_weight,
    prediction_target,
    signal_and_noise,
)
from origcli.models.unet import build_scheduler
from origcli.settings import resolve


def _scheduler(prediction: str) -> Any:
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


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("ndim", [3, 4, 5])
def test_a_mixture_is_that_of_the_scheduler(prediction: str, ndim: int) -> None:
    scheduler = _scheduler(prediction)
    noising, t = diffusion_of(scheduler), torch.tensor([3, 500, 999])
    latents, noise = torch.randn(2, 3, *[2] * (ndim - 1))
    noisy, target = noising.mix(latents, noise, t)
    torch.testing.assert_close(noisy, scheduler.add_noise(latents, noise, t))
    expected = noise if prediction == "epsilon" else scheduler.get_velocity(latents, noise, t)
    torch.testing.assert_close(target, expected)


def test_every_timestep_has_an_equal_part_of_the_quantiles() -> None:
    noising = Diffusion(torch.linspace(1, 0.01, 10))
    assert noising.times(torch.arange(100) / 100).bincount().tolist() == [10] * 10
    assert int(noising.times(torch.tensor([1 - 2**-24]))) == 9
    drawn = noising.random_times(1000, torch.Generator().manual_seed(0))
    assert drawn.min() == 0 and drawn.max() == 9


@given(st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=1, max_size=8), st.floats(0.5, 20))
def test_flow_times_are_ordered_and_within_the_path(quantiles: list[float], shift: float) -> None:
    times = Flow(shift).times(torch.tensor(sorted(quantiles)))
    assert bool(((times >= 0) & (times <= 1)).all())
    assert bool((times.diff() >= 0).all())


def test_flow_times_are_logit_normal_and_shifted() -> None:
    strata = (torch.arange(4096) + 0.5) / 4096
    plain = Flow().times(strata)
    assert float(plain.logit().mean()) == pytest.approx(0, abs=1e-3)
    assert float(plain.logit().std()) == pytest.approx(1, abs=0.01)
    # SD 3 draws with a shift of 3: its scheduler's own formula.
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    levels = torch.linspace(1, 1000, 1000).flip(0) / 1000
    shifted = 3 * levels / (1 + 2 * levels)
    torch.testing.assert_close(scheduler.sigmas.cpu(), shifted)
    torch.testing.assert_close(Flow(3.0).times(strata), 3 * plain / (1 + 2 * plain))


def test_a_flow_is_the_straight_line_that_the_scheduler_walks() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(7)
    clean, noise = torch.randn(2, 3, 4, 2, 2)
    noisy, target = Flow().mix(clean, noise, torch.tensor([0.25, 0.5, 1.0]))
    torch.testing.assert_close(noisy[2], noise[2])
    latents = noise
    for t in scheduler.timesteps:
        latents = scheduler.step(target, t, latents).prev_sample
    torch.testing.assert_close(latents, clean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(noisy[0], 0.75 * clean[0] + 0.25 * noise[0])


def test_a_sampler_does_not_change_the_schedule_of_training() -> None:
    config = {
        "beta_schedule": "scaled_linear",
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
    }
    noising = diffusion_of(EulerDiscreteScheduler(**config))
    assert float(noising.alphas_cumprod[-1]) == 0
    assert noising.prediction == "v_prediction"


def test_a_model_that_predicts_something_else_is_refused() -> None:
    with pytest.raises(ModelError, match="sample"):
        diffusion_of(EulerDiscreteScheduler(prediction_type="sample"))
    with pytest.raises(ModelError, match="FlowMatchEulerDiscreteScheduler"):
        diffusion_of(FlowMatchEulerDiscreteScheduler())
