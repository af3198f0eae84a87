"""Options that several commands share, declared once so that they mean the same everywhere.

A default of `None` means that presets, configuration file and environment decide (`Sets`).
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from origcli.cli.binding import Sets, argument, flag, option
from origcli.cli.renamed import Formerly
from origcli.perception import metrics

MEASURE = "The measure"
SAMPLING = "Sampling"
LEARNING = "Learning"
PICTURES = "Reading images"
COMPUTE = "Computing"
RUN = "Run"
OUTPUT = "Output"

IMAGE_SOURCES = (
    "quoted globs, CSV lists, .tar and .parquet files, http(s) addresses, hf:OWNER/NAME[:SPLIT] (a data set "
    "of `datasets`), or - for stdin."
)

TRAINED = ("stage", "metric", "value", "steps", "samples", "parameters")  # what a table shows of a training
DROP_OF_TRAINED = ("parameters", "samples")

# Those of the registry, which a TAB does not load; a test holds them alike.
MODELS = (
    "shapes",
    "sd15",
    "sd14",
    "sdxl",
    "sd35-medium",
    "sd35-large",
    "flux-dev",
    "pixart-alpha",
    "pixart-sigma",
    "sana",
    "z-image",
    "qwen-image",
)


class Format(StrEnum):
    """What a command writes to stdout."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    excel = "excel"


# The same of every training, for settings of its own.
EPOCHS = option("--epochs", "N", "Epochs; fractions allowed.")
BATCH_SIZE = option("--batch-size", "N", "Effective batch, over all processes.")
LEARNING_RATE = option("--learning-rate", "RATE", "Learning rate of AdamW.")

# The same of every denoiser's training.
SCHEDULE = option("--schedule", "NAME", "constant, or cosine to zero.", words=("constant", "cosine"))
CAPTION_DROPOUT = option("--caption-dropout", "P", "Share of captions replaced by the empty one.")
EMA_DECAY = option("--ema-decay", "DECAY", "Decay of the moving average of the weights (EMA).")
SAMPLE_EVERY = option("--sample-every", "N", "Steps between two sheets of samples; 0: none.")


def cluster(text: str, group: str) -> Any:
    """`--ray`, for what the command does on a cluster."""
    words = f"{text}; auto: this machine's (origcli[ray])."
    return option("--ray", "ADDRESS", words, group, words=("auto",))


WorkersOption = Annotated[
    int,
    option(
        "--workers", "N", "Number of processes that read the data; 0: the main process reads it.", COMPUTE
    ),
]
TrackOption = Annotated[
    str | None,
    option(
        "--track",
        "NAME",
        "Log to a tracker too: tensorboard, wandb … (origcli[trackers]).",
        OUTPUT,
        words=("tensorboard", "wandb"),
    ),
]
ModelOption = Annotated[
    str | None,
    option(
        "-m --model",
        "MODEL",
        "shapes (bundled), sd15, sdxl, flux-dev … (fetch --list), a pipeline directory or a hub id. "
        "auto: sd15 on a GPU, else shapes.",
        words=("auto", *MODELS),
    ),
    Sets("score.model"),
]
ModelsOption = Annotated[
    list[str] | None,
    option(
        "-m --model",
        "MODEL",
        "shapes (bundled), sd15, sdxl, flux-dev … (fetch --list), a pipeline directory or a hub id. "
        "auto: sd15 on a GPU, else shapes. "
        "Repeat it to compare models: a run each, and the comparison.",
        words=("auto", *MODELS),
    ),
    Sets("score.model", lambda names: names[0]),
]
ShapesModelOption = Annotated[
    str | None,
    option(
        "-m --model",
        "MODEL",
        "shapes (bundled), or the pipeline directory of another model of shapes. auto: shapes.",
        words=("shapes",),
    ),
    Sets("score.model"),
]
DatasetArgument = Annotated[Path, argument("DATASET", "A data set directory that `origcli synth` wrote.")]
ImagesArgument = Annotated[list[str], argument("IMAGE…", f"Image files, directories, {IMAGE_SOURCES}")]
GroupedImagesArgument = Annotated[
    list[str], argument("IMAGE…", f"Image files, directories (folders are groups), {IMAGE_SOURCES}")
]
MetricOption = Annotated[
    str | None,
    option(
        "--metric",
        "NAME",
        f"{', '.join(metrics.names())}, NAME:VARIANT (such as dreamsim:dino_vitb16), or auto: the one that "
        "fits the model.",
        MEASURE,
        words=(metrics.AUTO, *metrics.names()),
    ),
    Sets("score.metric"),
]
DetectorOption = Annotated[
    str | None,
    option("--detector", "DIR", "Detector of the elements metric, of train-detector.", MEASURE),
    Sets("score.detector", unset="the model's"),
]
VaeOption = Annotated[
    str,
    option(
        "--vae",
        "DIR",
        "A `train-vae` run, a pipeline, shapes (the bundled model's), or a diffusers AutoencoderKL "
        "directory.",
        words=("shapes",),
    ),
]
CalibrateOption = Annotated[
    bool | None,
    flag(
        "--calibrate/--no-calibrate",
        "Calibrate a model without a threshold once, on its own samples.",
        MEASURE,
    ),
    Sets("score.calibrate"),
]
MaxTokensOption = Annotated[
    int | None,
    option("--max-tokens", "M", "Maximum number of tokens to learn.", MEASURE),
    Formerly("-M"),
    Sets("score.max_tokens"),
]
SamplesOption = Annotated[
    int | None,
    option("--samples", "N", "Number of samples for each number of tokens.", MEASURE),
    Formerly("--images"),
    Sets("score.samples"),
]
CacheOption = Annotated[
    bool,
    flag("--cache/--no-cache", "Reuse cached results, which are keyed by content.", RUN),
]
VerboseOption = Annotated[
    bool,
    flag(
        "-v --verbose",
        "Print the curve and the full verdict of every image; show the progress of each part.",
        OUTPUT,
    ),
]
CropOption = Annotated[
    str | None,
    option(
        "--crop",
        "HOW",
        "How to make non-square images square: center, squash or pad.",
        PICTURES,
        words=("center", "squash", "pad"),
    ),
    Sets("score.crop"),
]
ImageColumnOption = Annotated[
    str | None,
    option(
        "--image-column",
        "NAME",
        "Column of images of a Parquet file or data set. [default: its only one]",
        PICTURES,
    ),
]
DatedOption = Annotated[
    bool,
    flag("--dated", "Show the date and the command on the pages.", OUTPUT),
]
FollowLinksOption = Annotated[
    bool,
    flag("--follow-links", "Follow symbolic links that leave the directory.", PICTURES),
]
DenoisingStepsOption = Annotated[
    str | None,
    option(
        "--denoising-steps",
        "N",
        "Number of denoising steps of a sample; auto: what suits the model.",
        SAMPLING,
        words=("auto",),
    ),
    Formerly("--steps"),
    Sets("draw.steps"),
]
GuidanceOption = Annotated[
    float | None,
    option("--guidance", "W", "Classifier-free guidance scale; 1: none.", SAMPLING),
    Sets("draw.guidance", unset="the model's"),
]
SchedulerOption = Annotated[
    str | None,
    option(
        "--scheduler",
        "NAME",
        "ddim, dpm, euler, pndm, own (the model's), auto (what suits the model) or quick (20 steps of dpm "
        "with Stable Diffusion 1 and 2, else as auto).",
        SAMPLING,
        words=("auto", "quick", "own", "ddim", "dpm", "euler", "pndm"),
    ),
    Sets("draw.scheduler"),
]
LearningStepsOption = Annotated[
    int | None,
    option("--learning-steps", "N", "Maximum number of learning steps.", LEARNING),
    Formerly("--invert-steps"),
    Sets("invert.steps"),
]
