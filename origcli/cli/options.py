"""Options that several commands share, declared once so that they mean the same everywhere.

A default of `None` means that presets, configuration file and environment decide (see `settings`).
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from origcli.settings import Settings

COMPUTE = "Computing"
RUN = "Run"
OUTPUT = "Output"


class Format(StrEnum):
    """What a command writes to stdout."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="What to write to stdout.", rich_help_panel=OUTPUT)
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no remarks on stderr.", rich_help_panel=OUTPUT)
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Directory of the run: reports, pictures, checkpoints. [default: runs/COMMAND-NAME]",
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
        envvar="ORIGCLI_PRESET",
        help="Numbers to start from, layered on `paper`: paper, small, fast or a list. [default: small,fast]",
        rich_help_panel=RUN,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="ORIGCLI_CONFIG",
        help="TOML file with a table per section of settings (origcli config show).",
        rich_help_panel=RUN,
    ),
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Seed of everything random. [default: 0]", rich_help_panel=RUN)
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu, mps, cuda or cuda:N. [default: auto]", rich_help_panel=COMPUTE),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="auto, fp32, fp16 or bf16. auto: bf16 or fp16 on CUDA, fp32 elsewhere. [default: auto]",
        rich_help_panel=COMPUTE,
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", help="CPU threads. [default: one a core]", rich_help_panel=COMPUTE),
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
        help="shapes (bundled), sd15, sd14, a pipeline directory or a hub id. "
        "auto: sd15 on a GPU, else shapes. [default: auto]",
    ),
]


def load_settings(
    preset: str | None, config: Path | None, flags: Mapping[str, Mapping[str, Any]]
) -> "Settings":
    """The effective settings of a command: presets, file, environment, flags."""
    from origcli.settings import resolve

    names = None if preset is None else tuple(name.strip() for name in preset.split(","))
    return resolve(flags, presets=names, config=config)[0]
