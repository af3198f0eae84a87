"""`invert`, `draw` and `detect`: the parts of the measure on their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from origcli.interface.calling import (
    DRAWING,
    AnyPath,
    Call,
    Images,
    Preset,
    SettingsTree,
    as_path,
    checked,
    inputs_of,
)

if TYPE_CHECKING:
    from PIL import Image

    from origcli.reports.schema import DetectReport, InvertReport

_INVERT = {
    "model": "score.model",
    "templates": "invert.templates",
    "init": "invert.initialization",
    "learning_steps": "invert.steps",
    "batch_size": "invert.batch_size",
    "learning_rate": "invert.learning_rate",
    "early_stop": "invert.early_stop",
    "flip": "invert.flip",
    "preview_every": "invert.preview_every",
    "crop": "score.crop",
    "together": "score.together",
    "micro_batch": "invert.micro_batch",
}
_DETECT = {"confidence": "detect.confidence", "iou": "detect.iou", "batch_size": "detect.batch_size"}


@checked
def invert(
    images: Images,
    tokens: Sequence[int] = (1, 2, 3, 4, 5),
    *,
    names: Sequence[str] | None = None,
    image_column: str | None = None,
    follow_links: bool = False,
    model: str | None = None,
    templates: str | None = None,
    init: str | None = None,
    learning_steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | str | None = None,
    early_stop: bool | None = None,
    flip: bool | None = None,
    preview_every: int | None = None,
    crop: str | None = None,
    together: int | None = None,
    micro_batch: int | None = None,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "InvertReport":
    """Learns the tokens that make a model redraw images; `origcli invert`.

    Args:
        images, names, image_column, follow_links: as of `score`.
        tokens: the numbers of tokens m to learn.
        model: a name (shapes, sd15, sdxl, flux-dev …), a pipeline directory or a Hub id.
        templates, init, learning_steps, batch_size, learning_rate, early_stop, flip, preview_every, crop,
            together, micro_batch: as the options of the command.
        out and the keywords after it: as of `score`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.inversion import sweep
    from origcli.reports.writers import read_report

    call = Call.of("invert", locals(), _INVERT)
    inputs, left_out = inputs_of(
        call, images, names=names, image_column=image_column, follow_links=follow_links
    )
    counts = sorted(set(tokens))
    with call.opened([image.name for image in inputs], tokens=counts) as runtime:
        sweep.run(inputs, counts, call.settings, runtime, left_out=left_out)
        return cast("InvertReport", read_report(runtime.out, "invert")).at(runtime.given)


@checked
def draw(
    prompts: str | Sequence[str],
    *,
    model: str = "shapes",
    samples: int = 1,
    embeddings: AnyPath | None = None,
    guidance: float | None = None,
    denoising_steps: int | str | None = None,
    scheduler: str | None = None,
    out: AnyPath | None = None,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "list[Image.Image]":
    """Generates images from prompts, one seed each; `origcli draw`.

    Args:
        prompts: one or several; `{S}` stands for the learned tokens of `embeddings`.
        model: a name (shapes, sd15, sdxl, flux-dev …), a pipeline directory or a Hub id.
        samples: for each prompt.
        embeddings: a file of learned tokens.
        guidance, denoising_steps, scheduler: as the options of the command.
        out and the keywords after it: as of `score`.

    Returns:
        The samples, RGB, those of the first prompt first.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from PIL import Image

    from origcli.inversion.drawing import draw_images
    from origcli.weights.pipelines import pipeline_name

    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    file = None if embeddings is None else as_path(embeddings)
    call = Call.of("draw", {**locals(), "model": None}, DRAWING)
    with call.opened([pipeline_name(Path(model))]) as runtime:
        rows = draw_images(model, texts, samples, call.settings, runtime, embeddings=file)
        return [Image.open(row["file"], formats=["PNG"]).convert("RGB") for row in rows]


@checked
def detect(
    images: Images,
    *,
    detector: AnyPath = "shapes",
    names: Sequence[str] | None = None,
    image_column: str | None = None,
    follow_links: bool = False,
    confidence: float | None = None,
    iou: float | None = None,
    batch_size: int | None = None,
    annotate: AnyPath | None = None,
    audit: AnyPath | None = None,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "DetectReport":
    """Lists the elements in images of shapes; `origcli detect`. Writes nothing but what is asked for.

    Args:
        images, names, image_column, follow_links: as of `score`.
        detector: shapes, or what `train_detector` wrote.
        confidence, iou, batch_size: as the options of the command.
        annotate: directory for the images with their boxes.
        audit: file for a sheet of detections by confidence.
        preset, config, settings, device, dtype, threads, compile, offline, quiet: as of `score`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.detection import reporting

    call = Call.of("detect", locals(), _DETECT)
    inputs, left_out = inputs_of(
        call, images, names=names, image_column=image_column, follow_links=follow_links
    )
    with call.opened_nowhere() as runtime:
        return reporting.detect_images(
            inputs,
            str(detector),
            call.settings,
            runtime,
            annotated=None if annotate is None else as_path(annotate),
            audit=None if audit is None else as_path(audit),
            left_out=left_out,
        )
