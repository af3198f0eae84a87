"""`origcli draw`: pictures from any pipeline directory."""

from pathlib import Path
from typing import Annotated

import typer

from origcli.cli import options, present


def draw(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="shapes, sd15, sd14, a pipeline directory or a hub id.",
            autocompletion=lambda: ["shapes", "sd15", "sd14"],
        ),
    ],
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT",
            help="A prompt; may be given again. {S} stands for learned tokens.",
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings", metavar="FILE", help="Learned tokens that {S} stands for (`origcli invert`)."
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", "-n", metavar="N", help="Pictures of each prompt.", min=1)
    ] = 4,
    steps: options.StepsOption = None,
    guidance: options.GuidanceOption = None,
    scheduler: options.SchedulerOption = None,
    out: options.OutOption = None,
    force: options.ForceOption = False,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    dtype: options.DtypeOption = None,
    threads: options.ThreadsOption = None,
    compile: options.CompileOption = None,
    offline: options.OfflineOption = None,
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> None:
    """Draw pictures of prompts, one seed each.

    Writes OUT/NNNN.png and OUT/sheet.png. Without a prompt it draws from the empty one.

    \b
    Examples:
      origcli draw shapes --prompt "big red full circle and big blue full square"
      origcli draw runs/unet/pipeline -p "" -n 16 --out samples
      origcli draw sd15 -p "a photo of {S}" --embeddings runs/cat/cat-m3.safetensors
    """
    flags = {
        "draw": {"steps": steps, "guidance": guidance, "scheduler": scheduler},
        "runtime": {
            "seed": seed,
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "compile": compile,
            "offline": offline,
        },
    }
    settings = options.load_settings(preset, config, flags)
    from origcli.inversion import drawing as pictures
    from origcli.runtime.context import open_runtime

    target = options.run_path("draw", out, [Path(model).name], force)
    with open_runtime(
        settings.runtime, target, present.progress(quiet), options.existing(False, force)
    ) as runtime:
        rows = pictures.run(model, prompt or [""], images, settings, runtime, embeddings=embeddings)
    as_asked = [{**row, "file": str(target / Path(row["file"]).name)} for row in rows]
    present.rows(as_asked, ("file", "prompt", "seed"), form)
