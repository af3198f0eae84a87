"""`origcli synth`: makes data sets of coloured shapes."""

from pathlib import Path
from typing import Annotated

import typer

from origcli.cli import options, present


def synth(
    out: Annotated[Path, typer.Argument(help="Directory of the data set.")],
    count: Annotated[int | None, typer.Option("--count", "-n")] = None,
    resolution: Annotated[int | None, typer.Option("--resolution")] = None,
    mixture: Annotated[str | None, typer.Option("--mixture")] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-j")] = None,
    seed: options.SeedOption = None,
    resume: options.ResumeOption = False,
    force: options.ForceOption = False,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Make a data set of coloured shapes."""
    import os

    from origcli.scenes.mixtures import Recipe
    from origcli.scenes.writing import write_dataset

    flags = {
        "runtime": {"seed": seed},
        "synth": {"count": count, "resolution": resolution, "mixture": mixture},
    }
    settings = options.load_settings(preset, config, flags)
    write_dataset(
        Recipe(settings.synth, settings.runtime.seed),
        out,
        workers=workers or os.cpu_count() or 1,
        resume=resume,
        force=force,
        progress=present.progress(quiet),
    )
