"""What learning and sampling cost, before they run: samples, floating-point operations, memory, time.

Nothing of a model is computed but the text of one empty prompt. Operations are counted on PyTorch's meta
device, memory on tensors without data, and time is the operations at the speed of a convolution here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from origcli.models.conditioning import Conditioning
from origcli.models.pipeline import DiffusionModel
from origcli.models.words import Encoder, tables
from origcli.runtime.context import Runtime
from origcli.runtime.footprint import PeakMemory, stand_in_tensors
from origcli.settings import InvertSettings

_CHANNELS, _SIDE, _TIMES = 320, 64, 3
_SHARE = 0.4


@dataclass(frozen=True)
class SampleFlops:
    """Floating-point operations (two a multiply-add) for one sample or one prompt.

    Attributes:
        vae: encoding an image.
        unet: forward through the denoiser; unet_backward: from the loss back to the conditioning.
        text: forward, one prompt through all encoders; text_backward: back to its input embeddings.
    """

    vae: int
    unet: int
    unet_backward: int
    text: int
    text_backward: int


@dataclass(frozen=True)
class Work:
    """How much is put through the models for one image.

    Attributes:
        learned: samples forward and back through the UNet.
        evaluated: samples forward through the denoiser alone, for L_det.
        prompts: distinct prompts through the text encoder, expected, over all learned samples.
    """

    learned: int
    evaluated: int
    prompts: float

    @property
    def samples(self) -> int:
        """All samples through the denoiser."""
        return self.learned + self.evaluated


def expected_distinct(draws: int, kinds: int) -> float:
    """How many of `kinds` equally likely kinds are met in a number of draws, on average."""
    return kinds * (1 - (1 - 1 / kinds) ** draws)


def work(settings: InvertSettings, lanes: int, templates: int) -> Work:
    """The most that one image at `lanes` token counts can take; early stopping takes less."""
    # Before the first step and after the last, and in between until it is too late to stop early.
    undecided = max(1, settings.steps - settings.cool_down) if settings.early_stop else 1
    looks = 1 + -(-undecided // settings.evaluate_every)
    return Work(
        learned=settings.steps * settings.batch_size * lanes,
        evaluated=(looks * lanes + 1) * settings.evaluate_samples,
        prompts=settings.steps * lanes * expected_distinct(settings.batch_size, templates),
    )


def total_flops(flops: SampleFlops, amount: Work) -> float:
    """Operations that the exact engine needs for an amount of work, evaluation's few prompts left out."""
    unet = amount.learned * (flops.unet + flops.unet_backward) + amount.evaluated * flops.unet
    return flops.vae + unet + amount.prompts * (flops.text + flops.text_backward)


def _counter() -> Any:
    from torch.utils.flop_counter import FlopCounterMode  # it loads triton, which takes a second

    return FlopCounterMode(display=False)


def count_flops(model: DiffusionModel) -> SampleFlops:
    """Counts the operations of a model's parts."""
    given = model.unconditional.parts
    with torch.device("meta"):
        shadow = model.family.shadow("vae", model.family.denoiser_part)
        latents, times = torch.zeros(1, *model.latent_shape), model.noising.times(torch.zeros(1))
        pixels = torch.zeros(1, 3, model.resolution, model.resolution)
        parts = {name: torch.zeros(part.shape, dtype=part.dtype) for name, part in given.items()}
        states = Conditioning(parts).learnable()
    with torch.no_grad(), _counter() as counter:
        shadow.encode(pixels)
    forward, backward = _count(lambda: shadow.predict(latents, times, states))
    texts = [_count_encoder(encoder) for encoder in model.words.encoders]
    text, text_backward = (sum(counts) for counts in zip(*texts, strict=True))
    return SampleFlops(counter.get_total_flops(), forward, backward, text, text_backward)


def _count_encoder(encoder: Encoder) -> tuple[int, int]:
    """Operations of one prompt through a text encoder, and of the way back to its input embeddings."""
    with torch.device("meta"):
        module = type(encoder.module)(encoder.module.config).requires_grad_(False).eval()
        embedded = torch.zeros(1, encoder.length, encoder.width, requires_grad=True)
        ids = torch.zeros(1, encoder.length, dtype=torch.long)
    for table in tables(module):
        table.register_forward_hook(lambda module, inputs, output: embedded)
    return _count(lambda: module(ids)[0])


def _count(run: Callable[[], Any]) -> tuple[int, int]:
    """Operations of `run` and of the way back from its output's sum."""
    with _counter() as forward:
        output: Tensor = run()
    with _counter() as backward:
        output.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def decoding_flops(model: DiffusionModel) -> int:
    """Operations for decoding one image."""
    with torch.device("meta"):
        shadow = model.family.shadow("vae")
        latents = torch.zeros(1, *model.latent_shape)
    with torch.no_grad(), _counter() as counter:
        shadow.decode(latents)
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Peak:
    """Bytes at the peak of one kind of work: `fixed + each · batch`; the weights come on top."""

    fixed: int
    each: int

    def bytes(self, batch: int) -> int:
        """For a batch of samples or images."""
        return self.fixed + self.each * batch


class Footprint:
    """What a model takes, in its dtype. Each kind of work is counted when it is first asked for.

    Args:
        weights: bytes of autoencoder, denoiser and text encoders.
        count: gives the peak of a kind of work by its name.
    """

    def __init__(self, weights: int, count: Callable[[str], Peak]) -> None:
        self.weights = weights
        self._count = count

    @cached_property
    def learning(self) -> Peak:
        """Of a sample forward and back through the denoiser."""
        return self._count("learning")

    @cached_property
    def frugal(self) -> Peak:
        """The same where layers are computed again on the way back (gradient checkpointing)."""
        return self._count("frugal")

    @cached_property
    def drawing(self) -> Peak:
        """Of an image in a denoising step, guided (two samples where guidance takes two)."""
        return self._count("drawing")

    @cached_property
    def decoding(self) -> Peak:
        """Of an image through the VAE's decoder."""
        return self._count("decoding")

    def fitting(self, kind: Peak, free: int) -> int:
        """The largest batch of some work that fits into free bytes beside the weights; 0 if none."""
        return max(0, (free - self.weights - kind.fixed) // kind.each)


def count_footprint(model: DiffusionModel) -> Footprint:
    """Counts a model's memory from its configuration."""
    modules = model.family.modules.values()
    weights = sum(parameter.nbytes for module in modules for parameter in module.parameters())
    return Footprint(weights, partial(_count_peak, model))


def _count_peak(model: DiffusionModel, kind: str) -> Peak:
    """The peak of a kind of work, by its name in `Footprint`."""
    family = model.family
    shapes = {name: (part.shape[1:], part.dtype) for name, part in model.unconditional.parts.items()}
    samples = 2 if kind == "drawing" and family.unguided is not None else 1
    learn = kind in ("learning", "frugal")

    def given(batch: int) -> Conditioning:
        return Conditioning(
            {
                name: torch.zeros(batch, *shape, dtype=model.dtype if dtype.is_floating_point else dtype)
                for name, (shape, dtype) in shapes.items()
            }
        )

    def denoise(batch: int) -> None:
        latents = torch.zeros(samples * batch, *model.latent_shape)
        times = model.noising.times(torch.zeros(samples * batch, dtype=torch.float32))
        states = given(samples * batch)
        with torch.set_grad_enabled(learn):
            predicted = shadow.predict(latents, times, states.learnable() if learn else states)
            if learn:
                predicted.float().square().mean().backward()

    def decode(batch: int) -> None:
        with torch.no_grad():
            shadow.decode(torch.zeros(batch, *model.latent_shape))

    # The stand-in device is the CPU: its fused attention keeps what CUDA's keeps.
    with stand_in_tensors("cpu", model.dtype):
        shadow = family.shadow("vae" if kind == "decoding" else family.denoiser_part)
        if kind == "frugal":
            shadow.compute_again()
        return _peak(decode if kind == "decoding" else denoise)


def _peak(run: Callable[[int], Any]) -> Peak:
    """The line through the peaks of batches of one and of three."""
    peaks = []
    for batch in (1, 3):
        with PeakMemory() as memory:
            run(batch)
        peaks.append(memory.peak)
    each = (peaks[1] - peaks[0]) // 2
    return Peak(peaks[0] - each, each)


def measured_rate(runtime: Runtime) -> float:
    """Floating-point operations a second at which a large UNet runs here.

    The fastest of a few convolutions is measured, the most common one of Stable Diffusion's UNet. A UNet as a
    whole reaches `_SHARE` of that: on one core, UNets of its shape reached 0.34 to 0.41.
    """
    device = runtime.device
    pixels = torch.ones(2, _CHANNELS, _SIDE, _SIDE, device=device, dtype=runtime.dtype)
    weights = torch.ones(_CHANNELS, _CHANNELS, 3, 3, device=device, dtype=runtime.dtype)
    fastest = float("inf")
    with torch.inference_mode():
        for _ in range(1 + _TIMES):  # the first warms up
            began = time.perf_counter()
            torch.nn.functional.conv2d(pixels, weights, padding=1)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            fastest = min(fastest, time.perf_counter() - began)
    operations = 2 * 9 * _CHANNELS**2 * _SIDE**2 * len(pixels)
    return _SHARE * operations / fastest
