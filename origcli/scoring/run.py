"""The measure of originality over any number of images: planned, resumable, streamed (supplement 5, 6)."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from origcli.images.inputs import Input
from origcli.models.words import Vectors
from origcli.reports.schema import Failure, Provenance, ScoreReport, ScoreResult
from origcli.reports.writers import ResultLog
from origcli.runtime.context import Runtime
from origcli.runtime.memory import release
from origcli.runtime.plan import check_plan
from origcli.scoring.batches import Batch, make_batches, take_shard
from origcli.scoring.gate import Gate, check_threshold
from origcli.scoring.models import Models
from origcli.scoring.on_cluster import score_on_cluster
from origcli.scoring.run_archive import RESULTS, begin, finish, make_plan, with_page
from origcli.scoring.scorer import Outcome
from origcli.scoring.self_calibration import read_own_scale
from origcli.scoring.setup import check_tokens, open_models, open_scorer, provenance
from origcli.scoring.store import Store
from origcli.scoring.thresholds import calibrates_itself, find_threshold, what_was_lost
from origcli.settings import Settings

WORK = ".work"
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
        gates: conditions that the results will be held against.
    """

    inputs: Sequence[Input]
    shard: str | None = None
    given: Mapping[int, Vectors] | None = None
    cache: Path | None = None
    ray: str | None = None
    in_print: bool = False
    gates: Sequence[Gate] = ()


def run(
    request: Request, settings: Settings, runtime: Runtime, listen: Listen = lambda outcome: None
) -> ScoreReport:
    """Scores images and writes report.json, report.csv, report.html and a page an image.

    A run directory that holds a part of the same run is gone on with; the reports of a run that was
    killed and gone on with are those of an unbroken one, byte for byte.

    Args:
        listen: called with each outcome, in the order of the images, those found before a stop included.

    Returns:
        The report; its results are left out where there are more than one (they are in `results.jsonl`).

    Raises:
        UsageError: the run directory belongs to a run with other images, settings, models or packages;
            or a prompt, a start or a threshold will not do. Then nothing is written.
    """
    batches, places = planned(request, settings, runtime)
    models = open_models(settings, runtime)
    check_tokens(models, batches, settings, request.given)
    store = Store(request.cache or runtime.out / WORK)
    threshold = find_threshold(models, settings, read_own_scale(models, settings, store))
    if threshold.source != "none" or not calibrates_itself(models, settings):
        check_threshold(request.gates, threshold)
    if lost := what_was_lost(models, settings, threshold):
        runtime.progress.say(lost)
    made_by = provenance("score", models, settings)
    plan = make_plan(batches, places, settings, made_by)
    check_plan(runtime.out, plan.facts)
    log = ResultLog(runtime.out / RESULTS, ScoreResult)
    done = set()
    for result in log:
        listen(result)
        done.add(result.id)
    left = [batch for batch in batches if not all(one.name in done for one in batch.inputs)]
    outcomes = _outcomes(left, models, request, settings, runtime)
    begin(runtime.out, plan)  # now that nothing is left that could be refused
    del models
    if request.ray is not None:
        release()  # the workers open their own
    failures: list[Failure] = []
    with runtime.progress.task("images", sum(len(batch.inputs) for batch in batches), len(done)) as bar:
        for made_by, outcome in outcomes:
            if isinstance(outcome, Failure):
                failures.append(outcome)
            elif outcome.id in done:
                continue
            else:
                # The page of a single image is report.html itself.
                outcome = outcome if len(request.inputs) == 1 else with_page(runtime.out, outcome, made_by)
                log.append(outcome)
            listen(outcome)
            bar.advance(1)
    report = finish(runtime.out, log, failures, made_by, request.in_print)
    shutil.rmtree(runtime.out / WORK, ignore_errors=True)
    return report


def planned(request: Request, settings: Settings, runtime: Runtime) -> tuple[list[Batch], list[int]]:
    """The batches of this run, and the place of each of their images in the whole list."""
    together = settings.score.together or (_TOGETHER_ON_GPU if runtime.device.type == "cuda" else 1)
    batches = make_batches(request.inputs, together, settings.invert.templates)
    starts = [0, *accumulate(len(batch.inputs) for batch in batches)]
    chosen = take_shard(batches, request.shard)
    return chosen, [starts[batch.number] + i for batch in chosen for i in range(len(batch.inputs))]


def _outcomes(
    batches: Sequence[Batch], models: Models, request: Request, settings: Settings, runtime: Runtime
) -> Iterator[tuple[Provenance, Outcome]]:
    """The outcome of each image in order, and what made it; computed here or on a cluster.

    Raises:
        UsageError, InputError: at once, where the reference or the threshold will not do.
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
    made_by = provenance("score", models, settings)
    store = Store(request.cache or runtime.out / WORK)
    scorer = open_scorer(models, settings, runtime, store, request.given, runtime.out / WORK / "checkpoints")
    return ((made_by, outcome) for batch in batches for outcome in scorer.score(batch, runtime.out))
