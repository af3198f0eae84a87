"""The measure of originality over any number of images: planned, resumable, streamed (supplement 5, 6)."""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from origcli.images.inputs import Input
from origcli.models.words import Vectors
from origcli.reports.dated import date_line
from origcli.reports.envelope import LeftOut
from origcli.reports.schema import Failure, Provenance, ScoreReport, ScoreResult
from origcli.reports.score import Parts
from origcli.reports.writers import ResultLog
from origcli.runtime.context import Runtime
from origcli.runtime.memory import release
from origcli.scoring.batches import Batch, make_batches, parts_of, take_parts
from origcli.scoring.costs import IMAGES, costs_of_run
from origcli.scoring.gate import Gate, check_threshold
from origcli.scoring.measurer import Outcome
from origcli.scoring.models import Models
from origcli.scoring.on_cluster import score_on_cluster
from origcli.scoring.on_processes import layout_of, score_on_processes
from origcli.scoring.recall import Made, Recall, find_recall
from origcli.scoring.run_archive import (
    RESULTS,
    add_page,
    check_run,
    follow_images,
    measured_before,
    record_run,
    write_reports,
)
from origcli.scoring.run_plan import make_plan
from origcli.scoring.self_calibration import read_self_calibration
from origcli.scoring.setup import check_names, check_tokens, open_measurer, open_models, provenance_of
from origcli.scoring.store import Store
from origcli.scoring.thresholds import find_threshold, is_calibrated_first, what_was_lost
from origcli.settings import Settings
from origcli.weights.registry import resolve

WORK = ".work"
_PHASES = 2  # of an image: its tokens are learned, samples are generated
_TOGETHER_ON_GPU = 4  # a CPU is busy with the token counts of one image

Listen = Callable[[Outcome], None]


@dataclass(frozen=True)
class Request:
    """What to score, apart from the settings.

    Attributes:
        inputs: the images.
        shard: `i/N` for a part of the batches.
        given: tokens learned before, by m.
        cache: directory of results kept by content; `None` keeps them in the run directory until its end.
        ray: address of a Ray cluster to spread the batches over.
        in_print: draw the figures of single images, too.
        dated: say on the pages when and with which command they were made.
        gates: conditions that the results will be held against.
        left_out: what the folders and archives of the images hold besides.
    """

    inputs: Sequence[Input]
    shard: str | None = None
    given: Mapping[int, Vectors] | None = None
    cache: Path | None = None
    ray: str | None = None
    in_print: bool = False
    dated: bool = False
    gates: Sequence[Gate] = ()
    left_out: Sequence[LeftOut] = ()


def score_images(
    request: Request,
    settings: Settings,
    runtime: Runtime,
    listen: Listen = lambda outcome: None,
    models: Models | None = None,
) -> ScoreReport:
    """Scores images and writes report.json, report.csv, report.html and a page an image.

    A run that was stopped is resumed, wherever its images are now; the reports of a run that was killed and
    resumed are those of an unbroken one, byte for byte.

    Args:
        listen: called with each outcome, in the order of the images, those found before a stop included.
        models: those of the settings, where they are open already.

    Returns:
        The report; its results are left out where there are more than one (they are in `results.jsonl`).

    Raises:
        UsageError: the run directory belongs to a run with other images, settings, models or packages;
            or a prompt, a start or a threshold is unsuitable. Then nothing is written.
    """
    whole, batches, parts = planned(request, settings, runtime)
    check_names(settings)
    entry = resolve(settings.score.model, runtime) if models is None else models.entry
    # Models that are open were opened by a program, which may have changed them.
    cache = request.cache if models is None else None
    recall = find_recall(cache, entry, request.given, settings, runtime)
    missing = [batch for batch in batches if recall is None or not recall.holds(batch)]
    if missing or recall is None or recall.made is None:
        models = models or open_models(settings, runtime, entry)
        check_tokens(models, batches, settings, request.given)
        made = _made(models, request, settings, runtime)
    else:
        made = recall.made
        check_threshold(request.gates, made.threshold)
    if made.lost:
        runtime.progress.say(made.lost)
    plan = make_plan(whole, batches, parts, settings, made.provenance, request.given)
    check_run(runtime.out, plan)
    log = ResultLog(runtime.out / RESULTS, ScoreResult)
    inputs = [image for batch in batches for image in batch.inputs]
    done = measured_before(log, inputs)
    left = [batch for batch in batches if not all(image.name in done for image in batch.inputs)]
    missing = [batch for batch in left if batch in missing]
    with runtime.progress.run(lambda: _costs(missing, len(inputs), models, made, request, settings, runtime)):
        measured = (
            iter(()) if models is None else _measured(whole, missing, models, request, settings, runtime)
        )

        record_run(runtime.out, plan)  # now that nothing is left that could be refused
        dated = date_line(runtime.out) if request.dated else ""
        follow_images(runtime.out, log, inputs, made.provenance, dated)
        models = None
        release()  # before workers open their own
        if recall is not None:
            measured = _with_kept(left, missing, measured, recall, made, runtime.out)
        is_alone = len(request.inputs) == 1
        failures = _keep_outcomes(measured, log, done, len(inputs), is_alone, dated, runtime, listen)
    report = write_reports(
        runtime.out,
        log,
        failures,
        made.provenance,
        len(inputs),
        parts,
        request.left_out,
        request.in_print,
        dated,
    )
    shutil.rmtree(runtime.out / WORK, ignore_errors=True)
    return report


def _made(models: Models, request: Request, settings: Settings, runtime: Runtime) -> Made:
    """What all results share, with a threshold that will do.

    Raises:
        UsageError, InputError: it will not.
    """
    store = Store(request.cache or runtime.out / WORK)
    threshold = find_threshold(models, settings, read_self_calibration(models, settings, store))
    if not is_calibrated_first(threshold, models, settings):
        check_threshold(request.gates, threshold)
    provenance = provenance_of("score", models, settings)
    return Made(provenance, threshold, what_was_lost(models, settings, threshold))


def _costs(
    missing: Sequence[Batch],
    images: int,
    models: Models | None,
    made: Made,
    request: Request,
    settings: Settings,
    runtime: Runtime,
) -> dict[str, float]:
    """What comes before the images and what these cost, where they are measured here (`Progress.run`)."""
    if models is None or not missing or request.ray is not None:
        return {}
    calibrates = is_calibrated_first(made.threshold, models, settings)
    store = Store(request.cache or runtime.out / WORK)
    return costs_of_run(images, models, settings, store, request.given, calibrates)


def _with_kept(
    left: Sequence[Batch],
    missing: Sequence[Batch],
    measured: Iterator[tuple[Provenance, Outcome]],
    recall: Recall,
    made: Made,
    directory: Path,
) -> Iterator[tuple[Provenance, Outcome]]:
    """The outcomes of batches in order: those that are kept from there, the others as they are measured.

    Args:
        missing: the batches that are not kept; `measured` has their outcomes.
    """
    recall.keep_made(made)
    for batch in left:
        if batch not in missing:
            yield from ((made.provenance, result) for result in recall.read(batch, directory))
            continue
        for image, (provenance, outcome) in zip(batch.inputs, measured, strict=False):
            if isinstance(outcome, ScoreResult):
                recall.keep(image, batch, outcome, directory)
            yield provenance, outcome


def _keep_outcomes(
    outcomes: Iterable[tuple[Provenance, Outcome]],
    log: ResultLog[ScoreResult],
    done: Collection[str],
    images: int,
    is_alone: bool,
    dated: str,
    runtime: Runtime,
    listen: Listen,
) -> list[Failure]:
    """Records the result of each image as it comes, with its page; gives the failures.

    Args:
        done: names of the images that had results before; `listen` hears of those first.
        images: how many there are.
        is_alone: there is a single image in the list, whose page is report.html itself.
        dated: the line of the pages about date and command, if they are to have one.
    """
    for result in log:
        listen(result)
    failures: list[Failure] = []
    with runtime.progress.task(IMAGES, images, len(done), phases=_PHASES) as bar:
        for provenance, outcome in outcomes:
            if isinstance(outcome, Failure):
                failures.append(outcome)
            elif outcome.id in done:
                continue
            else:
                outcome = outcome if is_alone else add_page(runtime.out, outcome, provenance, dated)
                log.append(outcome)
            listen(outcome)
            bar.advance(1)
    return failures


def planned(
    request: Request, settings: Settings, runtime: Runtime
) -> tuple[list[Batch], list[Batch], Parts | None]:
    """All batches of the list, those of this run, and which part of the list they are."""
    together = settings.score.together or (_TOGETHER_ON_GPU if runtime.device.type == "cuda" else 1)
    whole = make_batches(request.inputs, together, settings.invert.templates)
    parts = parts_of(request.shard)
    return whole, take_parts(whole, parts), parts


def _measured(
    whole: Sequence[Batch],
    batches: Sequence[Batch],
    models: Models,
    request: Request,
    settings: Settings,
    runtime: Runtime,
) -> Iterator[tuple[Provenance, Outcome]]:
    """The outcome of each image in order, and what made it; measured here, by processes, or on a cluster.

    Args:
        whole: all batches of the list.
        batches: those that are to be measured.

    Raises:
        UsageError, InputError: at once, where the reference, the threshold or the layout is unsuitable.
    """
    if not batches:
        return iter(())
    if request.ray is not None:
        return score_on_cluster(
            request.ray,
            batches,
            settings,
            request.given,
            request.cache,
            runtime.out,
            runtime.device.type == "cuda",
        )
    provenance = provenance_of("score", models, settings)
    kept, checkpoints = request.cache or runtime.out / WORK, runtime.out / WORK / "checkpoints"
    layout = layout_of(whole, models, settings, runtime)
    # Where processes measure, this makes and keeps what all of them need.
    measurer = open_measurer(models, settings, runtime, Store(kept), request.given, checkpoints)
    if layout.workers > 1:
        return score_on_processes(layout, batches, settings, request.given, kept, checkpoints, runtime.out)
    return ((provenance, outcome) for batch in batches for outcome in measurer.score(batch, runtime.out))
