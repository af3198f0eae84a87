"""The measure of originality over any number of images: planned, resumable, streamed (supplement 5, 6)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from origcli.errors import UsageError
from origcli.experiments.batches import Batch, make_batches, take_shard
from origcli.experiments.opening import drawing_seeds, open_models, open_scorer, provenance
from origcli.experiments.scorer import Outcome
from origcli.experiments.store import Store
from origcli.experiments.summary import Tally
from origcli.reports.gallery import write_html, write_page
from origcli.reports.schema import Failure, Provenance, ScoreReport, ScoreResult, Status
from origcli.reports.writers import ResultLog, write_report
from origcli.runtime.context import Runtime
from origcli.runtime.inputs import Input
from origcli.runtime.paths import path_text
from origcli.runtime.provenance import hash_value
from origcli.runtime.run_directory import read_json, write_json
from origcli.runtime.seeding import derive_seed
from origcli.settings import Settings

LOG = "results.jsonl"
PLAN = "plan.json"

Listen = Callable[[Outcome], None]


@dataclass(frozen=True)
class Request:
    """What to score, apart from the settings.

    Attributes:
        inputs: the images.
        shard: `i/N` for a part of the batches.
        given: tokens learned before, by m.
        cache: directory of results kept by content; `None` keeps them in the run directory alone.
    """

    inputs: Sequence[Input]
    shard: str | None = None
    given: Mapping[int, Tensor] | None = None
    cache: Path | None = None


def run(
    request: Request, settings: Settings, runtime: Runtime, listen: Listen = lambda outcome: None
) -> ScoreReport:
    """Scores images and writes report.json, report.csv, report.html and a page an image.

    A run directory that holds a part of the same run is gone on with; the reports of a run that was
    killed and gone on with are those of an unbroken one, byte for byte.

    Args:
        listen: called with each outcome, in the order of the images, those found before a stop included.

    Returns:
        The report, without its results where there is more than one image (they are in `results.jsonl`).

    Raises:
        UsageError: the run directory belongs to a run with other images or settings.
    """
    batches = make_batches(request.inputs, images_together(settings), settings.invert.templates)
    batches = take_shard(batches, request.shard)
    _record_plan(runtime.out, batches, settings)
    models = open_models(settings, runtime)
    store = Store(request.cache or runtime.out / ".work")
    scorer = open_scorer(models, settings, runtime, store, request.given)
    made_by = provenance(
        "score", models, settings, runtime, drawing_seeds(runtime.seed, settings.score.images)
    )
    log = ResultLog(runtime.out / LOG, ScoreResult)
    done = set()
    for result in log:
        listen(result)
        done.add(result.id)
    failures: list[Failure] = []
    alone = len(request.inputs) == 1
    with runtime.progress.task("images", sum(len(batch.inputs) for batch in batches), len(done)) as bar:
        for batch in batches:
            if all(one.name in done for one in batch.inputs):
                continue
            for outcome in scorer.score(batch, runtime.out):
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                elif outcome.id not in done:
                    outcome = _with_page(runtime.out, outcome, made_by, alone)
                    log.append(outcome)
                else:
                    continue
                listen(outcome)
                bar.advance(1)
    return finish(runtime.out, log, failures, made_by, scorer.scale.ceiling, settings)


def images_together(settings: Settings) -> int:
    """How many images' tokens are learned together."""
    return settings.score.together or 1


def _with_page(directory: Path, result: ScoreResult, made_by: Provenance, alone: bool) -> ScoreResult:
    """The result with its page written; the page of a single image is report.html itself."""
    if alone:
        return result
    named = result.model_copy(update={"page": f"pages/{result.id}.html"})
    write_page(directory, named, made_by)
    return named


def finish(
    directory: Path,
    results: Iterable[ScoreResult],
    failures: Sequence[Failure],
    made_by: Provenance,
    ceiling: float,
    settings: Settings,
) -> ScoreReport:
    """Sums up and writes the reports, from results that can be gone through more than once."""
    tally = Tally(ceiling, settings.score.bootstrap, derive_seed(settings.runtime.seed, "summary"))
    first: ScoreResult | None = None
    for result in results:
        first = first or result
        tally.add(result)
    status = Status.complete if not failures else Status.partial if first else Status.failed
    report = ScoreReport(
        status=status, provenance=made_by, results=(), errors=tuple(failures), summary=tally.summary()
    )
    write_report(directory, report, results)
    write_html(directory, report, results)
    if first is not None and tally.images == 1:
        return report.model_copy(update={"results": (first,)})
    return report


def _record_plan(directory: Path, batches: Sequence[Batch], settings: Settings) -> None:
    """Writes down what this run is; in a directory that knows already, makes sure that it is the same.

    Raises:
        UsageError: it is another run's; names the first difference.
    """
    plan = {
        "settings": {
            section: values
            for section, values in settings.model_dump(mode="json").items()
            if section in ("invert", "draw", "score", "detect")
        }
        | {"seed": settings.runtime.seed},
        "batches": hash_value(
            [
                [batch.templates, [[path_text(i.path), i.name, i.group] for i in batch.inputs]]
                for batch in batches
            ]
        ),
    }
    path = directory / PLAN
    if not path.exists():
        write_json(path, plan)
        return
    before = read_json(path)
    if before == plan:
        return
    raise UsageError(
        f"{directory}: holds a run with other settings: {_difference(before, plan)}",
        "repeat its words to go on with it, or start over with --force",
    )


def _difference(before: Any, now: Any, name: str = "") -> str:
    """The first value that differs, by its name."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                return _difference(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    return "other images" if name == "batches" else f"{name} was {before}, is {now}"
