"""What a denoiser learns from, latents and texts, and the loss of the UNet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from origcli.models.noising import Noising, add_noise, min_snr_weight, prediction_target, signal_and_noise
from origcli.runtime.context import Runtime
from origcli.runtime.memory import BatchSize, slices
from origcli.runtime.seeding import generator
from origcli.scenes import dataset as datasets
from origcli.settings import UNetSettings
from origcli.training.captions import choose_part, choose_way, put_captions
from origcli.training.features import caption_states, latent_moments
from origcli.training.loop import Batch

Randoms = Callable[[torch.Generator, int], Batch]

_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Features:
    """What a denoiser trains on, computed once. Texts are states (L, d), or token ids (L,).

    Attributes:
        moments: (images, 2, c, h, w): posterior mean and standard deviation.
        rows: (images,): the caption of each image.
        texts: (captions, text) of the distinct captions, once for each way of putting them.
        dropped: (templates, text): what is left of each way when its caption is dropped; the first is
            the empty prompt.
        templates: (captions, ways): the row of `dropped` for each caption and way.
    """

    moments: np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]
    texts: tuple[np.ndarray[Any, Any], ...]
    dropped: np.ndarray[Any, Any]
    templates: np.ndarray[Any, Any]


class Latents(Dataset[Any]):
    """Posterior moments and texts of images, fetched a batch at a time."""

    def __init__(self, features: Features, first: int, size: int) -> None:
        self.features, self.first, self.size = features, first, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """`moments` (n, 2, c, h, w), `texts` and `dropped` (n, ways, text)."""
        pictures = np.asarray(indices) + self.first
        rows = self.features.rows[pictures]
        texts = np.stack([way[rows] for way in self.features.texts], axis=1)
        return {
            "moments": torch.from_numpy(self.features.moments[pictures]),
            "texts": torch.from_numpy(texts),
            "dropped": torch.from_numpy(self.features.dropped[self.features.templates[rows]]),
        }


class DenoisingObjective(nn.Module):
    """Mean squared error of the UNet's prediction (Ho et al. 2020, eq. 14), captions dropped at random."""

    def __init__(self, unet: Any, scheduler: Any, settings: UNetSettings, scale: float) -> None:
        super().__init__()
        self.unet, self.settings, self.scale = unet, settings, scale
        self.alphas_cumprod: Tensor
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod.clone(), persistent=False)

    def forward(
        self,
        moments: Tensor,
        texts: Tensor,
        dropped: Tensor,
        sample: Tensor,
        noise: Tensor,
        times: Tensor,
        drop: Tensor,
        way: Tensor,
        part: Tensor,
    ) -> dict[str, Tensor]:
        """Terms, each (n,).

        Args:
            moments: (n, 2, c, h, w).
            texts: (n, ways, L, d): states of the bare caption, and of the caption in its templates.
            dropped: (n, ways, L, d): the same without the caption.
            sample, noise: standard normal (n, c, h, w): of the posterior, of the diffusion.
            times: (n,): timesteps.
            drop, way, part: uniform in [0, 1), (n,): whether the caption is dropped, how it is put, and
                which part of its states is read.
        """
        settings = self.settings
        latents = (moments[:, 0] + moments[:, 1] * sample) * self.scale  # (n, c, h, w)
        states = self._read(*in_one_way(texts, dropped, way, settings.template_probability), drop, part)
        signal, sigma = signal_and_noise(self.alphas_cumprod, times)  # (n, 1, 1, 1)
        noisy = add_noise(latents, noise, signal, sigma)
        target = prediction_target(settings.prediction, latents, noise, signal, sigma)
        predicted = self.unet(
            noisy.contiguous(memory_format=torch.channels_last), times, encoder_hidden_states=states
        ).sample
        return self._terms((predicted.float() - target).square().mean((1, 2, 3)), signal, sigma)

    def _read(self, spoken: Tensor, silent: Tensor, drop: Tensor, part: Tensor) -> Tensor:
        """The states (n, L, d) that the UNet reads: with the caption, without it, or with a part of it."""
        text = torch.where((drop < self.settings.caption_dropout)[:, None, None], silent, spoken)
        return read_in_part(text, silent, part, self.settings.part_probability)

    def _terms(self, mse: Tensor, signal: Tensor, sigma: Tensor) -> dict[str, Tensor]:
        """The loss, and beside a weighted one the error itself."""
        settings = self.settings
        if settings.min_snr_gamma is None:
            return {"loss": mse}
        weight = min_snr_weight(settings.prediction, signal, sigma, settings.min_snr_gamma)
        return {"loss": mse * weight.view(-1), "mse": mse}


def in_one_way(texts: Tensor, dropped: Tensor, way: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Texts in the way that each sample's caption is put, and the same without the caption, (n, text).

    Args:
        texts, dropped: (n, ways, text).
        way: uniform in [0, 1), (n,).
        probability: of any way but the bare caption.
    """
    chosen = choose_way(way, probability, texts.shape[1])
    each = torch.arange(len(texts), device=texts.device)
    return texts[each, chosen], dropped[each, chosen]


def read_in_part(states: Tensor, dropped: Tensor, uniform: Tensor, probability: float) -> Tensor:
    """Text states (n, L, d), some of them with but one part of their caption.

    With `probability` either [CLS] alone, which sums the caption up, or all but [CLS] tell of it, as often
    the one as the other; elsewhere stands what stands there without the caption. So the model learns to draw
    from either, as Stable Diffusion 3 (Esser et al. 2024) from any of its text encoders.

    Args:
        dropped: (n, L, d), the states without the caption.
        uniform: in [0, 1), (n,).
    """
    first = torch.arange(states.shape[1], device=states.device) == 0  # (L,)
    summary, words = choose_part(uniform, probability)  # (n,)
    silent = (summary[:, None] & ~first) | (words[:, None] & first)  # (n, L)
    return torch.where(silent[..., None], dropped, states)


def step_randoms(latent_shape: tuple[int, ...], noising: Noising) -> Randoms:
    """The random numbers of a step's n samples, from its generator."""

    def randoms(source: torch.Generator, count: int) -> Batch:
        return {
            "sample": torch.randn((count, *latent_shape), generator=source),
            "noise": torch.randn((count, *latent_shape), generator=source),
            "times": noising.random_times(count, source),
            "drop": torch.rand((count,), generator=source),
            "way": torch.rand((count,), generator=source),
            "part": torch.rand((count,), generator=source),
        }

    return randoms


def compute_features(
    vae: Any,
    encoder: Any,
    tokenizer: Any,
    data: datasets.Dataset,
    prompts: list[str],
    rows: np.ndarray[Any, Any],
    settings: UNetSettings,
    runtime: Runtime,
) -> Features:
    """Latents of all images and states of all captions, from the cache where they are there."""
    ways = put_captions(prompts, settings.template_probability, tokenizer)
    texts = tuple(caption_states(encoder, tokenizer, put, runtime) for put in ways.prompts)
    dropped = caption_states(encoder, tokenizer, ways.dropped, runtime)
    return Features(latent_moments(vae, data, len(data), runtime), rows, texts, dropped, ways.templates)


@torch.inference_mode()
def held_out_loss(
    objective: nn.Module, pictures: Latents, randoms: Randoms, runtime: Runtime
) -> dict[str, float]:
    """The mean loss on held-out images at fixed random numbers, captions never dropped.

    Args:
        randoms: those of a step of the objective.
    """
    total, size = 0.0, BatchSize(_EVALUATION_BATCH, runtime.progress.say)
    for part in slices(len(pictures), _EVALUATION_BATCH):
        count = part.stop - part.start
        drawn = randoms(generator("held-out loss", part.start), count)
        drawn |= {name: torch.ones(count) for name in ("drop", "way")} | {"part": torch.full((count,), 0.5)}
        batch = pictures.__getitems__(list(range(part.start, part.stop))) | drawn

        def loss(which: slice, batch: Batch = batch) -> float:
            terms = objective(**{name: rows[which].to(runtime.device) for name, rows in batch.items()})
            return float(terms["loss"].sum())

        total += sum(size.over(count, loss))
    return {"held_out_loss": total / len(pictures), "held_out_images": len(pictures)}
