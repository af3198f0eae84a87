"""Sampling: latents from noise and prompts; images from latents.

Each image has its own seed and its own noise, so it is the same in any batch.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from PIL import Image
from torch import Tensor

from origcli.models.conditioning import Conditioning, joined
from origcli.models.pipeline import DiffusionModel
from origcli.models.vae import to_images
from origcli.runtime import interrupts
from origcli.runtime.context import Runtime
from origcli.runtime.machine import usable_bytes
from origcli.runtime.memory import BatchSize, release, slices
from origcli.runtime.seeding import noise
from origcli.settings import DrawSettings

DECODING_BATCH = 16
_ENCODING_BATCH = 64


def most_at_once(model: DiffusionModel, settings: DrawSettings) -> int:
    """How many images' denoising steps memory holds; at least one.

    Guidance makes two samples of an image.
    """
    samples = model.family.passes(model.drawing(settings))
    return max(1, usable_bytes(model.device) // (samples * model.forward_bytes))


@torch.inference_mode()
def draw(
    model: DiffusionModel,
    given: Conditioning,
    seeds: Sequence[int],
    settings: DrawSettings,
    runtime: Runtime,
    *,
    description: str = "sampling",
) -> list[Image.Image]:
    """Draws one image for each prompt and its seed.

    Args:
        given: of n prompts, or of one for all.
        seeds: n seeds; an image depends on its own alone.

    Raises:
        UsageError: the model cannot be drawn with as the settings say.
        NonFiniteError: an image has NaN or infinite values.
        DeviceError: memory runs out with one image at a time.
    """
    given = given.expanded(len(seeds))
    wanted = max(1, min(settings.batch_size, len(seeds)))
    images: list[Image.Image] = []
    with ExitStack() as stack:
        if model.device.type == "cuda" and most_at_once(model, settings) < wanted:
            stack.enter_context(model.family.text_encoders_on(torch.device("cpu")))
            release()
        size = BatchSize(min(wanted, most_at_once(model, settings)), runtime.progress.say)
        bar = stack.enter_context(runtime.progress.task(description, len(seeds)))
        while len(images) < len(seeds):
            first = len(images)

            def batch(count: int, first: int = first) -> list[Image.Image]:
                part = slice(first, first + count)
                return decode(model, sample_latents(model, given[part], seeds[part], settings))

            drawn = size.attempt(batch)
            images += drawn
            bar.advance(len(drawn))
            interrupts.check()
    return images


def sample_latents(
    model: DiffusionModel, given: Conditioning, seeds: Sequence[int], settings: DrawSettings
) -> Tensor:
    """Latents (n, c, h, w) in the denoiser's scale, of n prompts and their seeds."""
    start = torch.stack([noise(model.latent_shape, seed, "draw") for seed in seeds])
    return model.family.draw(given, model.unconditional, start, model.drawing(settings))


def decode(model: DiffusionModel, latents: Tensor) -> list[Image.Image]:
    """Images of latents (n, c, h, w), decoded a few at a time: decoding takes the most memory."""
    images: list[Image.Image] = []
    for part in slices(len(latents), DECODING_BATCH):
        images += to_images(model.family.decode(latents[part]))
    return images


@torch.inference_mode()
def prompt_conditions(model: DiffusionModel, prompts: Sequence[str]) -> Conditioning:
    """The conditioning of prompts; each distinct prompt is encoded once.

    Raises:
        UsageError: a prompt is longer than a text encoder holds.
    """
    distinct = list(dict.fromkeys(prompts))
    model.words.check(distinct)
    parts = [model.family.condition(distinct[p]) for p in slices(len(distinct), _ENCODING_BATCH)]
    rows = {prompt: row for row, prompt in enumerate(distinct)}
    return joined(parts)[[rows[prompt] for prompt in prompts]]


def draw_prompts(
    model: DiffusionModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: DrawSettings,
    runtime: Runtime,
    *,
    description: str = "sampling",
) -> list[Image.Image]:
    """Draws one image for each prompt and its seed; see `draw`."""
    given = prompt_conditions(model, prompts)
    return draw(model, given, seeds, settings, runtime, description=description)
