"""`origcli score`: how original images are to a model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from origcli.cli import options, present
from origcli.cli.invert import exit_code
from origcli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from origcli.runtime.context import Runtime
    from origcli.scoring.run import Request
    from origcli.settings import Settings

PLAN = ("stage", "count", "product", "tflop", "minutes", "batch", "gigabytes")
CACHE = "score"  # the room of the cache
BATCH = "Many images"


def score(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE…",
            help="Pictures, directories (folders are groups), quoted globs, CSV lists, or - for stdin.",
            show_default=False,
        ),
    ],
    model: options.ModelOption = None,
    max_tokens: options.MaxTokensOption = None,
    drawings: Annotated[
        int | None,
        typer.Option(
            "--images",
            metavar="N",
            help="Drawings for each number of tokens. [default: 20]",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    metric: options.MetricOption = None,
    detector: options.DetectorOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="D",
            help="Distance that counts as redrawn. [default: the registry's, if any]",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            metavar="REPORT",
            help="Score report of a reference set: gives a threshold, and each image's percentile in it.",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    until_reached: Annotated[
        bool | None,
        typer.Option(
            "--until-reached",
            help="Learn one number of tokens after the other; stop at the first that suffices.",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats",
            metavar="R",
            help="Invert each image R times and widen the intervals by it. [default: 1]",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    embeddings: Annotated[
        list[Path] | None,
        typer.Option(
            "--embeddings",
            metavar="FILE",
            help="Score these learned tokens; learn none. Once per number of tokens.",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    guidance: options.GuidanceOption = None,
    steps: options.StepsOption = None,
    scheduler: options.SchedulerOption = None,
    invert_steps: Annotated[
        int | None,
        typer.Option(
            "--invert-steps",
            metavar="N",
            help="Most steps of learning. [default: fast 250, paper 2000]",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option(
            "--templates",
            metavar="LIST",
            autocompletion=lambda: ["auto", "object", "art", "photo"],
            help="Prompts to learn in: object, art, photo (the one that is drawn from), a file, or auto: art "
            "for groups called art, else object. [default: fast photo, paper auto]",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    edit_prompt: Annotated[
        str | None,
        typer.Option(
            "--edit-prompt",
            metavar="TEXT",
            autocompletion=lambda: ["none"],
            help="Of the editability test of real models; `none` leaves it out. [default: cat with {S}]",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    crop: options.CropOption = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="Exit with 10 if an image meets it, e.g. 'originality<0.3'. Repeatable.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    allow_unmeasured: Annotated[
        bool,
        typer.Option(
            "--allow-unmeasured",
            help="Do not exit with 9 because of images that were not measured, or that a --fail-if condition "
            "cannot judge.",
            rich_help_panel=BATCH,
        ),
    ] = False,
    measure_anyway: Annotated[
        bool | None,
        typer.Option(
            "--measure-anyway",
            help="Measure images out of the model's domain, too.",
            rich_help_panel=options.MEASURE,
        ),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(
            "--group-column",
            metavar="NAME",
            help="Column of a list that holds the groups. [default: group]",
            rich_help_panel=BATCH,
        ),
    ] = None,
    follow_links: options.FollowLinksOption = False,
    together: Annotated[
        int | None,
        typer.Option(
            "--together",
            metavar="N",
            help="Images whose tokens are learned in one batch. [default: 1, on CUDA 4]",
            rich_help_panel=BATCH,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Score the I-th of N parts; origcli report merge joins them.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            autocompletion=lambda: ["auto"],
            help="Spread the images over a Ray cluster; auto: this machine's (origcli[ray]).",
            rich_help_panel=BATCH,
        ),
    ] = None,
    cache: options.CacheOption = True,
    keep_images: Annotated[
        bool | None,
        typer.Option(
            "--keep-images",
            help="Keep every drawing as it was measured, not a copy to look at.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    figures: Annotated[
        bool,
        typer.Option(
            "--figures",
            help="Draw figures for print of every image, too.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    force: options.ForceOption = False,
    dry_run: options.DryRunOption = False,
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
) -> int:
    """Measure how original images are to a model: how many learned tokens it needs to redraw them.

    Writes report.html (look at this), report.json, report.csv, the learned tokens and the pictures to --out.
    Results are kept by content, so that a second run, or one with more tokens, does only what is new.

    A condition of --fail-if is FIELD OPERATOR VALUE. Fields: originality, tokens_needed, distance_M,
    distance_0, floor, ceiling, psnr, l_det_M, l_det_0, percentile, in_distribution, and verdict (redrawn,
    not-redrawn, undecided, measured, out-of-domain). More than M tokens count as infinitely many. A
    condition that can never hold is refused.

    Exit status: 0 all images were measured; 9 one was not, because the model cannot show it, or a condition
    cannot be judged; 3 a file could not be read; 8 a loss or an image was not finite; 10 a condition held. Of
    several, the first of 10, 8, 3, 9.

    \b
    Examples:
      origcli score photo.jpg
      origcli score photo.jpg --max-tokens 5 --model sd15 --preset paper
      origcli score houses/common houses/original --format csv > scores.csv
      origcli score 'data/**/*.png' --reference runs/score-street-cats/report.json
      origcli score new.png --fail-if 'originality<0.3' --quiet
      origcli score list.csv --out runs/big --shard 3/16
      origcli score list.csv --out runs/big --resume
    """
    from origcli.cli.score_output import ScoreOutput
    from origcli.images.inputs import find_inputs
    from origcli.scoring.gate import check_gates, parse_gate

    gates = [parse_gate(text) for text in fail_if or ()]
    progress = present.progress(quiet)
    inputs = find_inputs(images, group_column=group_column, follow_links=follow_links, say=progress.say)
    flags: dict[str, dict[str, Any]] = {
        "score": {
            "model": model,
            "metric": metric,
            "detector": detector,
            "max_tokens": max_tokens,
            "images": drawings,
            "threshold": threshold,
            "reference": reference and str(reference),
            "until_reached": until_reached,
            "repeats": repeats,
            "edit_prompt": edit_prompt,
            "crop": crop,
            "together": together,
            "keep_images": keep_images,
            "measure_anyway": measure_anyway,
        },
        "invert": {"steps": invert_steps, "templates": templates},
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
    if embeddings and len(inputs) > 1:
        raise UsageError("--embeddings scores one image", "score each image with its own tokens")
    target = options.run_path("score", out, [one.name for one in inputs], resume or force)

    from origcli.runtime.cache import cache_directory
    from origcli.runtime.context import open_runtime
    from origcli.scoring.advice import why_unmeasured
    from origcli.scoring.run import Request, run

    given = _given(embeddings)
    check_gates(gates, settings.score, sorted(given) if given else None)
    request = Request(inputs, shard=shard, given=given, ray=ray, in_print=figures, gates=gates)
    if dry_run:
        with open_runtime(settings.runtime, progress=progress) as runtime:
            _print_plan(request, settings, runtime, form)
        return int(ExitCode.OK)
    output = ScoreOutput(form, gates, progress.say)
    with open_runtime(settings.runtime, target, progress, options.existing(resume, force)) as runtime:
        request = replace(request, cache=cache_directory(CACHE) if cache else None)
        report = run(request, settings, runtime, output.see)
        output.end(report, target)
        output.check_caught(target)
        status = exit_code({failure.code for failure in report.errors})
        if status == ExitCode.OK and not allow_unmeasured:
            count = len(output.unmeasured)
            output.check_measured(lambda: why_unmeasured(report.provenance, count, settings, runtime))
    return status


def _print_plan(request: "Request", settings: "Settings", runtime: "Runtime", form: options.Format) -> None:
    """What the run, or this shard of it, would do and cost, at most."""
    from dataclasses import asdict

    from origcli.scoring.dry_run import plan
    from origcli.scoring.run import planned
    from origcli.scoring.setup import open_models

    images = len(planned(request, settings, runtime)[1])
    models = open_models(settings, runtime)
    stages = [asdict(stage) for stage in plan(images, models, settings, runtime, request.given)]
    scored = "1 image" if images == 1 else f"{images} images"
    whole = {"stage": "all", "count": None, "product": f"{scored} on {runtime.device}"}
    sums = {name: sum(stage[name] for stage in stages) for name in ("tflop", "minutes")}
    peak = {"batch": None, "gigabytes": max(stage["gigabytes"] for stage in stages)}
    present.rows([*stages, {**whole, **sums, **peak}], PLAN, form)


def _given(embeddings: Sequence[Path] | None) -> "dict[int, Tensor] | None":
    """Learned tokens from files, by m.

    Raises:
        UsageError: two files hold as many tokens.
    """
    if not embeddings:
        return None
    from origcli.inversion.embeddings import load_embeddings

    given: dict[int, Tensor] = {}
    for path in embeddings:
        vectors = load_embeddings(path)[1]
        if len(vectors) in given:
            raise UsageError(f"{path}: another --embeddings holds {len(vectors)} tokens too", "give one an m")
        given[len(vectors)] = vectors
    return given
