"""What a run of `score` or `invert` will cost, before it runs: samples, operations, memory, and time here.

All of it is counted (`inversion.cost`): nothing runs but the text encoders, once, for the empty prompt.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from origcli.generation.sampling import DECODING_BATCH
from origcli.inversion.cost import (
    Peak,
    count_flops,
    count_footprint,
    decoding_flops,
    measured_rate,
    total_flops,
    work,
)
from origcli.inversion.sweep import check_words
from origcli.inversion.templates import read_templates
from origcli.models.opening import open_model
from origcli.runtime.context import Runtime
from origcli.runtime.machine import usable_bytes
from origcli.scoring.models import Models
from origcli.scoring.setup import wants_edits
from origcli.settings import Settings


@dataclass(frozen=True)
class Stage:
    """One part of the work.

    Attributes:
        count: samples through the UNet, a guided one twice; or images through the decoder.
        product: what the count is made of, in words.
        tflop, minutes: of all of them.
        batch: how many samples, or images, are put through at once, as far as memory holds them.
        gigabytes: on the device at the peak, weights included.
    """

    stage: str
    count: int
    product: str
    tflop: float
    minutes: float
    batch: int
    gigabytes: float


def plan_score(
    images: int, models: Models, settings: Settings, runtime: Runtime, given: Collection[int] | None = None
) -> list[Stage]:
    """The stages of scoring a number of images, at most: early stopping makes learning shorter.

    Args:
        given: the token counts whose tokens are given; none are learned then.
    """
    model, score = models.model, settings.score
    drawing = model.drawing(settings.draw)
    tokens = score.max_tokens if given is None else len(given)
    inversions = images * (score.repeats if given is None else 1)
    once = score.ceiling_samples + score.samples
    edits = images * score.samples if wants_edits(models.metric, settings) else 0
    passes = model.family.passes(drawing)
    pictures = inversions * tokens * score.samples + edits + once
    flops = count_flops(model)
    forwards = pictures * drawing.steps * passes
    footprint = count_footprint(model)
    room = footprint.weights + usable_bytes(model.device)  # the weights are loaded by now
    rate = measured_rate(runtime)

    def memory(kind: Peak, wanted: int) -> tuple[int, float]:
        size = max(1, min(wanted, footprint.fitting(kind, room)))
        needed = footprint.weights + kind.bytes(size)
        if needed > room:
            runtime.progress.say(
                f"one sample needs {needed / 1e9:.1f} GB, and {model.device} has {room / 1e9:.1f} GB for it: "
                "this run would end in out of memory; choose a smaller model or --dtype"
            )
        return size, needed / 1e9

    def learning() -> Stage:
        invert = settings.invert
        amount = work(invert, tokens, len(read_templates(invert.templates)))
        operations = inversions * total_flops(flops, amount)
        return Stage(
            "learn",
            inversions * amount.samples,
            f"{inversions} × {tokens} token counts × {invert.steps} steps × {invert.batch_size} samples, "
            "and L_det",
            operations / 1e12,
            operations / rate / 60,
            *memory(
                footprint.learning if footprint.fitting(footprint.learning, room) else footprint.frugal,
                invert.micro_batch or invert.batch_size * tokens,
            ),
        )

    edited = f" + {edits} of the edit" if edits else ""
    return [
        *([learning()] if given is None else []),
        Stage(
            "draw",
            forwards,
            f"({inversions} × {tokens} token counts × {score.samples} samples{edited} + {once} for the "
            f"scale) × {drawing.steps} steps × {passes}",
            forwards * flops.unet / 1e12,
            forwards * flops.unet / rate / 60,
            *memory(footprint.drawing, settings.draw.batch_size),
        ),
        Stage(
            "decode",
            pictures,
            "samples",
            pictures * decoding_flops(model) / 1e12,
            pictures * decoding_flops(model) / rate / 60,
            *memory(footprint.decoding, min(DECODING_BATCH, settings.draw.batch_size)),
        ),
    ]


def plan_invert(images: int, counts: Sequence[int], settings: Settings, runtime: Runtime) -> dict[str, Any]:
    """What `invert` would do and take for a number of images, at most.

    Args:
        counts: the values of m.

    Raises:
        UsageError: the templates with the most tokens are too long, or the initial words unknown.
        ModelError: as loading raises it.
    """
    _, model = open_model(settings.score.model, runtime)
    invert = settings.invert
    amount = work(invert, len(counts), len(check_words(model, counts, settings)))
    operations = images * total_flops(count_flops(model), amount)
    return {
        "images": images,
        "tokens": ",".join(map(str, counts)),
        "steps": invert.steps,
        "batch_size": invert.batch_size,
        "unet_samples": images * amount.samples,
        "tflop": operations / 1e12,
        "minutes": operations / measured_rate(runtime) / 60,
        "device": model.device.type,
    }
