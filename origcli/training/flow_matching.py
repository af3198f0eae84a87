"""What the transformer and its text encoders learn from, and their loss: flow matching."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from origcli.models.clip_text import read_clip
from origcli.models.conditioning import Conditioning, padded
from origcli.models.families.stable_diffusion_3 import StableDiffusion3
from origcli.models.text_encoder import tokenize
from origcli.runtime.context import Runtime
from origcli.scenes import dataset as datasets
from origcli.settings import TransformerSettings
from origcli.training.captions import choose_part, put_captions
from origcli.training.denoising import Features, in_one_way
from origcli.training.features import latent_moments


class FlowObjective(nn.Module):
    """Mean squared error of the velocity (Esser et al. 2024, 2 and 3.1), captions dropped at random.

    Args:
        family: a pipeline without T5, whose denoiser and text encoders learn.
    """

    def __init__(self, family: StableDiffusion3, settings: TransformerSettings) -> None:
        super().__init__()
        self.family, self.settings = family, settings
        self.trained = nn.ModuleDict(
            {name: family.parts[name] for name in ("transformer", "text_encoder", "text_encoder_2")}
        )

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
            texts: (n, ways, L): token ids of the bare caption, and of the caption in its templates.
            dropped: (n, ways, L): the same without the caption.
            sample, noise: standard normal (n, c, h, w): of the posterior, of the flow.
            times: (n,): of the family's noising.
            drop, way, part: uniform in [0, 1), (n,): whether the caption is dropped, how it is put, and
                whether the pooled vector alone, or the states alone, tell of it.
        """
        settings, family = self.settings, self.family
        latents = family.to_denoiser(moments[:, 0] + moments[:, 1] * sample)  # (n, c, h, w)
        spoken, silent = in_one_way(texts, dropped, way, settings.template_probability)  # (n, L)
        given = self.read(spoken, silent, drop < settings.caption_dropout, part)
        noisy, target = family.noising.mix(latents, noise, times)
        predicted = family.predict(noisy, times, given)
        return {"loss": (predicted.float() - target).square().mean((1, 2, 3))}

    def read(self, spoken: Tensor, silent: Tensor, dropped: Tensor, part: Tensor) -> Conditioning:
        """The conditioning of captions, some of which are dropped from the states, the pooled vector or both.

        Args:
            spoken, silent: token ids (n, L), with the caption and without it.
            dropped: (n,): from both.
            part: uniform in [0, 1), (n,).
        """
        pooled_alone, states_alone = choose_part(part, self.settings.part_probability)
        ids = [
            torch.where((dropped | quiet)[:, None], silent, spoken) for quiet in (pooled_alone, states_alone)
        ]
        states, pooled = read_clip([encoder.module for encoder in self.family.words.encoders], torch.cat(ids))
        n = len(spoken)
        return Conditioning({"states": padded(states[:n], self.family.rows), "pooled": pooled[n:]})


def compute_features(
    vae: Any,
    tokenizer: Any,
    data: datasets.Dataset,
    prompts: Sequence[str],
    rows: np.ndarray[Any, Any],
    settings: TransformerSettings,
    runtime: Runtime,
) -> Features:
    """Latents of all images, from the cache where they are there, and token ids of all captions.

    Raises:
        UsageError: a caption is longer than the text encoders hold.
    """

    def ids(put: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.asarray(tokenize(tokenizer, put)[0].numpy())

    ways = put_captions(prompts, settings.template_probability, tokenizer)
    moments = latent_moments(vae, data, len(data), runtime)
    return Features(moments, rows, tuple(map(ids, ways.prompts)), ids(ways.dropped), ways.templates)
