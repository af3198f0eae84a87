"""The directory of a score run: what is recorded while it goes on, and the reports made of it.

plan.json        what the results depend on, and which part of a list of images this is; written first
images.json      the images: place in the whole list, name, path and group
provenance.json  what made the results; written once all images are done
results.jsonl    results as they come
errors.jsonl     images that could not be used
left-out.json    what the folders and archives of the images hold besides
report.*         made of the above; `render` makes them again, `merging.merge` makes them of several runs
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from origcli.errors import InputError, UsageError
from origcli.images.contents import refuse_exchanged, refuse_other_images
from origcli.images.inputs import Input
from origcli.reports import gallery
from origcli.reports.dated import date_line
from origcli.reports.envelope import LeftOut
from origcli.reports.schema import Failure, Provenance, ScoreReport, ScoreResult, Status
from origcli.reports.score import Parts
from origcli.reports.writers import ResultLog, write_report
from origcli.runtime.atomic import make_directory, read_json, write_bytes, write_json, write_text
from origcli.runtime.plan import PLAN_NAME, record_plan, refuse_changes
from origcli.runtime.run_record import read_run_record
from origcli.runtime.seeding import derive_seed
from origcli.scoring.choices import knows_shapes_only
from origcli.scoring.run_plan import Plan, Planned
from origcli.scoring.summary import Tally

if TYPE_CHECKING:
    from origcli.reports.figures import Form

IMAGES, PROVENANCE = "images.json", "provenance.json"
RESULTS, ERRORS = "results.jsonl", "errors.jsonl"
LEFT_OUT = "left-out.json"
MISSING_PART = "part"  # code of the failure that stands for a part of the whole that is not there
_LISTED = TypeAdapter(list[Planned])
_LEFT_OUT = TypeAdapter(tuple[LeftOut, ...])
_ON_A_SHEET = 12  # images
_MOST_REPLICATES = 1_000_000  # more than any run asks for; a report of others must not fill the memory
_FORMS: "tuple[Form, ...]" = ("png", "pdf")

R = TypeVar("R")


# -- while a run goes on -------------------------------------------------------------------------


def check_run(directory: Path, plan: Plan) -> None:
    """Makes sure that a directory holds no other run; one without any may take this.

    Raises:
        UsageError: it does; names the differences, or an image.
    """
    if not (directory / PLAN_NAME).exists():
        return
    before = read_json(directory / PLAN_NAME)
    refuse_changes(f"{directory}: holds a run with other settings", before, plan.facts, frozenset({"list"}))
    if (directory / IMAGES).exists():
        was, now = (
            {image.name: (image.place, image.group) for image in images}
            for images in (_read_images(directory), plan.images)
        )
        refuse_other_images(directory, was, now)
    if before.get("list") != plan.facts["list"]:
        raise UsageError(
            f"{directory}: holds a part of another list of images",
            "give the same list, or overwrite the run with --force",
        )


def record_run(directory: Path, plan: Plan) -> None:
    """Writes down what a run is; in a directory that knows already, where its images are now."""
    record_plan(directory, plan.facts)
    write_json(directory / IMAGES, plan.images)
    if not (directory / RESULTS).exists():
        write_text(directory / RESULTS, "")  # a part of a list may have no images


def measured_before(log: ResultLog[ScoreResult], inputs: Sequence[Input]) -> set[str]:
    """The names of images that have results from an earlier run.

    Raises:
        UsageError: an image was exchanged under its name.
    """
    measured = {result.id: result.image.sha256 for result in log}
    refuse_exchanged(inputs, measured)
    return set(measured)


def follow_images(
    directory: Path,
    log: ResultLog[ScoreResult],
    inputs: Sequence[Input],
    provenance: Provenance,
    dated: str = "",
) -> None:
    """Gives the results of images that have moved, and their pages, the new paths."""
    paths = {image.name: image.where for image in inputs}
    if any(result.image.path != paths.get(result.id, result.image.path) for result in log):
        log.replace(_moved(directory, result, paths[result.id], provenance, dated) for result in log)


def _moved(
    directory: Path, result: ScoreResult, path: str, provenance: Provenance, dated: str
) -> ScoreResult:
    result = result.model_copy(update={"image": result.image.moved_to(path)})
    if result.page is not None:
        _write_page(directory, result, provenance, dated)
    return result


def add_page(directory: Path, result: ScoreResult, provenance: Provenance, dated: str = "") -> ScoreResult:
    """Writes the page of a result, and names it there."""
    named = result.model_copy(update={"page": f"pages/{result.id}.html"})
    _write_page(directory, named, provenance, dated)
    return named


def _write_page(directory: Path, result: ScoreResult, provenance: Provenance, dated: str) -> None:
    gallery.write_page(directory, result, provenance, dated, shapes_only=knows_shapes_only(provenance))


# -- at its end ----------------------------------------------------------------------------------


def write_reports(
    directory: Path,
    results: Iterable[ScoreResult],
    failures: Sequence[Failure],
    provenance: Provenance,
    images: int,
    parts: Parts | None = None,
    left_out: Sequence[LeftOut] = (),
    in_print: bool = False,
    dated: str = "",
) -> ScoreReport:
    """Sums up and writes the reports.

    Args:
        results: may be gone through more than once; one is held in memory at a time.
        images: how many have to have a result or a failure.
        parts: which part of a list the results are of.
        left_out: what the folders and archives of the images hold besides.
        in_print: draw the figures of single images, too.
        dated: the line about date and command, if the page is to have one (`date_line`).

    Returns:
        The report; its results are left out where there are more than one.

    Raises:
        InputError: an image has neither a result nor a failure.
    """
    tally = Tally(_replicates(provenance), derive_seed(provenance.seed, "summary"))
    first: list[ScoreResult] = []
    for result in results:
        tally.add(result)
        first = first or [result]
    accounted = tally.images + sum(failure.code != MISSING_PART for failure in failures)
    if accounted != images:
        raise InputError(
            f"{directory}: {accounted} of {images} images have a result or an error",
            "resume the run with --resume",
        )

    write_json(directory / PROVENANCE, provenance.to_json())
    write_text(directory / ERRORS, "")
    errors = ResultLog(directory / ERRORS, Failure)
    for failure in failures:
        errors.append(failure)
    write_json(directory / LEFT_OUT, [one.to_json() for one in left_out])
    report = ScoreReport(
        status=Status.complete if not failures else Status.partial if first else Status.failed,
        provenance=provenance,
        results=(),
        errors=tuple(failures),
        summary=tally.summary(),
        parts=parts,
        left_out=tuple(left_out),
    )
    write_report(directory, report, results)
    shapes_only = knows_shapes_only(provenance)
    gallery.write_html(directory, report, results, dated, shapes_only=shapes_only)
    _write_figures(directory, report, results if in_print else ())
    return report.model_copy(update={"results": tuple(first)}) if tally.images == 1 else report


def _replicates(provenance: Provenance) -> int:
    """The setting `score.bootstrap`, which others may have damaged.

    Raises:
        InputError: it is not there, or is no number of replicates.
    """
    section = provenance.settings.get("score")
    replicates = section.get("bootstrap") if isinstance(section, dict) else None
    if (
        not isinstance(replicates, int)
        or isinstance(replicates, bool)
        or not 1 <= replicates <= _MOST_REPLICATES
    ):
        raise InputError(
            f"{PROVENANCE}: damaged: score.bootstrap is {replicates!r}", "score the images again"
        )
    return replicates


def _write_figures(directory: Path, report: ScoreReport, shown: Iterable[ScoreResult]) -> None:
    """Figures for print: groups where there are any; of each image shown, its curve and a row of images.

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


# -- afterwards ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Saved:
    """A run as its directory tells it.

    Attributes:
        facts: all that its results depend on (`run_plan.Plan`).
    """

    directory: Path
    facts: dict[str, Any]
    provenance: Provenance
    results: ResultLog[ScoreResult]
    failures: list[Failure]
    images: list[Planned]
    parts: Parts | None
    left_out: tuple[LeftOut, ...] = ()

    @property
    def places(self) -> dict[str, int]:
        """Places in the whole list, by name and by path."""
        return {key: image.place for image in self.images for key in (image.name, f"/{image.path}")}


def read_saved(directory: Path) -> Saved:
    """Opens the directory of a score run that came to its end.

    Raises:
        InputError: it is none, it is not finished, or it is damaged.
    """
    record = read_run_record(directory)
    if record is None or not (directory / RESULTS).is_file() or not (directory / IMAGES).is_file():
        raise InputError(f"{directory}: not the directory of a score run", "give what origcli score wrote")
    if record["state"] != "finished" or not (directory / PROVENANCE).is_file():
        raise InputError(f"{directory}: this run is not finished", "resume it first: --resume")
    facts = read_json(directory / PLAN_NAME)
    provenance = _read(directory / PROVENANCE, Provenance.model_validate)
    _replicates(provenance)  # before anything is written
    if not isinstance(facts, dict):
        raise InputError(f"{directory / PLAN_NAME}: not written by a score run")
    return Saved(
        directory,
        facts,
        provenance,
        ResultLog(directory / RESULTS, ScoreResult),
        list(ResultLog(directory / ERRORS, Failure)),
        _read_images(directory),
        None if facts.get("parts") is None else _read(directory / PLAN_NAME, _parts),
        _read_left_out(directory),
    )


def _parts(facts: Any) -> Parts:
    return Parts.model_validate(facts["parts"])


def _read_images(directory: Path) -> list[Planned]:
    return _read(directory / IMAGES, _LISTED.validate_python)


def _read_left_out(directory: Path) -> tuple[LeftOut, ...]:
    if not (directory / LEFT_OUT).exists():
        return ()  # an earlier version wrote the run
    return _read(directory / LEFT_OUT, _LEFT_OUT.validate_python)


def _read(path: Path, parse: Callable[[Any], R]) -> R:
    try:
        return parse(read_json(path))
    except ValidationError as error:
        raise InputError(f"{path}: not written by a score run: {error.errors()[0]['msg']}") from error


def render_run(directory: Path, in_print: bool = False, with_date: bool = False) -> ScoreReport:
    """Makes the reports and pages of a run again from what is recorded.

    Args:
        with_date: say on the pages when and with which command the run was made.
    """
    saved = read_saved(directory)
    dated = date_line(directory) if with_date else ""
    for result in saved.results:
        if result.page is not None:
            _write_page(directory, result, saved.provenance, dated)
    return write_reports(
        directory,
        saved.results,
        saved.failures,
        saved.provenance,
        len(saved.images),
        saved.parts,
        saved.left_out,
        in_print,
        dated,
    )
