"""Scores as Markdown for the summary page of a CI job, or for a comment on a pull request.

Names of files come from anyone: nothing in them can become a link, an image, HTML or a cell of its own.
Links are relative to the file, so that they work wherever it is kept with the report.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from origcli.reports.cases import Case, CaseState, Suite
from origcli.reports.compare import CompareReport
from origcli.reports.numerals import number
from origcli.reports.verdict import short
from origcli.reports.views import file_name, visible

SUMMARY_START = "<!-- origcli -->\n"
SHOWN = 100  # images of a suite: a job's summary has room for 1 MiB
_PUNCTUATION = re.compile(r"[\\`*_{}\[\]()#+!|~@:$^=&<>\"'-]")
_FIRST = (CaseState.failed, CaseState.broken, CaseState.skipped, CaseState.passed)


def suite_section(suite: Suite, here: Path) -> str:
    """The section of one score run.

    Args:
        here: the directory of the summary; links are relative to it.
    """
    return "".join(_suite(suite, here))


def comparison_section(
    report: CompareReport, directory: Path, thumbnails: Sequence[Path | None], here: Path
) -> str:
    """The section of a comparison.

    Args:
        directory: of the comparison.
        thumbnails: of its images, in their order.
        here: the directory of the summary.
    """
    assert report.summary is not None
    base, *others = [run.name for run in report.summary.runs]
    parts = [f"## Originality to {', '.join(map(plain, others))} against {plain(base)}\n\n"]
    for group in report.summary.groups:
        name = f"{code(group.group)}: " if group.group else ""
        parts.append(f"- {name}{plain(group.words)}\n")
    runs = [base, *others]
    head = ["", "image", *map(plain, runs), *(f"difference, {plain(name)}" for name in others)]
    parts += ["\n", _row(head), _row(["---"] * len(head))]
    for result, thumbnail in islice(zip(report.results, thumbnails, strict=True), SHOWN):
        scores = {score.run: short(score.originality) for score in result.scores}
        changes = {difference.run: _signed(difference.originality.value) for difference in result.differences}
        picture = "" if thumbnail is None else _image(thumbnail, here)
        cells = [picture, code(file_name(result.image)), *(scores.get(name, "") for name in runs)]
        parts.append(_row([*cells, *(changes.get(name, "") for name in others)]))
    parts += [_left_out(len(report.results)), _report(directory, here)]
    return "".join(parts)


def _suite(suite: Suite, here: Path) -> Iterator[str]:
    count = Counter(case.state for case in suite.cases())
    yield f"## Originality to {plain(suite.model)}\n\n"
    yield f"**{_headline(count)}**\n\n"
    if suite.conditions:
        yield f"An image fails if {' or '.join(map(code, suite.conditions))}.\n\n"
    if count.total():
        head = ("", "image", "verdict", "originality", "result")
        yield _row(head)
        yield _row(["---"] * len(head))
        for case in _most_wanted(suite):
            yield _case(case, suite.directory, here)
    yield _left_out(count.total())
    if suite.threshold:
        yield f"\n{plain(suite.threshold)}\n"
    if suite.left_out:
        yield "\n"
    for line in suite.left_out[:SHOWN]:
        yield f"- {plain(line)}\n"
    yield _report(suite.directory, here)


def _headline(count: Counter[CaseState]) -> str:
    """`2 of 12 images failed, 1 error`."""
    failed, images = count[CaseState.failed], "1 image" if count.total() == 1 else f"{count.total()} images"
    words = f"{failed} of {images} failed" if failed else f"{count[CaseState.passed]} of {images} passed"
    if broken := count[CaseState.broken]:
        words += f", {broken} could not be scored"
    if skipped := count[CaseState.skipped]:
        words += f", {skipped} not measured"
    return words


def _most_wanted(suite: Suite) -> Iterator[Case]:
    """The first cases, those that did not pass before the others."""
    listed = (case for state in _FIRST for case in suite.cases() if case.state is state)
    return islice(listed, SHOWN)


def _case(case: Case, directory: Path, here: Path) -> str:
    name = code(case.name.rstrip("/").rpartition("/")[2] or case.name)
    linked = f"[{name}]({link(directory / case.page, here)})" if case.page else name
    picture = _image(directory / case.thumbnail, here) if case.thumbnail else ""
    result = f"{case.state}: {plain(case.reason)}" if case.reason else str(case.state)
    return _row([picture, linked, plain(case.verdict), plain(case.originality), result])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _image(picture: Path, here: Path) -> str:
    return f"![]({link(picture, here)})"


def _left_out(count: int) -> str:
    return f"\n{count - SHOWN} more images are in the report.\n" if count > SHOWN else ""


def _report(directory: Path, here: Path) -> str:
    return f"\n[Report]({link(directory / 'report.html', here)})\n"


def _signed(value: float | None) -> str:
    return f"{'+' if value and value > 0 else ''}{number(value)}"


def plain(text: str) -> str:
    """Text in which no character has a meaning in Markdown or HTML."""
    return _PUNCTUATION.sub(lambda match: f"&#{ord(match[0])};", visible(text))


def code(text: str) -> str:
    """A name or condition in a fixed-width font. Hosts make no mention and no reference of what is in it."""
    return f"<code>{plain(text)}</code>"


def link(path: Path, here: Path) -> str:
    """The address of a file relative to a directory; absolute where they share no drive."""
    try:
        return quote(Path(os.path.relpath(path, here)).as_posix())
    except ValueError:
        return escape(path.resolve().as_uri())
