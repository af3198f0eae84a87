"""The pages of the studies rarity, popularity and fixed-location, and every study's page made again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from origcli.errors import InputError
from origcli.reports import charts
from origcli.reports.charts import Chart
from origcli.reports.dated import date_line
from origcli.reports.envelope import Estimate, Report
from origcli.reports.gallery import render, write_generalize_html
from origcli.reports.numerals import interval, number
from origcli.reports.picture_files import Inlined, inlined
from origcli.reports.schema import GeneralizeReport
from origcli.reports.score import GroupSummary
from origcli.reports.studies import (
    FixedLocationReport,
    OrderTest,
    PopularityReport,
    RarityReport,
    RaritySummary,
)
from origcli.reports.verdict import needed_words
from origcli.reports.views import named
from origcli.reports.writers import read_report, write_report
from origcli.runtime.atomic import write_text

SCORES = {
    "originality": "originality",
    "tokens_needed": "tokens needed",
    "distance_1": "d(1)",
    "l_det": "denoising loss",
}
_GROUPS = {"trained": "trained on", "fresh": "fresh"}
_SHOWN = 1000  # rows of queries


@dataclass(frozen=True)
class Table:
    """A table of a page: headings and cells; columns from `words` on hold numbers."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


@dataclass(frozen=True)
class Part:
    """A section of a page."""

    title: str
    tables: Sequence[Table] = ()
    panels: Sequence[Chart] = ()
    picture: Inlined | None = None
    caption: str = ""
    note: str = ""


def write_study_html(directory: Path, report: Report[Any], dated: str = "") -> None:
    """Writes the report.html of a study.

    Args:
        dated: the line about date and command, if the page is to have one (`date_line`).

    Raises:
        InputError: no page can be made of a report of this command alone.
        StorageError: the disk is full or the directory cannot be written.
    """
    if isinstance(report, GeneralizeReport):
        write_generalize_html(directory, report, dated)
        return
    view = _VIEWS.get(type(report))
    if view is None:
        raise InputError(
            f"{directory}: a report of {report.provenance.command}, of which alone no page can be made",
            "pages are made again of score, rarity, popularity, fixed-location and generalize",
        )
    shared = {
        "provenance": report.provenance,
        "errors": report.errors,
        "model": named(report.provenance.model, "the model"),
    }
    write_text(directory / "report.html", render("study", {**shared, **view(directory, report)}, dated))


def render_study(directory: Path, with_date: bool = False) -> Report[Any]:
    """Writes report.json, report.csv and report.html of a finished study again, from its report.json.

    Args:
        with_date: say on the page when and with which command the run was made.

    Raises:
        InputError: there is no report, it is damaged, or it is of a command that has no page.
    """
    if not (directory / "report.json").is_file():
        raise InputError(
            f"{directory}: not the directory of a finished run: it has no report.json",
            "finish the run first, with its command and --resume",
        )
    report = read_report(directory)
    write_study_html(directory, report, date_line(directory) if with_date else "")
    write_report(directory, report)
    return report


def rarity_view(directory: Path, report: RarityReport) -> dict[str, Any]:
    """What the page of a rarity study shows."""
    metric = named(report.provenance.metric, "perceptual")
    groups = [
        GroupSummary(
            name=result.category,
            count=result.images,
            out_of_domain=result.out_of_domain,
            curve=result.curve,
            originality=result.originality,
            tokens_needed=result.tokens_needed,
        )
        for result in report.results
    ]
    tests = report.summary.tests if report.summary else ()
    categories = Table(
        ("Category", "Images by tokens needed", "Images", "Out of domain", "Originality", "95 % interval"),
        [
            (
                result.category,
                "; ".join(f"{needed_words(text)}: {count}" for text, count in result.tokens_needed.items())
                or "–",
                str(result.images),
                str(result.out_of_domain),
                number(result.originality.value, 3),
                interval(result.originality, 3),
            )
            for result in report.results
        ],
        words=2,
    )
    return {
        "title": "Does the measure rank what the model saw often, seldom and never?",
        "kicker": "Supplement 6.1: pairs of elements that are common, rare or unseen in the training data",
        "words": _rarity_words(report),
        "tally": _tally(report, sum(result.images for result in report.results), _outside(report.results)),
        "parts": [
            Part(
                "The categories",
                [categories],
                charts.group_panels(groups, metric),
                caption=f"Average {metric} distance between images and their samples, by category, with 95 % "
                "intervals over images and seeds.",
            ),
            Part(
                "Is the order as expected?",
                _order_tables(tests),
                note="Kendall's τ is 1 where every score rises from common over rare to unseen, 0 where "
                "order and category have nothing to do with each other. ROC-AUC: the chance that an image of "
                "the first category scores above one of the second; 0.5 is no difference."
                + (f" p of the order: {tests[0].test}; of a pair: two-sided." if tests else ""),
            ),
            *_apart(report.summary),
        ],
    }


def _apart(summary: RaritySummary | None) -> list[Part]:
    """The tests without images whose elements stand close together, where there are such images."""
    if summary is None or not summary.close or summary.gap is None:
        return []
    close = "1 image" if summary.close == 1 else f"{summary.close} images"
    note = (
        f"Without {close} in which two elements are nearer than {summary.gap:.1%} of the width: what nearly "
        "touches is harder to draw and to count, however often it was seen."
    )
    return [Part("The same where elements stand apart", _order_tables(summary.apart), note=note)]


def _order_tables(tests: Sequence[OrderTest]) -> list[Table]:
    """Of the categories in order, and of each pair of them."""
    orders = Table(
        ("Score", "In order", "Images", "Common", "Rare", "Unseen", "Kendall's τ", "95 % interval", "p"),
        [
            (
                SCORES[test.score],
                {True: "yes", False: "no", None: "not tested"}[test.in_order],
                str(test.images),
                *(number(test.means.get(name), 3) for name in ("common", "rare", "unseen")),
                *_with_interval(test.kendall_tau),
                number(test.p_value, 4),
            )
            for test in tests
        ],
        words=2,
    )
    pairs = Table(
        ("Pair", "Score", "ROC-AUC", "95 % interval", "p"),
        [
            (
                f"{pair.higher} against {pair.lower}",
                SCORES[test.score],
                *_with_interval(pair.auc),
                number(pair.p_value, 4),
            )
            for test in tests
            for pair in test.pairs
        ],
        words=2,
    )
    return [orders, pairs]


def _rarity_words(report: RarityReport) -> str:
    test = (
        next((test for test in report.summary.tests if test.score == "originality"), None)
        if report.summary
        else None
    )
    if test is None or test.in_order is None:
        return "Not decided: not every category has an image that was measured."
    means = ", ".join(f"{name} {number(test.means[name], 2)}" for name in ("common", "rare", "unseen"))
    answer = "Yes: the mean originality rises" if test.in_order else "No: the mean originality does not rise"
    return f"{answer} from common over rare to unseen ({means})."


def popularity_view(directory: Path, report: PopularityReport) -> dict[str, Any]:
    """What the page of a popularity study shows."""
    groups = Table(
        ("Group", "Images", "Out of domain", "d(1)", "95 % interval"),
        [
            (
                _GROUPS[result.group],
                str(result.images),
                str(result.out_of_domain),
                *_with_interval(result.distance),
            )
            for result in report.results
        ],
    )
    summary = report.summary
    parts = [Part("The groups", [groups], note="d(1): the mean distance of samples with one learned token.")]
    if summary is not None and summary.difference.value is not None:
        ends = Estimate.of(summary.difference.value, summary.low_90, summary.high_90)
        compared = Table(
            ("Fresh less trained", "95 % interval", "90 % interval", "Margin"),
            [
                (
                    number(summary.difference.value, 3),
                    interval(summary.difference, 3),
                    interval(ends, 3),
                    f"±{summary.margin:g}",
                )
            ],
            words=0,
        )
        parts.append(
            Part(
                "Are they alike?",
                [compared],
                note="Two one-sided tests at 5 %: the groups count as equivalent where the 90 % interval of "
                "the difference lies within the margin, which was set before any image was measured.",
            )
        )
    return {
        "title": "Does having seen an image make it easier to redraw?",
        "kicker": "Supplement 5: common images that the model was trained on, against fresh ones",
        "words": summary.words if summary else "Not decided: nothing was measured.",
        "tally": _tally(report, sum(result.images for result in report.results), _outside(report.results)),
        "parts": parts,
    }


def fixed_location_view(directory: Path, report: FixedLocationReport) -> dict[str, Any]:
    """What the page of a fixed-location study shows."""
    summary = report.summary
    parts = []
    if summary is not None:
        rows = [
            (
                "Distance from their places, in widths",
                *_with_interval(summary.distance),
                number(summary.chance.value, 3),
            ),
            (
                "Share within a tenth of the width",
                *_with_interval(summary.within),
                number(summary.chance_within.value, 3),
            ),
        ]
        together = Table(("All elements together", "Found", "95 % interval", "At uniform places"), rows)
        note = f"{summary.test}; p = {number(summary.p_value, 4)}."
        parts.append(Part("All images together", [together], note=note))
    if sheet := next((name for name in report.figures if name.endswith(".png")), None):
        parts.append(
            Part(
                "Images and their samples",
                picture=inlined(directory, sheet),
                caption="Each image on the left; on the right its samples with one learned token (figure 3).",
            )
        )
    queries = Table(
        ("Image", "Elements", "Found again", "Distance", "95 % interval", "At uniform places"),
        [
            (
                result.caption,
                str(result.elements),
                str(result.matched),
                *_with_interval(result.distance),
                number(result.chance.value, 3),
            )
            for result in report.results[:_SHOWN]
        ],
    )
    left_out = len(report.results) - _SHOWN
    parts.append(
        Part("Images", [queries], note=f"{left_out} more are in report.csv." if left_out > 0 else "")
    )
    return {
        "title": "Do elements come back in their places?",
        "kicker": "Supplement 3: a model that only ever saw pairs of elements in one place each",
        "words": _place_words(report),
        "tally": _tally(report, len(report.results), 0),
        "parts": parts,
    }


def _place_words(report: FixedLocationReport) -> str:
    summary = report.summary
    if summary is None or summary.distance.value is None or summary.chance.value is None:
        return "Not decided: no element of an image was found in its samples."
    nearer = summary.p_value is not None and summary.p_value < 0.05
    answer = "Yes: elements come back nearer to their places than chance" if nearer else "That is not shown"
    return (
        f"{answer}: they are {number(summary.distance.value, 3)} image widths from them on average, and "
        f"elements at uniform places would be {number(summary.chance.value, 3)}."
    )


def _with_interval(estimate: Estimate) -> tuple[str, str]:
    return number(estimate.value, 3), interval(estimate, 3)


def _outside(results: Sequence[Any]) -> int:
    return sum(result.out_of_domain for result in results)


def _tally(report: Report[Any], measured: int, outside: int) -> list[tuple[str, int]]:
    return [
        ("images measured", measured),
        *([("out of domain", outside)] if outside else []),
        *([("failed", len(report.errors))] if report.errors else []),
    ]


_VIEWS: dict[type[Report[Any]], Callable[[Path, Any], dict[str, Any]]] = {
    RarityReport: rarity_view,
    PopularityReport: popularity_view,
    FixedLocationReport: fixed_location_view,
}
