"""What to do about images that a model cannot measure: which model can, and how long it would take here."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from origcli.inversion.cost import (
    SampleFlops,
    count_flops,
    decoding_flops,
    measured_rate,
    total_flops,
    work,
)
from origcli.inversion.templates import read_templates
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.pipeline import DiffusionModel
from origcli.reports.schema import Provenance
from origcli.runtime.context import Runtime
from origcli.scoring.choices import knows_shapes_only
from origcli.scoring.self_calibration import Budget
from origcli.settings import Settings
from origcli.weights.registry import BUNDLED

PHOTO_MODEL = "sd15"
# Of Stable Diffusion 1.5 at 512 pixels, as `count_flops` and `decoding_flops` count them.
SD15 = SampleFlops(
    vae=1_116_658_466_816,
    unet=803_273_441_280,
    unet_backward=865_891_450_880,
    text=13_298_503_680,
    text_backward=13_517_070_336,
)
SD15_DECODING = 2_514_518_933_504


def why_unmeasured(
    made_by: Provenance, paths: Sequence[str], settings: Settings, runtime: Runtime
) -> tuple[str, str]:
    """Why a model could not measure images, in words for laymen, and the next step.

    Args:
        made_by: of the report.
        paths: of the images.
    """
    name = made_by.model.name if made_by.model else "the model"
    if not knows_shapes_only(made_by):
        return (
            f"the model {name!r} cannot show such images",
            "report.html has the numbers; --measure-anyway measures them all the same",
        )
    demo = "the demo model" if name == BUNDLED else "the model"
    what, images = ("it", shlex.quote(paths[0])) if len(paths) == 1 else ("them", "IMAGES")
    time_here = in_words(len(paths) * photo_flops(settings) / measured_rate(runtime))
    return (
        f"{demo} {name!r} knows colored shapes only",
        f"Stable Diffusion 1.5 can measure {what}: origcli score {images} --model {PHOTO_MODEL} "
        f"(origcli fetch {PHOTO_MODEL} dreamsim clip downloads it first); on this machine "
        f"({runtime.device.type}) that takes about {time_here} with the same settings",
    )


def photo_flops(settings: Settings) -> float:
    """Floating-point operations of measuring one photo with Stable Diffusion 1.5, at most."""
    score = settings.score
    steps = StableDiffusion.settled(settings.draw).steps
    assert steps != "auto"
    sample = 2 * steps * SD15.unet + SD15_DECODING  # guided: two passes a step
    before = (score.ceiling_samples + score.samples) * sample  # the ceiling, and samples without tokens
    return before + image_flops(Operations(SD15, SD15_DECODING, sample), settings, edits=score.samples)


def own_flops(model: DiffusionModel, settings: Settings, budget: Budget) -> float:
    """Floating-point operations of calibrating a model on its own samples, at most."""
    return sum(calibration_flops(count_operations(model, settings), settings, budget))


@dataclass(frozen=True)
class Operations:
    """Floating-point operations with a model and the settings of a run.

    Attributes:
        flops: of the model's parts.
        decoding: of one sample's latents.
        sample: of one sample in all.
    """

    flops: SampleFlops
    decoding: int
    sample: int


def count_operations(model: DiffusionModel, settings: Settings) -> Operations:
    """Counts a model's operations."""
    flops, decoding = count_flops(model), decoding_flops(model)
    drawing = model.drawing(settings.draw)
    return Operations(flops, decoding, model.family.passes(drawing) * drawing.steps * flops.unet + decoding)


def image_flops(
    counted: Operations, settings: Settings, edits: int, given: Collection[int] | None = None
) -> float:
    """Operations of learning an image's tokens and sampling from them, at most.

    Args:
        edits: samples of the editability test.
        given: the token counts whose tokens are given, so that none are learned.
    """
    score = settings.score
    if given is not None:
        return (len(given) * score.samples + edits) * counted.sample
    amount = work(settings.invert, score.max_tokens, len(read_templates(settings.invert.templates)))
    learning = score.repeats * total_flops(counted.flops, amount)
    return learning + (score.repeats * score.max_tokens * score.samples + edits) * counted.sample


def calibration_flops(counted: Operations, settings: Settings, budget: Budget) -> tuple[float, float]:
    """Operations of the captions' samples and of the positive control, at most."""
    own = counted.sample + counted.flops.vae + counted.decoding  # a sample and its round trip
    amount = work(settings.invert, 1, len(read_templates(settings.invert.templates)))
    control = own + total_flops(counted.flops, amount) + settings.score.samples * counted.sample
    return budget.captions * budget.samples * own, budget.controls * control


def in_words(seconds: float) -> str:
    """A length of time as people say it: `3 minutes`, `5 hours`, `2 days`."""
    units: Sequence[tuple[float, str]] = ((86400, "day"), (3600, "hour"), (60, "minute"))
    for length, unit in units:
        if seconds >= 1.5 * length or unit == "minute":
            count = max(1, round(seconds / length))
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    raise AssertionError("the last unit takes everything")
