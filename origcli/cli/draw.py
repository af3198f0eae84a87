"""`origcli draw`: images from any model."""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import argument, option
from origcli.cli.renamed import Formerly
from origcli.cli.run import ALL, Run, command


@command(ALL - {"resume", "dry_run"})
def draw(
    model: Annotated[
        str,
        argument(
            "MODEL",
            "shapes, sd15, sdxl, flux-dev … (fetch --list), a pipeline directory or a hub id.",
            words=options.MODELS,
        ),
    ],
    prompt: Annotated[
        list[str] | None,
        option("-p --prompt", "TEXT", "Prompt; repeatable. {S} stands for learned tokens."),
    ] = None,
    embeddings: Annotated[
        Path | None,
        option("--embeddings", "FILE", "Learned tokens that {S} stands for (`origcli invert`)."),
    ] = None,
    samples: Annotated[
        int, option("-n --samples", "N", "Number of samples per prompt.", min=1), Formerly("--images")
    ] = 4,
    steps: options.DenoisingStepsOption = None,
    guidance: options.GuidanceOption = None,
    scheduler: options.SchedulerOption = None,
    *,
    run: Run,
) -> None:
    """Generate images from prompts, one seed each.

    Writes OUT/NNNN.png, and OUT/report.html with all of them. Without a prompt, the prompt is empty.

    \b
    Examples:
      origcli draw shapes --prompt "big red full circle and big blue full square"
      origcli draw runs/unet/pipeline -p "" -n 16 --out samples
      origcli draw sd15 -p "a photo of {S}" --embeddings runs/cat/cat-m3.safetensors
    """
    with run.starting():
        from origcli.inversion.drawing import draw_images
        from origcli.weights.pipelines import pipeline_name

    place = run.place("draw", [pipeline_name(Path(model))])
    with run.open(run.settings, place) as runtime:
        target = runtime.given
        rows = draw_images(model, prompt or [""], samples, run.settings, runtime, embeddings=embeddings)
    as_asked = [{**row, "file": str(target / Path(row["file"]).name)} for row in rows]
    present.rows(as_asked, ("file", "prompt", "seed"), run.form)
