"""The random numbers of inversion: prompts, times, noise.

Those of a step depend on the run's seed, the image's content and the step, and on nothing else. So
the token counts of one image share them, which takes their variance out of the comparison, and
learning several images together, or going on after a stop, changes no number.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from origcli.models.noising import Noising
from origcli.runtime import seeding


@dataclass(frozen=True)
class Draws:
    """What is drawn for b samples of one image, on the CPU.

    Attributes:
        templates: (b,), which prompt.
        times: (b,), as the model's noising counts them.
        noise: (b, c, h, w), standard normal: what the denoiser has to find.
        posterior: (b, c, h, w), standard normal: the sample of the VAE's posterior.
        views: (b,), 0 for the image, 1 for its mirror image.
    """

    templates: Tensor
    times: Tensor
    noise: Tensor
    posterior: Tensor
    views: Tensor


def _draws(
    source: Generator, times: Tensor, templates: int, latent_shape: tuple[int, int, int], views: int
) -> Draws:
    size = len(times)
    return Draws(
        times=times,
        templates=torch.randint(templates, (size,), generator=source),
        noise=torch.randn(size, *latent_shape, generator=source),
        posterior=torch.randn(size, *latent_shape, generator=source),
        views=torch.randint(views, (size,), generator=source),
    )


def step_draws(
    seed: int,
    key: str,
    step: int,
    *,
    size: int,
    noising: Noising,
    templates: int,
    latent_shape: tuple[int, int, int],
    views: int = 1,
    stratified: bool = False,
    antithetic: bool = False,
) -> Draws:
    """The draws of a training step for the image whose content hashes to `key`.

    Two ways leave the mean of a step's loss what it is and lower its variance:

    - `stratified`: one time in each of as many parts of their distribution as are drawn (Kingma et al. 2021).
    - `antithetic`: half as many draws, each once more with its noise's sign turned (Hammersley and Morton
      1956). What of an error's gradient is odd in the noise cancels. Of an odd number the last is alone.
    """
    source = seeding.generator(seed, "invert", key, step)
    count = (size + 1) // 2 if antithetic else size
    chosen = _strata(source, count, noising) if stratified else noising.random_times(count, source)
    drawn = _draws(source, chosen, templates, latent_shape, views)
    return _with_mirrored(drawn, size) if antithetic else drawn


def _with_mirrored(drawn: Draws, size: int) -> Draws:
    twice = {name: value.repeat(2, *[1] * (value.ndim - 1))[:size] for name, value in vars(drawn).items()}
    twice["noise"][len(drawn.noise) :] *= -1
    return Draws(**twice)


def fixed_draws(
    seed: int, key: str, *, size: int, noising: Noising, templates: int, latent_shape: tuple[int, int, int]
) -> Draws:
    """The draws of L_det: the same at every evaluation, their times stratified."""
    source = seeding.generator(seed, "evaluate", key)
    return _draws(source, _strata(source, size, noising), templates, latent_shape, 1)


def distinct_prompts(draws: Draws, prompt_rows: Tensor) -> tuple[list[int], Tensor]:
    """The prompts of some draws, each once, as places among the templates; and each sample's, (b,).

    Args:
        prompt_rows: (t,), the first template that reads the same to the text encoders.
    """
    prompts, prompt_of = prompt_rows[draws.templates].unique(return_inverse=True)
    return prompts.tolist(), prompt_of


def _strata(source: Generator, size: int, noising: Noising) -> Tensor:
    """A time in each `size`-th of their distribution, (size,)."""
    return noising.times((torch.arange(size) + torch.rand(size, generator=source)) / size)
