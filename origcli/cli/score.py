"""`origcli score`: how original images are to a model."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from origcli.cli import options, present
from origcli.cli.binding import Sets, flag, option
from origcli.cli.ci_files import CiFiles, JunitOption, SummaryOption
from origcli.cli.run import Run, command
from origcli.errors import ExitCode, UsageError, exit_code

if TYPE_CHECKING:
    from origcli.reports.envelope import LeftOut
    from origcli.runtime.context import Runtime
    from origcli.scoring.run import Request
    from origcli.settings import Settings

PLAN = ("stage", "count", "product", "tflop", "minutes", "batch", "gigabytes")
DROP_OF_PLAN = ("batch", "tflop", "count")
BATCH = "Many images"


@command()
def score(
    images: options.GroupedImagesArgument,
    model: options.ModelsOption = None,
    max_tokens: options.MaxTokensOption = None,
    samples: options.SamplesOption = None,
    metric: options.MetricOption = None,
    detector: options.DetectorOption = None,
    threshold: Annotated[
        float | None,
        option("--threshold", "D", "Distance that counts as redrawn.", options.MEASURE),
        Sets("score.threshold", unset="calibrated"),
    ] = None,
    calibrate: options.CalibrateOption = None,
    reference: Annotated[
        Path | None,
        option(
            "--reference",
            "REPORT",
            "Score report of a reference set: gives a threshold, and each image's percentile in it.",
            options.MEASURE,
        ),
        Sets("score.reference", str),
    ] = None,
    until_reached: Annotated[
        bool | None,
        flag(
            "--until-reached",
            "Learn 1 token, then 2 …, and stop at the first number that is enough.",
            options.MEASURE,
        ),
        Sets("score.until_reached"),
    ] = None,
    repeats: Annotated[
        int | None,
        option(
            "--repeats",
            "R",
            "Learn the tokens of each image R times; the intervals then include how much they differ.",
            options.MEASURE,
        ),
        Sets("score.repeats"),
    ] = None,
    embeddings: Annotated[
        list[Path] | None,
        option(
            "--embeddings",
            "FILE",
            "Score these learned tokens; learn none. One file for each number of tokens.",
            options.MEASURE,
        ),
    ] = None,
    guidance: options.GuidanceOption = None,
    steps: options.DenoisingStepsOption = None,
    scheduler: options.SchedulerOption = None,
    invert_steps: options.LearningStepsOption = None,
    templates: Annotated[
        str | None,
        option(
            "--templates",
            "LIST",
            "Prompts to learn with: object, art, photo (the sampling prompt), a file, or auto: art "
            "for groups called art, else object.",
            options.LEARNING,
            words=("auto", "object", "art", "photo"),
        ),
        Sets("invert.templates"),
    ] = None,
    edit_prompt: Annotated[
        str | None,
        option(
            "--edit-prompt",
            "TEXT",
            "Prompt of the editability test of real models; `none` skips it.",
            options.MEASURE,
            words=("none",),
        ),
        Sets("score.edit_prompt"),
    ] = None,
    crop: options.CropOption = None,
    fail_if: Annotated[
        list[str] | None,
        option(
            "--fail-if",
            "CONDITION",
            "Exit with 10 if an image meets it, e.g. 'originality<0.3'. Repeatable. With several models: if "
            "it does under the last.",
            BATCH,
        ),
    ] = None,
    allow_unmeasured: Annotated[
        bool,
        flag(
            "--allow-unmeasured",
            "Do not exit with 9 because of images that were not measured, or that a --fail-if condition "
            "cannot judge.",
            BATCH,
        ),
    ] = False,
    measure_anyway: Annotated[
        bool | None,
        flag("--measure-anyway", "Measure images outside the model's domain, too.", options.MEASURE),
        Sets("score.measure_anyway"),
    ] = None,
    group_column: Annotated[
        str | None,
        option("--group-column", "NAME", "Column of a list that holds the groups. [default: group]", BATCH),
    ] = None,
    image_column: options.ImageColumnOption = None,
    follow_links: options.FollowLinksOption = False,
    together: Annotated[
        int | None,
        option("--together", "N", "Images whose tokens are learned in one batch.", BATCH),
        Sets("score.together", unset="1; on CUDA: 4"),
    ] = None,
    shard: Annotated[
        str | None,
        option("--shard", "I/N", "Score the I-th of N parts; origcli report merge merges them.", BATCH),
    ] = None,
    workers: Annotated[
        int | None,
        option(
            "--workers",
            "N",
            "On a CPU, processes that score several images; each opens the model.",
            BATCH,
        ),
        Sets("runtime.workers", unset="one per core, where it pays and --threads is not given"),
    ] = None,
    ray: Annotated[str | None, options.cluster("Spread the images over a Ray cluster", BATCH)] = None,
    cache: options.CacheOption = True,
    keep_images: Annotated[
        bool | None,
        flag("--keep-images", "Keep every sample at full quality, as it was measured.", options.OUTPUT),
        Sets("score.keep_images"),
    ] = None,
    figures: Annotated[
        bool,
        flag("--figures", "Write figures for print for every image, too.", options.OUTPUT),
    ] = False,
    junit: JunitOption = None,
    summary: SummaryOption = None,
    dated: options.DatedOption = False,
    verbose: options.VerboseOption = False,
    *,
    run: Run,
) -> int:
    """Measure how original images are to a model: how many learned tokens it needs to redraw them.

    Writes report.html (open this), report.json, report.csv, the learned tokens and the samples to --out.
    Results are cached by content: a second run, or one with more tokens, computes only what is new.

    A condition of --fail-if is FIELD OPERATOR VALUE. Fields: originality, tokens_needed, distance_M,
    distance_0, floor, ceiling, psnr, l_det_M, l_det_0, percentile, in_distribution, and verdict (redrawn,
    not-redrawn, undecided, measured, out-of-domain). More than M tokens count as infinity. A condition
    that can never hold is refused.

    With --model given twice or more, each model has its own run, OUT/MODEL, and OUT/comparison holds
    the comparison with the first model (origcli compare), which is also what is printed in the form of
    --format; --fail-if judges the last model; --resume and --force hold for all runs; --dry-run shows the
    cost of each. --shard, --embeddings and --reference are for one model.

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
      origcli score art/ --fail-if 'originality<0.3' --junit originality.xml --summary originality.md
      origcli score 'shards/*.tar' --group-column set
      origcli score list.csv --out runs/big --shard 3/16
      origcli score list.csv --out runs/big --resume
      origcli score art/ --model sd15 --model runs/tuned/pipeline --out runs/learned
    """
    from origcli.cli.score_output import ScoreOutput
    from origcli.images.inputs import find_inputs
    from origcli.scoring.gate import check_gates, parse_gate

    gates = [parse_gate(text) for text in fail_if or ()]
    settings = run.settings
    left_out: list[LeftOut] = []
    inputs = find_inputs(
        images,
        group_column=group_column,
        image_column=image_column,
        follow_links=follow_links,
        offline=settings.runtime.offline,
        say=run.progress.say,
        left_out=left_out,
    )
    if embeddings and len(inputs) > 1:
        raise UsageError("--embeddings scores one image", "score each image with its own tokens")
    for name, value in {"--embeddings": embeddings, "--shard": shard}.items():
        if value and len(model or ()) > 1:
            raise UsageError(
                f"{name} goes with one --model",
                "score with each model, then compare the runs: origcli compare RUN RUN",
            )

    files = CiFiles(junit, summary)
    files.check()

    with run.starting():
        from origcli.inversion.embeddings import read_several
        from origcli.runtime.cache import SCORES, cache_path, find_cache
        from origcli.scoring.advice import why_unmeasured
        from origcli.scoring.cases import suite_of
        from origcli.scoring.run import Request, score_images

    given = read_several(embeddings) if embeddings else None
    check_gates(gates, settings.score, sorted(given) if given else None)
    request = Request(
        inputs,
        shard=shard,
        given=given,
        ray=ray,
        in_print=figures,
        dated=dated,
        gates=gates,
        left_out=left_out,
    )
    models = model or [settings.score.model]
    if run.dry_run:
        with run.open(settings, None) as runtime:
            request = replace(request, cache=cache_path(SCORES) if cache else None)
            _print_plan(request, models, settings, runtime, run.form)
        return int(ExitCode.OK)
    if len(models) > 1:
        return _score_each(request, models, cache, allow_unmeasured, files, run)

    output = ScoreOutput(run.form, gates, run.progress.say, verbose=verbose)
    learned = [str(path) for path in embeddings or ()]
    place = run.place("score", [image.name for image in inputs], shard=shard, embeddings=learned)
    with run.open(settings, place) as runtime:
        files.begin()
        request = replace(request, cache=find_cache(SCORES, run.progress.say) if cache else None)
        report = score_images(request, settings, runtime, output.see)
        files.write([suite_of(runtime.given, report, gates, lenient=allow_unmeasured)])
        output.end(report, runtime.given)
        output.check_caught(runtime.given)
        status = exit_code({failure.code for failure in report.errors})
        if status == ExitCode.OK and not allow_unmeasured:
            output.check_measured(
                lambda: why_unmeasured(report.provenance, output.unmeasured, settings, runtime)
            )
    return status


def _score_each(
    request: "Request",
    models: Sequence[str],
    cache: bool,
    allow_unmeasured: bool,
    files: CiFiles,
    run: Run,
) -> int:
    """A run of each model, and their comparison, which is what is printed."""
    from origcli.cli.compare import print_comparison
    from origcli.cli.score_output import ScoreOutput
    from origcli.runtime.cache import SCORES, find_cache
    from origcli.runtime.run_place import request_of
    from origcli.scoring.advice import why_unmeasured
    from origcli.scoring.cases import suite_of
    from origcli.scoring.compare import compare_runs, write_comparison
    from origcli.scoring.run import score_images
    from origcli.scoring.several import COMPARISON, opened_inside, settings_of

    names = [image.name for image in request.inputs]
    place = run.place(f"score-{len(models)}-models", names, models=list(models))
    codes: set[str] = set()
    measured, suites = [], []
    with run.open(run.settings, place) as runtime:
        files.begin()
        each = settings_of(models, run.settings, runtime)
        request = replace(request, cache=find_cache(SCORES, run.progress.say) if cache else None)
        for number, (name, settings) in enumerate(each.items(), 1):
            run.progress.say(f"model {number} of {len(each)}: {name}")
            gates = request.gates if number == len(each) else ()
            # A table is printed at its end, which is not asked for: stdout is the comparison's.
            output = ScoreOutput(options.Format.table, gates, run.progress.say)
            with opened_inside(runtime, name, run.existing, request_of("score", settings, names)) as inside:
                report = score_images(replace(request, gates=gates), settings, inside, output.see)
            if output.threshold:
                run.progress.say(output.threshold)
            suites.append(suite_of(runtime.given / name, report, gates, lenient=allow_unmeasured))
            codes |= {failure.code for failure in report.errors}
            measured.append((output, report.provenance, settings))

        compared, runs = compare_runs([runtime.given / name for name in each])
        again = "replace" if run.resume else run.existing
        with opened_inside(
            runtime, COMPARISON, again, request_of("compare", run.settings, list(each))
        ) as inside:
            write_comparison(inside.given, compared, runs)
            files.write(suites, (compared, inside.given, runs))
            print_comparison(compared, inside.given, run)
        output.check_caught(runtime.given / name)
        status = exit_code(codes)
        for output, made_by, settings in () if status or allow_unmeasured else measured:
            output.check_measured(partial(why_unmeasured, made_by, output.unmeasured, settings, runtime))
    return status


def _print_plan(
    request: "Request", models: Sequence[str], settings: "Settings", runtime: "Runtime", form: options.Format
) -> None:
    """What the runs, or this shard of one, would do and cost, at most."""
    if len(models) == 1:
        present.rows(_plan(request, settings, runtime), PLAN, form, drop=DROP_OF_PLAN)
        return
    from origcli.scoring.several import settings_of

    each = settings_of(models, settings, runtime)
    rows = [{"model": name, **row} for name, own in each.items() for row in _plan(request, own, runtime)]
    present.rows(rows, ("model", *PLAN), form, drop=DROP_OF_PLAN)


def _plan(request: "Request", settings: "Settings", runtime: "Runtime") -> list[dict[str, Any]]:
    """The stages of a run, and their sum."""
    from dataclasses import asdict

    from origcli.scoring.dry_run import calibrates_first, plan_score
    from origcli.scoring.run import planned
    from origcli.scoring.setup import open_models

    _, batches, _ = planned(request, settings, runtime)
    images = sum(len(batch.inputs) for batch in batches)
    models = open_models(settings, runtime)
    first = calibrates_first(models, settings, request.cache)
    stages = [asdict(stage) for stage in plan_score(images, models, settings, runtime, request.given, first)]
    scored = "1 image" if images == 1 else f"{images} images"
    whole = {"stage": "all", "count": None, "product": f"{scored} on {runtime.device}"}
    sums = {name: sum(stage[name] for stage in stages) for name in ("tflop", "minutes")}
    peak = {"batch": None, "gigabytes": max(stage["gigabytes"] for stage in stages)}
    return [*stages, {**whole, **sums, **peak}]
