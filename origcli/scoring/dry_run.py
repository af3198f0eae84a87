"""What a score run will cost, before it runs: samples through the networks, FLOPs, and time on this device.

FLOPs are counted on torch's meta device; the time is that of three steps measured here, carried forward.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from origcli.generation.sampling import DECODING_BATCH, draw, guidance_scale, prompt_states
from origcli.inversion.cost import TIMED_BATCH, count_flops, sample_seconds, total_flops, work
from origcli.inversion.templates import read_templates
from origcli.models.pipeline import DiffusionModel
from origcli.runtime.context import Runtime
from origcli.runtime.machine import usable_bytes
from origcli.runtime.progress import SilentProgress
from origcli.scoring.footprint import Peak, count_footprint
from origcli.scoring.models import Models
from origcli.scoring.setup import drawing_seeds, wants_edits
from origcli.settings import Settings

MEASURED_STEPS = 3
_CPU_BATCH = 2  # a CPU is as fast with few pictures at a time, and the answer comes sooner


@dataclass(frozen=True)
class Stage:
    """One part of the work.

    Attributes:
        count: samples through the UNet, a guided one twice; or pictures through the decoder.
        product: what the count is made of, in words.
        tflop, minutes: of all of them.
        batch: how many samples, or pictures, are put through at once, as far as memory holds them.
        gigabytes: on the device at the peak, weights included.
    """

    stage: str
    count: int
    product: str
    tflop: float
    minutes: float
    batch: int
    gigabytes: float


def plan(
    images: int, models: Models, settings: Settings, runtime: Runtime, given: Collection[int] | None = None
) -> list[Stage]:
    """The stages of scoring a number of images, at most: early stopping makes learning shorter.

    Args:
        given: the token counts whose tokens are given; none are learned then.
    """
    model, score, drawing = models.model, settings.score, settings.draw
    tokens = score.max_tokens if given is None else len(given)
    inversions = images * (score.repeats if given is None else 1)
    once = score.ceiling_images + score.images
    edits = images * score.images if wants_edits(models.metric, settings) else 0
    passes = 1 if guidance_scale(model, drawing) == 1 else 2
    pictures = inversions * tokens * score.images + edits + once
    flops = count_flops(model)
    forwards = pictures * drawing.steps * passes
    batch = _CPU_BATCH if model.device.type == "cpu" else drawing.batch_size
    step_seconds, decode_seconds = drawing_seconds(model, settings, batch, runtime)
    footprint = count_footprint(model)
    room = footprint.weights + usable_bytes(model.device)  # the weights are loaded by now

    def memory(kind: Peak, wanted: int) -> tuple[int, float]:
        size = max(1, min(wanted, footprint.fitting(kind, room)))
        return size, (footprint.weights + kind.bytes(size)) / 1e9

    def learning() -> Stage:
        invert = settings.invert
        amount = work(invert, tokens, len(read_templates(invert.templates)))
        seconds = sample_seconds(model, min(TIMED_BATCH, invert.batch_size))
        return Stage(
            "learn",
            inversions * amount.samples,
            f"{inversions} × {tokens} token counts × {invert.steps} steps × {invert.batch_size} samples, "
            "and L_det",
            inversions * total_flops(flops, amount) / 1e12,
            inversions * amount.samples * seconds / 60,
            *memory(footprint.learning, invert.micro_batch or invert.batch_size * tokens),
        )

    edited = f" + {edits} of the edit" if edits else ""
    return [
        *([learning()] if given is None else []),
        Stage(
            "draw",
            forwards,
            f"({inversions} × {tokens} token counts × {score.images} drawings{edited} + {once} for the "
            f"scale) × {drawing.steps} steps × {passes}",
            forwards * flops.unet / 1e12,
            forwards * step_seconds / passes / 60,
            *memory(footprint.drawing, drawing.batch_size),
        ),
        Stage(
            "decode",
            pictures,
            "drawings",
            pictures * decoding_flops(model) / 1e12,
            pictures * decode_seconds / 60,
            *memory(footprint.decoding, min(DECODING_BATCH, drawing.batch_size)),
        ),
    ]


def drawing_seconds(
    model: DiffusionModel, settings: Settings, batch: int, runtime: Runtime
) -> tuple[float, float]:
    """Seconds for one step of one picture, and for decoding it, from drawing with one step and with four."""
    quiet = Runtime(device=runtime.device, dtype=runtime.dtype, progress=SilentProgress())
    states = prompt_states(model, [""])[0]
    seeds = drawing_seeds(0, batch)

    def sample(steps: int) -> None:
        short = settings.draw.model_copy(update={"steps": steps, "batch_size": batch})
        draw(model, states, states, seeds, short, quiet)

    sample(1)  # warms up
    less, more = _timed(sample, 1, model.device), _timed(sample, 1 + MEASURED_STEPS, model.device)
    step = max(0.0, more - less) / MEASURED_STEPS
    return step / batch, max(0.0, less - step) / batch


def _timed(run: Callable[[int], None], steps: int, device: torch.device) -> float:
    began = time.perf_counter()
    run(steps)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def decoding_flops(model: DiffusionModel) -> int:
    """Operations for decoding one picture."""
    with torch.device("meta"):
        vae = type(model.vae).from_config(model.vae.config)
        latents = torch.zeros(1, *model.latent_shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vae.decode(latents)
    return int(counter.get_total_flops())
