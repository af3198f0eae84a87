"""The pages of the studies: what was found, in words and tables; made again from report.json alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import InputError
from origcli.reports import studies
from origcli.reports.envelope import Failure, Report
from origcli.reports.schema import SCHEMAS, Estimate, Status
from origcli.reports.study_page import render_study, write_study_html
from origcli.reports.writers import write_report
from tests.reports import samples
from tests.reports.pages import Page
from tests.reports.test_schema import example

HOSTILE = "<script>alert(1)</script>"


def rarity(directory: Path, values: dict[str, float] | None = None) -> studies.RarityReport:
    """A rarity study whose mean originality by category is given."""
    values = {"common": 0.31, "rare": 0.44, "unseen": 0.61} if values is None else values
    scored = samples.report(*samples.many(None, 12, drawings=2), grouped=True)
    assert scored.summary is not None
    results = tuple(
        studies.RarityResult(
            category=group.name, images=group.count, out_of_domain=1, curve=group.curve,
            originality=Estimate.of(values[group.name], 0.2, 0.8), dataset_hash="d",
            tokens_needed=dict(sorted(group.tokens_needed.items())),
        )
        for group in scored.summary.groups if group.name in values
    )  # fmt: skip
    complete = len(values) == 3
    test = studies.OrderTest(
        score="originality", images=12, means=values, kendall_tau=Estimate.of(0.72, 0.6, 0.8), p_value=0.0001,
        in_order=values["common"] < values["rare"] < values["unseen"] if complete else None,
        test="9999 permutations",
        pairs=(
            studies.PairTest(lower="common", higher="unseen", auc=Estimate.of(0.97, 0.9, 1), p_value=0.002),
        ),
    )  # fmt: skip
    return studies.RarityReport(
        status=Status.complete, provenance=samples.provenance(command="rarity"), results=results,
        summary=studies.RaritySummary(tests=(test,), score_report="score"),
        errors=(Failure(path=HOSTILE, code="input", message=HOSTILE, hint=HOSTILE),),
    )  # fmt: skip


def popularity(directory: Path) -> studies.PopularityReport:
    groups = ("trained", "fresh")
    return studies.PopularityReport(
        status=Status.complete, provenance=samples.provenance(command="popularity"),
        results=tuple(
            studies.PopularityResult(group=one, images=15, distance=Estimate.of(0.2, 0.1, 0.3))
            for one in groups
        ),
        summary=studies.PopularitySummary(
            difference=Estimate.of(0.012, -0.03, 0.05), low_90=-0.02, high_90=0.04, margin=0.1,
            equivalent=True, words="Equivalent: they are redrawn alike, within 0.1.", score_report="score",
        ),
    )  # fmt: skip


def fixed_location(directory: Path) -> studies.FixedLocationReport:
    (directory / "figures").mkdir(exist_ok=True)
    samples.picture(1).save(directory / "figures" / "fixed-location.png")
    result = studies.FixedLocationResult(
        id="a", caption=HOSTILE, drawings=4, elements=8, matched=7, distance=Estimate.of(0.003, 0.002, 0.004),
        chance=Estimate.of(0.42),
    )  # fmt: skip
    return studies.FixedLocationReport(
        status=Status.complete, provenance=samples.provenance(command="fixed-location"), results=(result,),
        figures=("figures/fixed-location.png", "../../etc/passwd.png"),
        summary=studies.FixedLocationSummary(
            distance=Estimate.of(0.003, 0.002, 0.004), chance=Estimate.of(0.42), within=Estimate.of(1.0),
            chance_within=Estimate.of(0.05), p_value=0.0001, test="sign-flip test",
            score_report="javascript:alert(1)",
        ),
    )  # fmt: skip


STUDIES: dict[str, Callable[[Path], Report[Any]]] = {
    "rarity": rarity,
    "popularity": popularity,
    "fixed-location": fixed_location,
}


def page_of(directory: Path) -> Page:
    return Page((directory / "report.html").read_text("utf-8"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "rarity",
            (
                "Yes: the mean originality rises from common over rare to unseen (common 0.31, rare 0.44, "
                "unseen 0.61).",
                "unseen against common",
                "0.970",
                "0.720",
            ),
        ),
        ("popularity", ("Equivalent: they are redrawn alike", "0.012", "−0.020 to 0.040", "±0.1")),
        ("fixed-location", ("Yes: elements come back nearer to their places", "0.003", "0.420")),
    ],
)
def test_a_study_has_a_page_with_its_answer_and_its_numbers(
    tmp_path: Path, name: str, words: tuple[str, ...]
) -> None:
    write_study_html(tmp_path, STUDIES[name](tmp_path))
    page = page_of(tmp_path)
    for word in words:
        assert word in page.text
    assert [one["href"] for one in page.all("a") if not one["href"].startswith("#")] == ["score/report.html"]
    assert len(page.scripts) == len(page.styles) == 1 and "<script>alert" not in "".join(page.scripts)
    charts = {"rarity": 2, "popularity": 0, "fixed-location": 0}
    assert len(page.all("svg", **{"class": "chart"})) == charts[name]
    assert len(page.all("img", **{"class": "sheet"})) == (name == "fixed-location")


def test_no_page_claims_an_order_that_was_not_found(tmp_path: Path) -> None:
    for values, words in (
        ({"common": 0.5, "rare": 0.44, "unseen": 0.61}, "No: the mean originality does not rise"),
        ({"common": 0.5}, "Not decided"),
    ):
        write_study_html(tmp_path, rarity(tmp_path, values))
        assert words in page_of(tmp_path).text
    bare = example("fixed-location")
    write_study_html(tmp_path, bare)
    assert "Not decided" in page_of(tmp_path).text
    report = fixed_location(tmp_path)
    assert report.summary is not None
    unclear = report.summary.model_copy(update={"p_value": 0.4})
    write_study_html(tmp_path, report.model_copy(update={"summary": unclear}))
    assert "That is not shown" in page_of(tmp_path).text


@pytest.mark.fault(54, "rarity, popularity, fixed-location and generalize: the same bytes from report.json")
@pytest.mark.parametrize("name", [*STUDIES, "generalize"])
def test_a_page_is_made_again_from_its_report(tmp_path: Path, name: str) -> None:
    report: Report[Any] = STUDIES[name](tmp_path) if name in STUDIES else example(name)
    write_report(tmp_path, report)
    write_study_html(tmp_path, report)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("report.*")}
    for file in ("report.html", "report.csv"):
        (tmp_path / file).unlink()
    assert render_study(tmp_path) == report
    assert {path.name: path.read_bytes() for path in tmp_path.glob("report.*")} == before


@pytest.mark.fault(54, "what has no page, or is not finished, is named with the remedy")
def test_what_has_no_page_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no report\.json") as raised:
        render_study(tmp_path)
    assert "--resume" in raised.value.hint
    paged = {*STUDIES, "generalize"}
    for name in sorted(SCHEMAS.keys() - paged):
        write_report(tmp_path, example(name))
        with pytest.raises(InputError, match="no page can be made"):
            render_study(tmp_path)
