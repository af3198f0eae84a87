"""The directory of a score run: what is recorded while it goes on, and the reports made of it.

plan.json        which images in which batches, with which settings and models; written first
provenance.json  what made the results; written once the models are open
results.jsonl    results as they come
errors.jsonl     images that could not be used
report.*         made of the above; `render` makes them anew, `merge` makes them of several runs
"""

import heapq
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from origcli.errors import InputError, UsageError
from origcli.inversion.embeddings import start_facts
from origcli.inversion.templates import read_templates
from origcli.reports.gallery import write_html, write_page
from origcli.reports.schema import Failure, Provenance, ScoreReport, ScoreResult, Status
from origcli.reports.writers import ResultLog, write_report
from origcli.runtime.atomic import (
    make_directory,
    read_json,
    storage_error,
    write_bytes,
    write_json,
    write_text,
)
from origcli.runtime.paths import path_text
from origcli.runtime.plan import first_difference, record_plan
from origcli.runtime.provenance import hash_value
from origcli.runtime.seeding import derive_seed
from origcli.scoring.batches import Batch
from origcli.scoring.summary import Tally
from origcli.settings import Settings

if TYPE_CHECKING:
    from origcli.reports.figures import Form

IMAGES, PROVENANCE = "images.json", "provenance.json"
RESULTS, ERRORS = "results.jsonl", "errors.jsonl"
FOLDERS = ("pictures", "pages", "embeddings")
_PLANNED = ("invert", "draw", "score", "detect")
_LISTED = TypeAdapter(list[tuple[int, str, str, str]])  # place, name, path and group
_ON_A_SHEET = 12  # images
_MOST_REPLICATES = 1_000_000  # more than any run asks for; a report of others must not fill the memory
_FORMS: "tuple[Form, ...]" = ("png", "pdf")


@dataclass(frozen=True)
class Plan:
    """What a run is.

    Attributes:
        facts: all that its results depend on.
        images: place in the whole list, name, path and group of each.
    """

    facts: dict[str, Any]
    images: list[tuple[int, str, str, str]]


def make_plan(
    batches: Sequence[Batch], places: Sequence[int], settings: Settings, made_by: Provenance
) -> Plan:
    """The plan of measuring batches.

    Args:
        places: of the images, batch by batch, in the whole list that the batches are a part of.
    """
    inputs = [one for batch in batches for one in batch.inputs]
    images = [
        (place, one.name, path_text(one.path), one.group) for place, one in zip(places, inputs, strict=True)
    ]
    batching = [[batch.templates, len(batch.inputs)] for batch in batches]
    lists = {batch.templates for batch in batches}
    facts = {
        **{section: getattr(settings, section).model_dump(mode="json") for section in _PLANNED},
        **made_by.makers(),
        "seed": settings.runtime.seed,
        "start": start_facts(settings.invert.initialization),
        "templates": {name: hash_value(read_templates(name)) for name in lists},
        "hash of the images": hash_value([images, batching]),
    }
    return Plan(facts, images)


def begin(directory: Path, plan: Plan) -> None:
    """Writes down what a run is; in a directory that knows already, makes sure that it is the same.

    Raises:
        UsageError: the directory is another run's; names the first difference.
    """
    record_plan(directory, plan.facts)
    write_json(directory / IMAGES, plan.images)


def with_page(directory: Path, result: ScoreResult, made_by: Provenance) -> ScoreResult:
    """The result with its page written."""
    named = result.model_copy(update={"page": f"pages/{result.id}.html"})
    write_page(directory, named, made_by)
    return named


def finish(
    directory: Path,
    results: Iterable[ScoreResult],
    failures: Sequence[Failure],
    made_by: Provenance,
    in_print: bool = False,
) -> ScoreReport:
    """Sums up and writes the reports.

    Args:
        results: may be gone through more than once; one is held in memory at a time.
        in_print: draw the figures of single images, too.

    Returns:
        The report; its results are left out where there are more than one.
    """
    write_json(directory / PROVENANCE, made_by.to_json())
    write_text(directory / ERRORS, "")
    errors = ResultLog(directory / ERRORS, Failure)
    for failure in failures:
        errors.append(failure)
    tally = Tally(_replicates(made_by), derive_seed(made_by.seed, "summary"))
    first: list[ScoreResult] = []
    for result in results:
        tally.add(result)
        first = first or [result]
    report = ScoreReport(
        status=Status.complete if not failures else Status.partial if first else Status.failed,
        provenance=made_by,
        results=(),
        errors=tuple(failures),
        summary=tally.summary(),
    )
    write_report(directory, report, results)
    write_html(directory, report, results)
    _write_figures(directory, report, results if in_print else ())
    return report.model_copy(update={"results": tuple(first)}) if tally.images == 1 else report


def _replicates(made_by: Provenance) -> int:
    """The setting `score.bootstrap`, which others may have damaged.

    Raises:
        InputError: it is not there, or is no number of replicates.
    """
    section = made_by.settings.get("score")
    found = section.get("bootstrap") if isinstance(section, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= _MOST_REPLICATES:
        raise InputError(f"{PROVENANCE}: damaged: score.bootstrap is {found!r}", "score the images again")
    return found


def _write_figures(directory: Path, report: ScoreReport, shown: Iterable[ScoreResult]) -> None:
    """Figures for print: groups where there are any; of each image shown, its curve and a row of pictures.

    The rows of the first images stand on one sheet, too. Names of images only follow a prefix, so that no
    image can be called like a sheet.
    """
    metric = report.provenance.metric.name if report.provenance.metric else "perceptual"
    groups = [group for group in (report.summary.groups if report.summary else ()) if group.curve]
    measured = (result for result in shown if result.curve)
    first = list(islice(measured, _ON_A_SHEET))
    if not groups and not first:
        return
    from origcli.reports import figures  # matplotlib takes a second, which a single image can do without

    folder = make_directory(directory / "figures")
    for form in _FORMS:
        if groups:
            write_bytes(folder / f"groups.{form}", figures.group_curves(groups, metric, form))
        if first:
            write_bytes(folder / f"images.{form}", figures.print_figure(directory, first, form))
    for result in chain(first, measured):
        for form in _FORMS:
            write_bytes(folder / f"curve-{result.id}.{form}", figures.distance_curve(result, metric, form))
            row = figures.print_figure(directory, [result], form)
            write_bytes(folder / f"drawings-{result.id}.{form}", row)


@dataclass(frozen=True)
class Saved:
    """A run as its directory tells it."""

    directory: Path
    made_by: Provenance
    results: ResultLog[ScoreResult]
    failures: list[Failure]
    images: list[tuple[int, str, str, str]]  # place, name, path and group

    @property
    def places(self) -> dict[str, int]:
        """Places in the whole list, by name and by path."""
        return {key: place for place, name, path, _ in self.images for key in (name, f"/{path}")}


def read_saved(directory: Path) -> Saved:
    """Opens the directory of a score run that came to its end.

    Raises:
        InputError: it is none, or it is damaged.
    """
    if not (directory / PROVENANCE).is_file() or not (directory / RESULTS).is_file():
        raise InputError(
            f"{directory}: not the directory of a finished score run", "go on with it first: --resume"
        )
    try:
        images = _LISTED.validate_python(read_json(directory / IMAGES))
        made_by = Provenance.model_validate(read_json(directory / PROVENANCE))
    except ValidationError as error:
        raise InputError(f"{directory}: not as a score run leaves it: {error.errors()[0]['msg']}") from error
    _replicates(made_by)  # before anything is written
    return Saved(
        directory,
        made_by,
        ResultLog(directory / RESULTS, ScoreResult),
        list(ResultLog(directory / ERRORS, Failure)),
        images,
    )


def render(directory: Path, in_print: bool = False) -> ScoreReport:
    """Makes the reports and pages of a run anew from what is recorded."""
    saved = read_saved(directory)
    for result in saved.results:
        if result.page is not None:
            write_page(directory, result, saved.made_by)
    return finish(directory, saved.results, saved.failures, saved.made_by, in_print)


def merge(sources: Sequence[Path], out: Path, in_print: bool = False) -> ScoreReport:
    """Joins runs, such as the shards of one, into a directory: the same bytes that one run would give.

    Raises:
        UsageError: the runs were made by different models or settings.
        InputError: two runs hold an image of the same name.
    """
    saved = [read_saved(source) for source in sources]
    made_by = saved[0].made_by
    for other in saved[1:]:
        if other.made_by != made_by:
            difference = first_difference(made_by.to_json(), other.made_by.to_json())
            raise UsageError(f"{sources[0]} and {other.directory} cannot be joined: {difference}")
    images = _distinct(saved)
    write_json(make_directory(out) / IMAGES, images)
    for source in sources:
        _copy_files(source, out)
    log = ResultLog(out / RESULTS, ScoreResult)
    for result in _in_order(saved):
        # Runs of one image each have no pages; what joins them has.
        log.append(result if len(images) == 1 else with_page(out, result, made_by))
    failures: list[tuple[int, Failure]] = []
    for one in saved:
        places = one.places
        failures += [(places.get(f"/{failure.path}", 0), failure) for failure in one.failures]
    failures.sort(key=lambda pair: pair[0])
    return finish(out, log, [failure for _, failure in failures], made_by, in_print)


def _distinct(saved: Sequence[Saved]) -> list[tuple[int, str, str, str]]:
    """The images of all runs, in the order of the whole list.

    Raises:
        InputError: two runs hold an image of the same name.
    """
    taken: dict[str, Path] = {}
    for one in saved:
        for _, name, _, _ in one.images:
            if name in taken:
                raise InputError(
                    f"{taken[name]} and {one.directory} both hold an image called {name!r}",
                    "score the images in one list, in shards",
                )
            taken[name] = one.directory
    return sorted(image for one in saved for image in one.images)


def _in_order(saved: Sequence[Saved]) -> Iterator[ScoreResult]:
    """All results by their places in the whole list, one of each run in memory at a time."""

    def stream(one: Saved) -> Iterator[tuple[int, ScoreResult]]:
        places = one.places
        for result in one.results:
            yield places.get(result.id, 0), result

    for _, result in heapq.merge(*map(stream, saved), key=lambda item: item[0]):
        yield result


def _copy_files(source: Path, out: Path) -> None:
    """The files that reports name. Runs have no links, and one of others could lead anywhere: they stay."""
    for folder in FOLDERS:
        if (source / folder).is_dir() and not (source / folder).is_symlink():
            try:
                shutil.copytree(source / folder, out / folder, dirs_exist_ok=True, ignore=_links)
            except OSError as error:
                raise storage_error(out / folder, error) from error


def _links(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_symlink()]
