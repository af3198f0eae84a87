"""Drawing: latents from noise, guided by text states; pictures from latents.

Each picture has its own seed and its own noise, so it is the same in any batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from origcli.models.pipeline import DiffusionModel, text_states, tokenize
from origcli.models.vae import decode_latents, to_images
from origcli.runtime import interrupts
from origcli.runtime.context import Runtime
from origcli.runtime.device import autocast, memory_format
from origcli.runtime.machine import usable_bytes
from origcli.runtime.memory import BatchSize, slices
from origcli.runtime.progress import Task
from origcli.runtime.seeding import noise
from origcli.settings import DrawSettings

DECODING_BATCH = 16
_SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "pndm": "PNDMScheduler",
}


def build_sampler(model: DiffusionModel, name: str, steps: int) -> Any:
    """A scheduler of the model's noise schedule with its timesteps set. It holds state: one a batch."""
    import diffusers

    scheduler = getattr(diffusers, _SCHEDULERS[name]).from_config(model.scheduler.config)
    # On the CPU: a sampler looks its place up in them, and would wait for a GPU to tell it.
    scheduler.set_timesteps(steps, device="cpu")
    return scheduler


def guidance_scale(model: DiffusionModel, settings: DrawSettings) -> float:
    """The scale asked for, else the model's own."""
    return model.guidance if settings.guidance is None else settings.guidance


def most_at_once(model: DiffusionModel, settings: DrawSettings) -> int:
    """How many pictures' denoising steps memory holds; at least one.

    Guidance makes two samples of a picture.
    """
    samples = 1 if guidance_scale(model, settings) == 1 else 2
    return max(1, usable_bytes(model.device) // (samples * model.forward_bytes))


@torch.inference_mode()
def draw(
    model: DiffusionModel,
    states: Tensor,
    unconditional: Tensor,
    seeds: Sequence[int],
    settings: DrawSettings,
    runtime: Runtime,
    *,
    description: str = "draw",
) -> list[Image.Image]:
    """Draws one picture for each row of `states` and its seed.

    Args:
        states: text states (n, L, d), or (L, d) for all.
        unconditional: text states (L, d) of the empty prompt; unused at a guidance scale of 1.
        seeds: n seeds; a picture depends on its own alone.

    Raises:
        NonFiniteError: a picture has NaN or infinite values.
        DeviceError: memory runs out with one picture at a time.
    """
    states = states.expand(len(seeds), *states.shape[-2:])
    wanted = max(1, min(settings.batch_size, len(seeds)))
    size = BatchSize(min(wanted, most_at_once(model, settings)), runtime.progress.say)
    images: list[Image.Image] = []
    with runtime.progress.task(description, len(seeds)) as bar:
        while len(images) < len(seeds):
            first = len(images)

            def batch(count: int, first: int = first) -> list[Image.Image]:
                part = slice(first, first + count)
                latents = sample_latents(model, states[part], unconditional, seeds[part], settings)
                return decode(model, latents)

            drawn = size.attempt(batch)
            images += drawn
            bar.advance(len(drawn))
            interrupts.check()
    return images


def sample_latents(
    model: DiffusionModel,
    states: Tensor,
    unconditional: Tensor,
    seeds: Sequence[int],
    settings: DrawSettings,
    bar: Task | None = None,
) -> Tensor:
    """Scaled latents (n, c, h, w) of text states (n, L, d), guided as Ho and Salimans 2022 do."""
    sampler = build_sampler(model, settings.scheduler, settings.steps)
    scale = guidance_scale(model, settings)
    guided = scale != 1
    start = torch.stack([noise(model.latent_shape, seed, "draw") for seed in seeds])
    latents = start.to(model.device, model.dtype) * sampler.init_noise_sigma
    latents = latents.contiguous(memory_format=memory_format(model.device))
    context = states.to(model.device, model.dtype)
    if guided:
        empty = unconditional.to(model.device, model.dtype).expand_as(context)
        context = torch.cat([empty, context])  # (2n, L, d)
    with autocast(model.device, model.dtype):
        for timestep in sampler.timesteps:
            given = torch.cat([latents, latents]) if guided else latents
            given = sampler.scale_model_input(given, timestep)
            predicted = model.unet(given, timestep, encoder_hidden_states=context).sample
            if guided:
                free, conditioned = predicted.chunk(2)
                predicted = free + scale * (conditioned - free)
            latents = sampler.step(predicted, timestep, latents).prev_sample
            if bar is not None:
                bar.advance(1)
    return latents


def decode(model: DiffusionModel, latents: Tensor, batch_size: int = DECODING_BATCH) -> list[Image.Image]:
    """Pictures of scaled latents (n, c, h, w), decoded a few at a time: decoding takes the most memory."""
    images: list[Image.Image] = []
    for part in slices(len(latents), batch_size):
        images += to_images(decode_latents(model.vae, latents[part]))
    return images


@torch.inference_mode()
def prompt_states(model: DiffusionModel, prompts: Sequence[str]) -> Tensor:
    """Text states (n, L, d) of prompts; each distinct prompt is encoded once."""
    distinct = list(dict.fromkeys(prompts))
    ids, mask = tokenize(model.tokenizer, distinct)
    states = torch.cat([text_states(model.text_encoder, ids[p], mask[p]) for p in slices(len(distinct), 64)])
    rows: Mapping[str, int] = {prompt: row for row, prompt in enumerate(distinct)}
    return states[[rows[prompt] for prompt in prompts]]


def draw_prompts(
    model: DiffusionModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: DrawSettings,
    runtime: Runtime,
    *,
    description: str = "draw",
) -> list[Image.Image]:
    """Draws one picture for each prompt and its seed; see `draw`."""
    states = prompt_states(model, [*prompts, ""])
    return draw(model, states[:-1], states[-1], seeds, settings, runtime, description=description)
