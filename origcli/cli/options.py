"""Options that several commands share, declared once so that they mean the same everywhere.

A default of `None` means that presets, configuration file and environment decide (see `settings`).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from origcli.runtime.run_directory import Existing
    from origcli.settings import Settings

MEASURE = "The measure"
DRAWING = "Drawing"
PICTURES = "Reading pictures"
COMPUTE = "Computing"
RUN = "Run"
OUTPUT = "Output"

TRAINED = ("stage", "metric", "value", "steps", "samples", "parameters")  # what a table shows of a training


class Format(StrEnum):
    """What a command writes to stdout."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    excel = "excel"


FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        "-f",
        metavar="FORM",
        help="What to write to stdout: table, json, jsonl, csv, or excel (csv with a byte order mark).",
        rich_help_panel=OUTPUT,
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no remarks on stderr.", rich_help_panel=OUTPUT)
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Directory of the run: reports, pictures, checkpoints. [default: one under runs/]",
        rich_help_panel=RUN,
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on where a stopped run in --out was.", rich_help_panel=RUN)
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Start over in an --out that is not empty.", rich_help_panel=RUN)
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the plan and its cost; compute nothing.", rich_help_panel=RUN),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAMES",
        autocompletion=lambda: ["paper", "small", "fast", "small,fast"],
        envvar="ORIGCLI_PRESET",
        help="Numbers to start from, layered on `paper`: paper, small, fast or a list. [default: small,fast]",
        rich_help_panel=RUN,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="ORIGCLI_CONFIG",
        help="TOML file with a table per section of settings (origcli config show).",
        rich_help_panel=RUN,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Seed of everything random. [default: 0]", rich_help_panel=RUN),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        autocompletion=lambda: ["auto", "cpu", "mps", "cuda", "cuda:0"],
        help="auto, cpu, mps, cuda or cuda:N. [default: auto]",
        rich_help_panel=COMPUTE,
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="NAME",
        autocompletion=lambda: ["auto", "fp32", "fp16", "bf16"],
        help="auto, fp32, fp16 or bf16. auto: bf16 or fp16 on CUDA, fp32 elsewhere. [default: auto]",
        rich_help_panel=COMPUTE,
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="N",
        help="Processes that read the data; none: the main one does.",
        rich_help_panel=COMPUTE,
    ),
]
TrackOption = Annotated[
    str | None,
    typer.Option(
        "--track",
        metavar="NAME",
        autocompletion=lambda: ["tensorboard", "wandb"],
        help="Log to a tracker too: tensorboard, wandb … (origcli[trackers]).",
        rich_help_panel=OUTPUT,
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", help="CPU threads. [default: one a core]", rich_help_panel=COMPUTE
    ),
]
CompileOption = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the models first: slower to start, faster on CUDA. [default: no]",
        rich_help_panel=COMPUTE,
    ),
]
OfflineOption = Annotated[
    bool | None,
    typer.Option("--offline/--online", help="Use no network. [default: online]", rich_help_panel=COMPUTE),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        autocompletion=lambda: ["auto", "shapes", "sd15", "sd14"],
        help="shapes (bundled), sd15, sd14, a pipeline directory or a hub id. "
        "auto: sd15 on a GPU, else shapes. [default: auto]",
    ),
]
ShapesModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        autocompletion=lambda: ["shapes"],
        help="shapes (bundled), or the pipeline directory of another model of shapes. [default: shapes]",
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        autocompletion=lambda: ["auto", "dreamsim", "elements"],
        help="dreamsim, dreamsim:BRANCH (one of its branches alone), elements, or auto: elements for "
        "shapes-world models, else dreamsim. [default: auto]",
        rich_help_panel=MEASURE,
    ),
]
DetectorOption = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="DIR",
        help="Detector of the elements metric, of train-detector. [default: the model's]",
        rich_help_panel=MEASURE,
    ),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        "-M",
        metavar="M",
        help="Most tokens to learn. [default: 5]",
        rich_help_panel=MEASURE,
    ),
]
CacheOption = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache",
        help="Keep results by content and use those kept before.",
        rich_help_panel=RUN,
    ),
]

CropOption = Annotated[
    str | None,
    typer.Option(
        "--crop",
        metavar="HOW",
        autocompletion=lambda: ["center", "squash", "pad"],
        help="Of pictures that are not square: center, squash or pad. [default: center]",
        rich_help_panel=PICTURES,
    ),
]
FollowLinksOption = Annotated[
    bool,
    typer.Option(
        "--follow-links", help="Take pictures that links bring into a directory.", rich_help_panel=PICTURES
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps", metavar="N", help="Denoising steps of a drawing. [default: 50]", rich_help_panel=DRAWING
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        metavar="W",
        help="Classifier-free guidance scale; 1: none. [default: the model's]",
        rich_help_panel=DRAWING,
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="NAME",
        autocompletion=lambda: ["ddim", "dpm", "euler", "pndm"],
        help="ddim, dpm, euler or pndm. [default: ddim]",
        rich_help_panel=DRAWING,
    ),
]


def existing(resume: bool, force: bool) -> "Existing":
    """What a command does with an --out that holds something."""
    return "use" if resume else "replace" if force else "refuse"


def run_path(command: str, out: Path | None, names: Sequence[str], again: bool) -> Path:
    """The run directory of a command over pictures: the one asked for, else a new one under runs/.

    Args:
        command: its name.
        out: as given.
        names: of the pictures.
        again: go on with, or do over, the latest such run instead of making a new directory.
    """
    if out is not None:
        return out
    what = names[0] if len(names) == 1 else f"{len(names)}-images"
    numbered = [Path("runs") / f"{command}-{what}"]
    while numbered[-1].exists():
        numbered.append(numbered[0].with_name(f"{numbered[0].name}-{len(numbered) + 1}"))
    return numbered[-2] if again and len(numbered) > 1 else numbered[-1]


def preset_names(preset: str | None) -> tuple[str, ...] | None:
    """The presets that `--preset` names; `None` leaves it to the settings."""
    return None if preset is None else tuple(name.strip() for name in preset.split(","))


def for_many_models(preset: str | None) -> str:
    """The presets of a command that trains many models: `many` is layered on `small`."""
    from origcli.settings import DEFAULT_PRESETS

    names = preset_names(preset) or DEFAULT_PRESETS
    return ",".join(f"{name},many" if name == "small" and "many" not in names else name for name in names)


def load_settings(preset: str | None, config: Path | None, flags: Mapping[str, Any]) -> "Settings":
    """The effective settings of a command: presets, file, environment, flags (section -> field -> value)."""
    from origcli.settings import resolve

    return resolve(flags, presets=preset_names(preset), config=config)[0]


def load_shapes_settings(preset: str | None, config: Path | None, flags: Mapping[str, Any]) -> "Settings":
    """`load_settings` of a command for shapes alone: `auto` is the bundled model, the metric `elements`."""
    settings = load_settings(preset, config, flags)
    model = "shapes" if settings.score.model == "auto" else settings.score.model
    return settings.model_copy(
        update={"score": settings.score.model_copy(update={"model": model, "metric": "elements"})}
    )
