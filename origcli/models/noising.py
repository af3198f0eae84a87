"""How a clean latent is mixed with noise, and what a denoiser has to predict of the mixture.

Three kinds: ε and v over a schedule of discrete timesteps, and flow matching over σ in [0, 1]. `Flow` and
`Diffusion` are the same contract, `Noising`; a time means something only to the kind that gave it.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from origcli.errors import ModelError
from origcli.runtime.device import to_device

EPSILON, V_PREDICTION, FLOW = "epsilon", "v_prediction", "flow"


class Noising(Protocol):
    """What a denoiser was trained to undo."""

    @property
    def prediction(self) -> str:
        """What is predicted: `epsilon`, `v_prediction` or `flow`."""
        ...

    def times(self, uniform: Tensor) -> Tensor:
        """Times (n,) at quantiles in [0, 1), (n,), of the times that are learned at; 0 is the least noise."""
        ...

    def random_times(self, size: int, source: Generator) -> Tensor:
        """Times (size,) drawn at random, on the CPU."""
        ...

    def mix(self, clean: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy latents and what has to be predicted of them.

        Args:
            clean, noise: (n, ...), in the denoiser's scale and standard normal.
            times: (n,), on the CPU: the host knows them, and waits for no device.
        """
        ...


@dataclass(frozen=True)
class Diffusion:
    """x_t = sqrt(ᾱ_t) x_0 + sqrt(1 − ᾱ_t) ε (Ho et al. 2020, eq. 4), timesteps t in [0, T), uniform.

    Attributes:
        alphas_cumprod: ᾱ_t, (T,), fp32, on the CPU.
        prediction: `epsilon` or `v_prediction`.
    """

    alphas_cumprod: Tensor
    prediction: str = EPSILON

    def times(self, uniform: Tensor) -> Tensor:
        steps = len(self.alphas_cumprod)
        return (uniform * steps).long().clamp(max=steps - 1)

    def random_times(self, size: int, source: Generator) -> Tensor:
        return torch.randint(len(self.alphas_cumprod), (size,), generator=source)

    def mix(self, clean: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        signal, sigma = signal_and_noise(self.alphas_cumprod, times, clean.ndim)
        signal, sigma = to_device(signal, clean.device), to_device(sigma, clean.device)
        target = prediction_target(self.prediction, clean, noise, signal, sigma)
        return add_noise(clean, noise, signal, sigma), target


@dataclass(frozen=True)
class Flow:
    """x_σ = (1 − σ) x_0 + σ ε, of which ε − x_0 is predicted (Lipman et al. 2023; Liu et al. 2023).

    σ is logit-normal (Esser et al. 2024, 3.1), shifted to more noise where latents are large (5.3.2).

    Attributes:
        shift: 1 leaves σ as it is.
    """

    shift: float = 1.0
    prediction: str = FLOW

    def times(self, uniform: Tensor) -> Tensor:
        sigma = torch.special.ndtri(uniform).sigmoid()
        return self.shift * sigma / (1 + (self.shift - 1) * sigma)

    def random_times(self, size: int, source: Generator) -> Tensor:
        return self.times(torch.rand(size, generator=source))

    def mix(self, clean: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        sigma = to_device(times.view(-1, *[1] * (clean.ndim - 1)), clean.device).to(clean.dtype)
        return (1 - sigma) * clean + sigma * noise, noise - clean


def diffusion_of(scheduler: Any) -> Diffusion:
    """The noising that a scheduler's configuration says the model was trained with.

    Raises:
        ModelError: the model predicts something else than ε or v.
    """
    from diffusers import DDPMScheduler

    prediction = str(scheduler.config.get("prediction_type", ""))
    if prediction not in (EPSILON, V_PREDICTION):
        raise ModelError(
            f"{type(scheduler).__name__}: the model predicts {prediction or 'an unnamed quantity'}",
            f"supported are {EPSILON} and {V_PREDICTION}",
        )
    # By way of DDPM, because samplers such as Euler change the schedule that they carry.
    schedule: Tensor = DDPMScheduler.from_config(scheduler.config).alphas_cumprod
    return Diffusion(schedule.float(), prediction)


def signal_and_noise(alphas_cumprod: Tensor, timesteps: Tensor, ndim: int = 4) -> tuple[Tensor, Tensor]:
    """sqrt(ᾱ_t) and sqrt(1 − ᾱ_t), both (n, 1, ...) of `ndim` axes, for timesteps (n,)."""
    alpha = alphas_cumprod[timesteps].view(-1, *[1] * (ndim - 1))
    return alpha.sqrt(), (1 - alpha).sqrt()


def add_noise(latents: Tensor, noise: Tensor, signal: Tensor, sigma: Tensor) -> Tensor:
    """x_t = sqrt(ᾱ_t) x_0 + sqrt(1 − ᾱ_t) ε."""
    return signal * latents + sigma * noise


def prediction_target(kind: str, latents: Tensor, noise: Tensor, signal: Tensor, sigma: Tensor) -> Tensor:
    """ε, or v = sqrt(ᾱ_t) ε − sqrt(1 − ᾱ_t) x_0 (Salimans and Ho 2022)."""
    if kind == EPSILON:
        return noise
    if kind == V_PREDICTION:
        return signal * noise - sigma * latents
    raise ValueError(f"unknown prediction {kind!r}")


def min_snr_weight(kind: str, signal: Tensor, sigma: Tensor, gamma: float) -> Tensor:
    """Weight (n, 1, 1, 1) of the error: min(SNR, γ) / SNR, or / (SNR + 1) for v (Hang et al. 2023)."""
    snr = (signal / sigma).square()
    if kind == EPSILON:
        return torch.clamp(gamma / snr, max=1)  # 1 at an SNR of zero, too
    return torch.clamp(snr, max=gamma) / (snr + 1)
