"""What a run of `score` or `invert` will cost, before it runs: samples, operations, memory, and time here.

All of it is counted (`inversion.cost`): nothing runs but the text encoders, once, for the empty prompt.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from origcli.generation.sampling import DECODING_BATCH
from origcli.inversion.cost import (
    Peak,
    count_flops,
    count_footprint,
    measured_rate,
    total_flops,
    work,
)
from origcli.inversion.sweep import check_words
from origcli.inversion.templates import read_templates
from origcli.models.opening import open_model
from origcli.runtime.context import Runtime
from origcli.runtime.machine import usable_bytes
from origcli.scoring.advice import calibration_flops, count_operations
from origcli.scoring.models import Models
from origcli.scoring.self_calibration import automatic_budget, read_self_calibration
from origcli.scoring.setup import wants_edits
from origcli.scoring.store import Store
from origcli.scoring.thresholds import find_threshold, is_calibrated_first
from origcli.settings import Settings


@dataclass(frozen=True)
class Stage:
    """One part of the work.

    Attributes:
        count: samples through the UNet, a guided one twice; or images through the decoder; or, where the
            model is calibrated, the samples that it takes.
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


def calibrates_first(models: Models, settings: Settings, cache: Path | None) -> bool:
    """Whether a run would calibrate the model before its images, for lack of a threshold.

    Raises:
        InputError, UsageError: as `find_threshold` raises them.
    """
    own = None if cache is None else read_self_calibration(models, settings, Store(cache))
    return is_calibrated_first(find_threshold(models, settings, own), models, settings)


def plan_score(
    images: int,
    models: Models,
    settings: Settings,
    runtime: Runtime,
    given: Collection[int] | None = None,
    calibrates: bool = False,
) -> list[Stage]:
    """The stages of scoring a number of images, at most: early stopping makes learning shorter.

    Args:
        given: the token counts whose tokens are given; none are learned then.
        calibrates: the model is calibrated first (`calibrates_first`).
    """
    model, score = models.model, settings.score
    drawing = model.drawing(settings.draw)
    tokens = score.max_tokens if given is None else len(given)
    inversions = images * (score.repeats if given is None else 1)
    once = score.ceiling_samples + score.samples
    edits = images * score.samples if wants_edits(models.metric, settings) else 0
    passes = model.family.passes(drawing)
    pictures = inversions * tokens * score.samples + edits + once
    counted = count_operations(model, settings)
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

    def learned_at_once(counts: int) -> tuple[int, float]:
        invert, peak = settings.invert, footprint.learning
        return memory(
            peak if footprint.fitting(peak, room) else footprint.frugal,
            invert.micro_batch or invert.batch_size * counts,
        )

    def calibration() -> Stage:
        budget = automatic_budget(settings)
        operations = sum(calibration_flops(counted, settings, budget))
        return Stage(
            "calibrate",
            budget.captions * budget.samples + budget.controls * (1 + score.samples),
            f"{budget.captions} captions × {budget.samples} samples, and 1 token learned for each of "
            f"{budget.controls} samples",
            operations / 1e12,
            operations / rate / 60,
            *(learned_at_once(1) if budget.controls else memory(footprint.drawing, settings.draw.batch_size)),
        )

    def learning() -> Stage:
        invert = settings.invert
        amount = work(invert, tokens, len(read_templates(invert.templates)))
        operations = inversions * total_flops(counted.flops, amount)
        return Stage(
            "learn",
            inversions * amount.samples,
            f"{inversions} × {tokens} token counts × {invert.steps} steps × {invert.batch_size} samples, "
            "and L_det",
            operations / 1e12,
            operations / rate / 60,
            *learned_at_once(tokens),
        )

    edited = f" + {edits} of the edit" if edits else ""
    return [
        *([calibration()] if calibrates else []),
        *([learning()] if given is None else []),
        Stage(
            "draw",
            forwards,
            f"({inversions} × {tokens} token counts × {score.samples} samples{edited} + {once} for the "
            f"scale) × {drawing.steps} steps × {passes}",
            forwards * counted.flops.unet / 1e12,
            forwards * counted.flops.unet / rate / 60,
            *memory(footprint.drawing, settings.draw.batch_size),
        ),
        Stage(
            "decode",
            pictures,
            "samples",
            pictures * counted.decoding / 1e12,
            pictures * counted.decoding / rate / 60,
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
