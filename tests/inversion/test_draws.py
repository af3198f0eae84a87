"""Random numbers depend on the seed, the picture and the step alone."""

import pytest
import torch

from origcli.inversion.draws import Draws, fixed_draws, step_draws
from origcli.models.noising import Diffusion, Flow

SHAPE = (4, 8, 8)
NOISING = Diffusion(torch.linspace(1, 0.005, 1000))


def draws(seed: int = 0, key: str = "picture", step: int = 0, views: int = 1) -> Draws:
    return step_draws(
        seed, key, step, size=64, noising=NOISING, templates=27, latent_shape=SHAPE, views=views
    )


def same(a: Draws, b: Draws) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_the_same_again_whatever_was_drawn_before() -> None:
    first = draws(step=7)
    torch.rand(5)
    draws(step=8)
    assert same(draws(step=7), first)


def test_seed_picture_and_step_each_matter() -> None:
    for other in (draws(seed=1), draws(key="other"), draws(step=1)):
        assert not torch.equal(other.noise, draws().noise)
        assert not torch.equal(other.times, draws().times)


def test_noise_and_posterior_are_independent_and_normal() -> None:
    drawn = draws()
    both = torch.stack([drawn.noise.flatten(), drawn.posterior.flatten()])
    assert both.mean().abs() < 0.05 and (both.std() - 1).abs() < 0.05
    assert torch.corrcoef(both)[0, 1].abs() < 0.05


def test_ranges_are_used_whole() -> None:
    many = [draws(step=step, views=2) for step in range(60)]
    assert set(torch.cat([d.templates for d in many]).tolist()) == set(range(27))
    assert set(torch.cat([d.views for d in many]).tolist()) == {0, 1}
    timesteps = torch.cat([d.times for d in many])
    assert 0 <= timesteps.min() < 10 and 990 < timesteps.max() < 1000
    assert set(draws().views.tolist()) == {0}


def test_stratified_timesteps_are_one_in_each_part_and_uniform_over_steps() -> None:
    def timesteps(step: int) -> torch.Tensor:
        return step_draws(
            0, "picture", step, size=8, noising=NOISING, templates=27, latent_shape=SHAPE, stratified=True
        ).times

    many = torch.stack([timesteps(step) for step in range(250)])
    assert torch.equal(many // 125, torch.arange(8).expand(250, 8))
    within = (many % 125).flatten().float()
    assert abs(within.mean() - 62) < 3 and within.min() < 3 and within.max() > 121
    assert not torch.equal(many[0], many[1])


@pytest.mark.parametrize("size", [1, 6, 7])
def test_antithetic_draws_come_twice_with_the_sign_of_the_noise_turned(size: int) -> None:
    drawn = step_draws(
        *(0, "picture", 3),
        size=size,
        noising=NOISING,
        templates=27,
        latent_shape=SHAPE,
        views=2,
        stratified=True,
        antithetic=True,
    )
    assert all(len(values) == size for values in vars(drawn).values())
    half = (size + 1) // 2
    for name, values in vars(drawn).items():
        again = -values if name == "noise" else values
        assert torch.equal(values[half:], again[: size - half]), name
    assert [int(t) * half // 1000 for t in drawn.times[:half]] == list(range(half))
    first = drawn.noise[:half].flatten(1)
    assert half == 1 or first.unique(dim=0).shape == first.shape


def test_fixed_draws_have_one_timestep_in_each_stratum() -> None:
    drawn = fixed_draws(0, "picture", size=20, noising=NOISING, templates=27, latent_shape=SHAPE)
    assert [int(t) // 50 for t in drawn.times] == list(range(20))
    again = fixed_draws(0, "picture", size=20, noising=NOISING, templates=27, latent_shape=SHAPE)
    assert same(drawn, again)


def test_flow_times_are_one_in_each_part_of_their_distribution() -> None:
    drawn = fixed_draws(0, "picture", size=20, noising=Flow(3.0), templates=27, latent_shape=SHAPE)
    edges = Flow(3.0).times(torch.arange(20) / 20)
    assert torch.equal(torch.bucketize(drawn.times, edges, right=True), torch.arange(1, 21))
