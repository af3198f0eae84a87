"""How much device memory a score takes at its peak, and so how many samples fit, before it runs.

The model's own parts run forward and back on tensors without data while a tracker counts what is alive.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from origcli.models.pipeline import DiffusionModel
from origcli.runtime.footprint import PeakMemory, pretended


@dataclass(frozen=True)
class Peak:
    """Bytes at the peak of one kind of work: `fixed + each · batch`; the weights come on top."""

    fixed: int
    each: int

    def bytes(self, batch: int) -> int:
        """For a batch of samples or pictures."""
        return self.fixed + self.each * batch


@dataclass(frozen=True)
class Footprint:
    """What a model takes, in its dtype.

    Attributes:
        weights: bytes of VAE, UNet and text encoder.
        learning: of a sample forward and back through the UNet.
        drawing: of a picture in a denoising step, guided (two samples).
        decoding: of a picture through the VAE's decoder.
    """

    weights: int
    learning: Peak
    drawing: Peak
    decoding: Peak

    def fitting(self, kind: Peak, free: int) -> int:
        """The largest batch of some work that fits into free bytes beside the weights; 0 if none."""
        return max(0, (free - self.weights - kind.fixed) // kind.each)


def count_footprint(model: DiffusionModel) -> Footprint:
    """Counts a model's memory from its configuration."""
    channels, height, width = model.latent_shape
    weights = sum(
        parameter.nbytes
        for module in (model.vae, model.unet, model.text_encoder)
        for parameter in module.parameters()
    )
    # The pretended device is the CPU: its fused attention keeps what CUDA's keeps.
    with pretended("cpu", model.dtype):
        unet = type(model.unet).from_config(model.unet.config).requires_grad_(False)
        vae = type(model.vae).from_config(model.vae.config).requires_grad_(False)
        length, wide = model.max_length, model.unet.config.cross_attention_dim

        def denoise(batch: int, learn: bool) -> None:
            latents, timesteps = (
                torch.zeros(batch, channels, height, width),
                torch.zeros(batch, dtype=torch.long),
            )
            states = torch.zeros(batch, length, wide, requires_grad=learn)
            with torch.set_grad_enabled(learn):
                predicted = unet(latents, timesteps, states).sample
                if learn:
                    predicted.float().square().mean().backward()

        def decode(batch: int) -> None:
            with torch.no_grad():
                vae.decode(torch.zeros(batch, channels, height, width))

        return Footprint(
            weights=weights,
            learning=_peak(lambda batch: denoise(batch, learn=True)),
            drawing=_peak(lambda batch: denoise(2 * batch, learn=False)),
            decoding=_peak(decode),
        )


def _peak(run: Callable[[int], Any]) -> Peak:
    """The line through the peaks of batches of one and of three."""
    peaks = []
    for batch in (1, 3):
        with PeakMemory() as memory:
            run(batch)
        peaks.append(memory.peak)
    each = (peaks[1] - peaks[0]) // 2
    return Peak(peaks[0] - each, each)
