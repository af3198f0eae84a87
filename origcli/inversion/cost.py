"""What inversion costs: samples through the UNet, floating-point operations, time.

Operations are counted, not timed: the modules run on PyTorch's meta device, which computes nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from origcli.models.pipeline import DiffusionModel
from origcli.settings import InvertSettings

TIMED_BATCH = 8


@dataclass(frozen=True)
class SampleFlops:
    """Floating-point operations (two a multiply-add) for one sample or one prompt.

    Attributes:
        vae: encoding a picture.
        unet: forward; unet_backward: from the loss back to the text states.
        text: forward, one prompt; text_backward: back to its input embeddings.
    """

    vae: int
    unet: int
    unet_backward: int
    text: int
    text_backward: int


@dataclass(frozen=True)
class Work:
    """How much is put through the models for one picture.

    Attributes:
        learned: samples forward and back through the UNet.
        evaluated: samples forward through the UNet alone, for L_det.
        prompts: distinct prompts through the text encoder, expected, over all learned samples.
    """

    learned: int
    evaluated: int
    prompts: float

    @property
    def samples(self) -> int:
        """All samples through the UNet."""
        return self.learned + self.evaluated


def expected_distinct(draws: int, kinds: int) -> float:
    """How many of `kinds` equally likely kinds are met in a number of draws, on average."""
    return kinds * (1 - (1 - 1 / kinds) ** draws)


def work(settings: InvertSettings, lanes: int, templates: int) -> Work:
    """The most that one picture at `lanes` token counts can take; early stopping takes less."""
    looks = 2 if not settings.early_stop else 1 + -(-settings.steps // settings.evaluate_every)
    return Work(
        learned=settings.steps * settings.batch_size * lanes,
        evaluated=(looks * lanes + 1) * settings.evaluate_samples,
        prompts=settings.steps * lanes * expected_distinct(settings.batch_size, templates),
    )


def total_flops(flops: SampleFlops, amount: Work) -> float:
    """Operations that the exact engine needs for an amount of work, evaluation's few prompts left out."""
    unet = amount.learned * (flops.unet + flops.unet_backward) + amount.evaluated * flops.unet
    return flops.vae + unet + amount.prompts * (flops.text + flops.text_backward)


def count_flops(model: DiffusionModel) -> SampleFlops:
    """Counts the operations of a model's parts."""
    channels, height, width = model.latent_shape
    config = model.unet.config
    with torch.device("meta"):
        unet = type(model.unet).from_config(config).requires_grad_(False)
        vae = type(model.vae).from_config(model.vae.config).requires_grad_(False)
        encoder = type(model.text_encoder)(model.text_encoder.config).requires_grad_(False).eval()
        states = torch.zeros(1, model.max_length, config.cross_attention_dim, requires_grad=True)
        latents, timesteps = torch.zeros(1, channels, height, width), torch.zeros(1, dtype=torch.long)
        pixels = torch.zeros(1, 3, model.resolution, model.resolution)
        embedded = torch.zeros(1, model.max_length, model.embedding_width, requires_grad=True)
        ids = torch.zeros(1, model.max_length, dtype=torch.long)

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vae.encode(pixels)
    forward, backward = _count(lambda: unet(latents, timesteps, states).sample)

    encoder.get_input_embeddings().register_forward_hook(lambda module, inputs, output: embedded)
    text, text_backward = _count(lambda: encoder(ids)[0])
    return SampleFlops(counter.get_total_flops(), forward, backward, text, text_backward)


def _count(run: Callable[[], Any]) -> tuple[int, int]:
    """Operations of `run` and of the way back from its output's sum."""
    with FlopCounterMode(display=False) as forward:
        output: Tensor = run()
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def sample_seconds(model: DiffusionModel, batch: int) -> float:
    """Seconds for a sample forward and back through the UNet, measured on the second of two batches."""
    device, dtype = model.device, model.dtype
    latents = torch.randn(batch, *model.latent_shape, device=device, dtype=dtype)
    timesteps = torch.randint(1000, (batch,), device=device)
    width = model.unet.config.cross_attention_dim
    states = torch.randn(batch, model.max_length, width, device=device, dtype=dtype, requires_grad=True)
    began = 0.0
    for _ in range(2):
        _wait(device)
        began = time.perf_counter()
        model.unet(latents, timesteps, states).sample.float().square().mean().backward()
    _wait(device)
    return (time.perf_counter() - began) / batch


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
