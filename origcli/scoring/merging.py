"""Joins score runs, such as the parts of one: the same bytes that one run would give.

Runs belong together by what is in them: settings, models and packages are compared by content. A part that is
not there is named, and the joined run is partial; joining it with that part later completes it.
"""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from origcli.errors import InputError, UsageError
from origcli.files import read_file
from origcli.inversion.token_files import SUFFIX
from origcli.reports.dated import date_line
from origcli.reports.picture_files import SUFFIXES
from origcli.reports.schema import Failure, ScoreReport, ScoreResult
from origcli.reports.score import Parts
from origcli.reports.writers import ResultLog
from origcli.runtime.atomic import claim_directory, make_directory, write_bytes, write_unsynced
from origcli.runtime.plan import refuse_changes
from origcli.runtime.provenance import hash_value
from origcli.scoring.run_archive import (
    MISSING_PART,
    RESULTS,
    Saved,
    add_page,
    read_saved,
    record_run,
    write_reports,
)
from origcli.scoring.run_plan import Plan, Planned

_OF_A_PART = frozenset({"of", "held", "list", "parts"})
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"RIFF", b"\xff\xd8\xff")  # of PNG, WebP and JPEG
_LARGEST = 64 << 20  # bytes of a sample, or of a file of learned tokens


def merge(sources: Sequence[Path], out: Path, in_print: bool = False, with_date: bool = False) -> ScoreReport:
    """Joins runs into the directory of a run.

    Args:
        with_date: say on the pages when and with which command they were joined.

    Raises:
        UsageError: the runs were made by different models or settings, or are parts of different lists.
        InputError: two runs hold an image of the same name, or the same part; or a run is not finished.
    """
    runs = [read_saved(source) for source in sources]
    for other in runs[1:]:
        problem = f"{sources[0]} and {other.directory} cannot be merged"
        refuse_changes(problem, runs[0].facts, other.facts, _OF_A_PART)
    parts = _joined_parts(runs)
    images = _distinct(runs)
    provenance = runs[0].provenance
    record_run(make_directory(out), Plan(_joined_facts(runs, images, parts), images, parts))

    dated = date_line(out) if with_date else ""
    log = ResultLog(out / RESULTS, ScoreResult)
    for run, result in _in_order(runs):
        _copy_files(run.directory, out, result)
        alone = result.model_copy(update={"page": None})  # its page is report.html itself
        log.append(alone if len(images) == 1 else add_page(out, result, provenance, dated))
    failures = [*_failures(runs), *_missing(parts)]
    # Parts of one list found the same beside it.
    left_out = list(dict.fromkeys(one for run in runs for one in run.left_out))
    return write_reports(out, log, failures, provenance, len(images), parts, left_out, in_print, dated)


def _joined_parts(runs: Sequence[Saved]) -> Parts | None:
    """Which parts of a list the runs hold together; `None` for all, and for runs of lists of their own.

    Raises:
        UsageError: they are parts of different lists, or parts and whole runs.
        InputError: two runs hold the same part.
    """
    first = runs[0]
    if all(run.parts is None for run in runs):
        return None
    held: dict[int, Path] = {}
    for run in runs:
        same = run.parts is not None and first.parts is not None and run.parts.of == first.parts.of
        if not same or run.facts.get("list") != first.facts.get("list"):
            raise UsageError(
                f"{first.directory} and {run.directory} cannot be merged: they are not parts of one list",
                "merge the parts of one list, made with the same --shard .../N",
            )
        assert run.parts is not None
        for part in run.parts.held:
            if part in held:
                raise InputError(f"{held[part]} and {run.directory} both hold part {part}/{run.parts.of}")
            held[part] = run.directory
    assert first.parts is not None
    joined = Parts(of=first.parts.of, held=tuple(sorted(held)))
    return joined if joined.missing else None


def _joined_facts(runs: Sequence[Saved], images: Sequence[Planned], parts: Parts | None) -> dict[str, Any]:
    """What the joined results depend on: for all parts of a list, what one run over it would record."""
    lists = {run.facts.get("list") for run in runs}
    (whole,) = lists if len(lists) == 1 else (hash_value([[image.name, image.group] for image in images]),)
    return {**runs[0].facts, "list": whole, "parts": None if parts is None else parts.to_json()}


def _missing(parts: Parts | None) -> Iterator[Failure]:
    for part in () if parts is None else parts.missing:
        assert parts is not None
        yield Failure(
            code=MISSING_PART,
            message=f"part {part}/{parts.of} is missing",
            hint=f"score it with --shard {part}/{parts.of}, and merge it with this run",
        )


def _distinct(runs: Sequence[Saved]) -> list[Planned]:
    """The images of all runs, in the order of the whole list.

    Raises:
        InputError: two runs hold an image of the same name.
    """
    taken: dict[str, Path] = {}
    for run in runs:
        for image in run.images:
            if image.name in taken:
                raise InputError(
                    f"{taken[image.name]} and {run.directory} both hold an image called {image.name!r}",
                    "score the images in one list, in parts (--shard)",
                )
            taken[image.name] = run.directory
    return sorted(image for run in runs for image in run.images)


def _in_order(runs: Sequence[Saved]) -> Iterator[tuple[Saved, ScoreResult]]:
    """All results by their places in the whole list, one of each run in memory at a time."""

    def stream(number: int, run: Saved) -> Iterator[tuple[int, int, ScoreResult]]:
        places = run.places
        for result in run.results:
            yield places.get(result.id, 0), number, result

    streams = [stream(number, run) for number, run in enumerate(runs)]
    for _, number, result in heapq.merge(*streams, key=lambda item: item[:2]):
        yield runs[number], result


def _failures(runs: Sequence[Saved]) -> list[Failure]:
    """The images that failed, by their places in the whole list."""
    placed: list[tuple[int, Failure]] = []
    for run in runs:
        places = run.places
        placed += [
            (places.get(f"/{failure.path}", 0), failure)
            for failure in run.failures
            if failure.code != MISSING_PART
        ]
    return [failure for _, failure in sorted(placed, key=lambda pair: pair[0])]


def _copy_files(source: Path, out: Path, result: ScoreResult) -> None:
    """Copies the samples and tokens that a result names, if they are such: a run may come from others.

    Pages are made again. Links are not followed, and what is not in its place stays where it is.
    """
    pictures = [name for point in result.curve for name in point.drawings]
    if result.pictures is not None:
        shown = result.pictures
        pictures += [shown.query, shown.thumbnail, *filter(None, [shown.round_trip]), *shown.without_tokens]
    if result.in_distribution is not None:
        pictures += result.in_distribution.drawings
    for name in dict.fromkeys(pictures):
        data = _own_file(source, name, f"pictures/{result.id}/", [*SUFFIXES])
        if data is not None and data.startswith(_SIGNATURES):
            claim_directory((out / name).parent)
            write_unsynced(out / name, data)
    for name in result.embeddings:
        data = _own_file(source, name, f"embeddings/{result.id}-m", [SUFFIX])
        if data is not None:
            make_directory((out / name).parent)
            write_bytes(out / name, data)


def _own_file(source: Path, name: str, beginning: str, suffixes: Sequence[str]) -> bytes | None:
    """A file of a run by its name there; `None` if it is elsewhere, behind a link, or cannot be read."""
    parts = PurePosixPath(name).parts
    path = source.joinpath(*parts)
    folders = [source.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    fits = name.startswith(beginning) and ".." not in parts and path.suffix in suffixes
    if not fits or any(folder.is_symlink() for folder in folders):
        return None
    try:
        return read_file(path, _LARGEST)
    except InputError:
        return None
