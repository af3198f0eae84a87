"""The HTML reports: one self-contained page an image, and an overview of many.

Everything a page shows is inside it; its Content-Security-Policy forbids every request, and allows only
the one style sheet and script that belong to it, so that no name in a report can become code.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from heapq import nsmallest
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from origcli.reports import numerals, views
from origcli.reports.card import CARD, card
from origcli.reports.envelope import LeftOut, Provenance
from origcli.reports.picture_files import Inlined
from origcli.reports.saved_images import encoded
from origcli.reports.schema import GeneralizeReport
from origcli.reports.score import ScoreReport, ScoreResult
from origcli.reports.verdict import LIMITS, UNMEASURED_LIMITS, tokens
from origcli.runtime.atomic import make_directory, write_bytes, write_text

ROWS = 1000
ERRORS = 100


def page_html(
    directory: Path,
    result: ScoreResult,
    provenance: Provenance,
    home: str | None = None,
    dated: str = "",
    *,
    shapes_only: bool = False,
    left_out: Sequence[LeftOut] = (),
) -> str:
    """The page of one image.

    Args:
        directory: the report's; the image files named in `result` are read from it, and only from it.
        result: the measurement.
        provenance: of the report.
        home: the overview's address, relative to the page.
        dated: when and with which command it was made (`dated.date_line`), if that is to be shown.
        shapes_only: whether the model knows nothing but the shapes world.
        left_out: what was found beside the image, where it is the only one of its report.
    """
    view = views.page_view(directory, result, provenance, shapes_only)
    limits = LIMITS if result.curve else UNMEASURED_LIMITS
    shown = {**view, "provenance": provenance, "home": home, "limits": limits, "left_out": left_out}
    return render("page", shown, dated)


def write_page(
    directory: Path,
    result: ScoreResult,
    provenance: Provenance,
    dated: str = "",
    *,
    shapes_only: bool = False,
) -> str:
    """Writes an image's page and returns its name, relative to the report's directory.

    Args:
        dated, shapes_only: as for `page_html`.

    Raises:
        StorageError: the disk is full or the directory cannot be written.
    """
    name = f"pages/{result.id}.html"
    make_directory(directory / "pages")
    text = page_html(directory, result, provenance, "../report.html", dated, shapes_only=shapes_only)
    write_text(directory / name, text)
    return name


def overview_html(
    directory: Path,
    report: ScoreReport,
    results: Iterable[ScoreResult] | None = None,
    dated: str = "",
    *,
    shapes_only: bool = False,
) -> str:
    """The overview of many images: the `ROWS` most familiar of them, sortable and filterable.

    Args:
        directory: the report's.
        report: all but the results, or all of it.
        results: instead of `report.results`; each is needed once.
        dated, shapes_only: as for `page_html`.
    """
    counted = _Counted(report.results if results is None else results)
    rows = [views.overview_row(directory, result) for result in nsmallest(ROWS, counted, key=_familiar_first)]
    measured = any(row["most"] for row in rows)
    context = {
        **views.overview_view(report, rows, shapes_only),
        "measured": measured,
        "total": counted.count,
        "provenance": report.provenance,
        "errors": report.errors[:ERRORS],
        "more_errors": max(0, len(report.errors) - ERRORS),
        "left_out": report.left_out,
        "limits": LIMITS if measured else UNMEASURED_LIMITS,
    }
    return render("overview", context, dated)


def write_html(
    directory: Path,
    report: ScoreReport,
    results: Iterable[ScoreResult] | None = None,
    dated: str = "",
    *,
    shapes_only: bool = False,
) -> None:
    """Writes report.html: the page itself for a single image, with its card beside it; the overview for more.

    Args:
        results, dated, shapes_only: as for `overview_html`.

    Raises:
        StorageError: the disk is full or the directory cannot be written.
    """
    stream = iter(report.results if results is None else results)
    first = list(islice(stream, 2))
    if len(first) == 1 and not report.errors:
        text = page_html(
            directory,
            first[0],
            report.provenance,
            dated=dated,
            shapes_only=shapes_only,
            left_out=report.left_out,
        )
        write_bytes(directory / CARD, card(directory, first[0], report.provenance))
    else:
        text = overview_html(directory, report, _chained(first, stream), dated, shapes_only=shapes_only)
    write_text(directory / "report.html", text)


def generalize_html(directory: Path, report: GeneralizeReport, dated: str = "") -> str:
    """The report of the generalization experiments: the curves, the sheets, every experiment."""
    return render("generalize", views.generalize_view(directory, report), dated)


def write_generalize_html(directory: Path, report: GeneralizeReport, dated: str = "") -> None:
    """Writes report.html of the generalization experiments.

    Raises:
        StorageError: the disk is full or the directory cannot be written.
    """
    write_text(directory / "report.html", generalize_html(directory, report, dated))


def write_sheet_html(directory: Path, title: str, sheet: Image.Image) -> None:
    """Writes report.html with a sheet of samples inside: as a file of its own it would count as one of them.

    Raises:
        StorageError: the disk is full or the directory cannot be written.
    """
    shown = Inlined.of(encoded(sheet, None)[1], "image/png", *sheet.size)
    write_text(directory / "report.html", render("sheet", {"title": views.visible(title), "sheet": shown}))


def _familiar_first(result: ScoreResult) -> tuple[bool, float]:
    value = result.originality.value
    return value is None, value or 0.0


class _Counted:
    """Results, and how many went by."""

    def __init__(self, results: Iterable[ScoreResult]) -> None:
        self._results, self.count = results, 0

    def __iter__(self) -> Iterator[ScoreResult]:
        for result in self._results:
            self.count += 1
            yield result


def _chained(first: list[ScoreResult], rest: Iterable[ScoreResult]) -> Iterable[ScoreResult]:
    yield from first
    yield from rest


def render(name: str, context: Mapping[str, Any], dated: str = "") -> str:
    style, script = _text("style.css"), _text(f"{name}.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_fingerprint(style)}'; "
        f"script-src '{_fingerprint(script)}'; base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template(f"{name}.html")
    return template.render(**context, dated=dated, style=Markup(style), script=Markup(script), policy=policy)


def _fingerprint(text: str) -> str:
    """The source expression that allows exactly this inline text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _text(name: str) -> str:
    return resources.files("origcli.reports").joinpath("templates", name).read_text("utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("origcli.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=numerals.number,
        interval=numerals.interval,
        percent=numerals.percent,
        score_name=lambda name: views.SCORES.get(name, name),
        provenance_rows=views.provenance_rows,
        setting_rows=views.setting_rows,
        visible=views.visible,
        tokens=tokens,
    )
    return environment
