"""The HTML reports as documents: complete, self-contained, and deaf to hostile names."""

import base64
import hashlib
from pathlib import Path

import pytest

from origcli.reports import gallery
from origcli.reports.envelope import LeftOut
from origcli.reports.schema import Estimate, Failure, Landmarks, ModelFacts, ScoreReport, Threshold, Trend
from origcli.reports.verdict import LIMITS
from tests.reports import samples
from tests.reports.pages import Page
from tests.reports.test_figures import summary
from tests.reports.test_schema import example

HOSTILE = (
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "{{ 7 * 7 }}.png",
    "</style><script>alert(1)</script>.png",
    "javascript:alert(1)",
    "file:caf%E9.png",
    "a\nb\u202egnp.exe",
)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScoreReport]:
    directory = tmp_path_factory.mktemp("scored")
    return directory, samples.report(samples.result(directory))


def test_a_page_shows_the_whole_measurement(scored: tuple[Path, ScoreReport]) -> None:
    directory, report = scored
    (result,) = report.results
    page = Page(gallery.page_html(directory, result, report.provenance))
    assert "Partly familiar to shapes: redrawn after 2 tokens" in page.text
    assert result.verdict.words in page.text
    pictures = page.all("img")
    assert len([p for p in pictures if p.get("src", "").startswith("data:image/")]) == 2 + 3 + 6 + 6 * 20 + 10
    assert all("alt" in picture for picture in pictures)
    for point in result.curve:
        assert point.distance.value is not None
        assert f"{point.distance.value:.3f}" in page.text
    for fact in (result.image.sha256, "ab" * 32, "torch 2.14.1", "guidance 3", "score.prompt", "EXIF turn 6"):
        assert fact in page.text
    for limit in LIMITS:
        assert limit in page.text


@pytest.mark.parametrize(("within", "failed"), [(3, False), (1, True)])
def test_pages_show_where_the_threshold_comes_from_and_its_control(
    tmp_path: Path, within: int, failed: bool
) -> None:
    threshold = Threshold(
        value=0.42, source="samples", how="90% quantile", control_images=4, control_within=within
    )
    report = samples.report(samples.result(tmp_path, threshold=threshold))
    pages = (
        gallery.page_html(tmp_path, report.results[0], report.provenance),
        gallery.overview_html(tmp_path, report),
    )
    for text in pages:
        page = Page(text)
        assert "0.42 (own samples)" in page.text
        assert page.text.count(f"one token redraws {within} of 4 of the model's own samples") == 1 + failed
        assert len(page.all("p", **{"class": "warning"})) == failed


def test_the_samples_that_tell_stand_first_and_the_round_trip_under_how_it_was_measured(
    scored: tuple[Path, ScoreReport],
) -> None:
    directory, report = scored
    text = gallery.page_html(directory, report.results[0], report.provenance)
    places = [
        text.index(words)
        for words in (
            "<h1>", "The image</b>", "Nearest sample</b>", "Typical sample with 2 tokens</b>",
            "Typical sample without tokens</b>", 'class="scale"', "Is a high number original?",
            "Does it work on my photo, on my machine?", "How long does it take?", "What was found",
            "<details>", "Denoising loss on fixed noise", "</details>", "What the model generates",
            "How it was measured", "through the model's image coder and back",
        )
    ]  # fmt: skip
    assert places == sorted(places)


def test_landmarks_stand_on_the_scale_and_nowhere_without(scored: tuple[Path, ScoreReport]) -> None:
    directory, report = scored
    (bare,) = report.results
    known = Landmarks(originality={"<b>seen</b>": 0.03, "unseen": 0.2}, images=20, how="mean of 20 images")
    marked = bare.model_copy(update={"landmarks": known})
    pages = [Page(gallery.page_html(directory, one, report.provenance)) for one in (bare, marked)]
    for page, shown in zip(pages, (False, True), strict=True):
        assert len(page.all("path", **{"class": "lead-line"})) == (4 if shown else 0), "wide and narrow"
        for words in ("<b>seen</b> 0.03", "unseen 0.20", "mean of 20 images"):
            assert (words in page.text) is shown


def test_a_page_says_what_a_photo_needs_only_where_the_model_knows_shapes_alone(tmp_path: Path) -> None:
    result = samples.result(tmp_path)
    report = samples.report(result)
    for alone, words in ((True, "knows colored shapes only"), (False, "Photos and art need")):
        for text in (
            gallery.page_html(tmp_path, result, report.provenance, shapes_only=alone),
            gallery.overview_html(tmp_path, report, shapes_only=alone),
        ):
            shown = Page(text).text
            assert words in shown and ("colored shapes only" in shown) == alone


def test_the_date_and_the_command_are_text_and_shown_on_request(scored: tuple[Path, ScoreReport]) -> None:
    directory, report = scored
    (result,) = report.results
    line = "2026-03-01 12:00 UTC: origcli score '<b>x.png'"
    for dated in ("", line):
        texts = (
            gallery.page_html(directory, result, report.provenance, dated=dated),
            gallery.overview_html(directory, report, dated=dated),
        )
        for text in texts:
            page = Page(text)
            assert (line in page.text) == bool(dated) and not page.all("b", **{"class": "x.png"})


def test_a_page_asks_nothing_of_the_network(scored: tuple[Path, ScoreReport]) -> None:
    directory, report = scored
    text = gallery.page_html(directory, report.results[0], report.provenance)
    page = Page(text)
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            value = attributes.get(name, "")
            assert value.startswith(("data:", "#")) or value == "", (name, value[:80])
    assert "url(" not in text and "@import" not in text and "//" not in "".join(page.styles)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [1 for _, attributes in page.elements if "style" in attributes]


def test_the_policy_allows_the_page_s_own_style_and_script_alone(scored: tuple[Path, ScoreReport]) -> None:
    directory, report = scored
    for text in (
        gallery.page_html(directory, report.results[0], report.provenance),
        gallery.overview_html(directory, report),
    ):
        page = Page(text)
        (policy,) = (
            m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none'; img-src data:;")
        for kind, inline in (("style", page.styles), ("script", page.scripts)):
            (own,) = inline
            digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy


@pytest.mark.fault(26, "text in a page")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(name: str, tmp_path: Path) -> None:
    shown = " ".join(name.replace("\n", r"\u000a").replace("\u202e", r"\u202e").rpartition("/")[2].split())
    result = samples.result(None, path=f"in/{name}", group=name)
    report = samples.report(result, result.model_copy(update={"id": "other", "page": "javascript:alert(1)"}))
    facts = report.provenance.model_copy(update={"model": ModelFacts(name=name), "notes": (name,)})
    report = report.model_copy(update={"provenance": facts})
    for text in (
        gallery.page_html(tmp_path, result, facts),
        gallery.overview_html(tmp_path, report),
    ):
        page = Page(text)
        assert len(page.scripts) == 1 and len(page.styles) == 1
        assert not [1 for _, attributes in page.elements if any(key.startswith("on") for key in attributes)]
        assert not [a for a in page.all("a") if "script" in a["href"]]
        assert shown in page.text
        assert "\u202e" not in text
        assert "<script>alert" not in text
        text.encode("utf-8")


def test_pictures_that_are_gone_leave_a_page(tmp_path: Path) -> None:
    result = samples.result(tmp_path)
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    page = Page(gallery.page_html(tmp_path, result, samples.provenance()))
    assert "not kept" in page.text


def test_out_of_domain_has_no_curve_and_says_why(tmp_path: Path) -> None:
    page = Page(gallery.page_html(tmp_path, samples.result(tmp_path, outside=True), samples.provenance()))
    assert "Not measured: shapes cannot show this image" in page.text and "14.2 dB is under" in page.text
    assert "no tokens were learned" in page.text and "no samples of it were generated" in page.text
    for claim in ("learned a few", "Then it generated", "tokens that were learned"):
        assert claim not in page.text, "a page states only what happened"
    assert "What the model generates" not in page.text


def test_without_a_threshold_nothing_is_called_enough(tmp_path: Path) -> None:
    none = Threshold(value=None, source="none", how="none in the registry")
    result = samples.result(tmp_path, threshold=none)
    page = Page(gallery.page_html(tmp_path, result, samples.provenance()))
    assert "Measured with shapes, which has no threshold" in page.text and "none in the registry" in page.text
    assert not page.all("span", **{"class": "num near"})


def test_one_image_is_its_own_report_and_more_are_an_overview(scored: tuple[Path, ScoreReport]) -> None:
    directory, report = scored
    gallery.write_html(directory, report)
    assert "What the model generates" in Page((directory / "report.html").read_text("utf-8")).text
    two = samples.report(report.results[0], samples.result(None, "second"))
    gallery.write_html(directory, two)
    assert "How original are 2 images" in Page((directory / "report.html").read_text("utf-8")).text
    broken = samples.report(report.results[0], failures=1)
    gallery.write_html(directory, broken)
    assert "damaged or unreadable" in Page((directory / "report.html").read_text("utf-8")).text


def test_an_overview_links_its_pages_and_they_link_back(tmp_path: Path) -> None:
    results = samples.many(tmp_path, 3, drawings=2)
    report = samples.report(*results, failures=2, grouped=True)
    names = [gallery.write_page(tmp_path, result, report.provenance) for result in results]
    gallery.write_html(tmp_path, report.model_copy(update={"results": ()}), iter(results))
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    links = [a["href"] for a in page.all("a") if "#" not in a["href"]]
    assert links == names
    for name in names:
        assert "../report.html" in [a["href"] for a in Page((tmp_path / name).read_text("utf-8")).all("a")]
    assert len(page.all("tr", **{"data-verdict": "redrawn"})) == sum(
        r.verdict.kind == "redrawn" for r in results
    )
    assert page.text.count("damaged or unreadable image") == 2
    assert "0.930" in page.text and "0.0002" in page.text
    assert "(Spearman) of originality and denoising loss: 0.71 over 3 images" in page.text


def test_what_failed_hides_nothing_in_its_name_its_message_or_its_hint() -> None:
    hidden = [f"{part}\u202egnp" for part in ("name", "message", "hint")]
    failure = Failure(path=hidden[0], code="input", message=hidden[1], hint=hidden[2])
    report = samples.report(samples.result(None)).model_copy(update={"errors": (failure,)})
    page = Page(gallery.overview_html(Path(), report))
    assert all(f"{part}\\u202egnp" in page.text for part in ("name", "message", "hint"))
    assert "\u202e" not in page.text


def test_an_overview_shows_a_thousand_rows_and_says_so() -> None:
    one = samples.result(None, tokens=2, drawings=1, test=False)
    head = samples.report(one)
    stream = (one.model_copy(update={"id": f"i{i}"}) for i in range(1002))
    page = Page(gallery.overview_html(Path(), head, stream))
    assert len(page.all("tr", **{"data-verdict": str(one.verdict.kind)})) == gallery.ROWS
    assert "The 1000 most familiar of 1002" in page.text


def test_an_overview_has_the_familiar_first_each_with_its_nearest_sample(tmp_path: Path) -> None:
    levels = {"far": 0.7, "near": 0.1, "middle": 0.4}
    results = [
        samples.result(tmp_path, name, path=f"{name}.png", level=level, drawings=2, size=300, test=False)
        for name, level in levels.items()
    ]
    outside = samples.result(tmp_path, "outside", path="outside.png", outside=True)
    text = gallery.overview_html(tmp_path, samples.report(outside, *results))
    page = Page(text)
    names = [row["data-name"] for row in page.all("tr") if "data-name" in row]
    assert names == ["near.png", "middle.png", "far.png", "outside.png"], "what has no number comes last"
    (head,) = page.all("th", **{"data-key": "originality"})
    assert head["aria-sort"] == "ascending"
    beside = [one for one in page.all("img") if one["alt"].startswith("nearest sample: ")]
    assert len(beside) == 3 and {one["width"] for one in beside} == {"96"}, "small copies"


def test_few_images_stand_before_their_groups_and_many_after(tmp_path: Path) -> None:
    for count, first in ((6, "Images"), (15, "Groups")):
        report = samples.report(*samples.many(None, count, drawings=2), grouped=True)
        text = gallery.overview_html(Path(), report)
        places = {name: text.index(f">{name}</h2>") for name in ("Groups", "Images")}
        assert min(places, key=places.__getitem__) == first


def test_groups_that_were_not_tested_say_why() -> None:
    report = samples.report(*samples.many(None, 6, drawings=2), grouped=True)
    assert report.summary is not None
    (one,) = report.summary.comparisons
    words = "Groups with fewer than five images have no p"
    assert words not in Page(gallery.overview_html(Path(), report)).text
    untested = one.model_copy(update={"p_value": None, "permutations": 0})
    summary = report.summary.model_copy(update={"comparisons": (untested,)})
    assert words in Page(gallery.overview_html(Path(), report.model_copy(update={"summary": summary}))).text


def test_groups_of_several_domains_have_a_panel_each() -> None:
    results = samples.many(None, 6, drawings=2)
    report = samples.report(*results, grouped=True)
    assert report.summary is not None
    groups = tuple(
        group.model_copy(update={"name": f"{domain}/{group.name}", "domain": domain})
        for domain in ("art", "houses")
        for group in report.summary.groups
    )
    report = report.model_copy(update={"summary": report.summary.model_copy(update={"groups": groups})})
    page = Page(gallery.overview_html(Path(), report))
    assert len(page.all("svg", **{"class": "chart"})) == 4, "each for a desktop and for a phone"
    assert "art" in page.text and "houses" in page.text


def test_groups_without_a_threshold_have_no_columns_of_tokens_needed() -> None:
    report = samples.report(*samples.many(None, 6, drawings=2), grouped=True)
    assert report.summary is not None
    for needed, shown in (({"no threshold": 2}, False), ({"no threshold": 1, "> 5": 1}, True)):
        groups = tuple(g.model_copy(update={"tokens_needed": needed}) for g in report.summary.groups)
        summary = report.summary.model_copy(update={"groups": groups})
        page = Page(gallery.overview_html(Path(), report.model_copy(update={"summary": summary})))
        assert ("Images by tokens needed" in page.text) == shown and "no threshold" not in page.text


def test_a_page_of_given_tokens_says_that_none_were_learned_here(tmp_path: Path) -> None:
    learned = samples.result(tmp_path)
    curve = tuple(point.model_copy(update={"stop_reason": ("given",)}) for point in learned.curve)
    given = learned.model_copy(update={"curve": curve})
    for result, words in ((learned, "learned a few new words"), (given, "was given tokens")):
        page = Page(gallery.page_html(tmp_path, result, samples.provenance()))
        assert words in page.text and "Then it generated" in page.text
    assert "learned a few new" not in page.text


def test_an_overview_claims_no_work_that_was_not_done() -> None:
    outside = [samples.result(None, f"photo-{i}", outside=True) for i in range(2)]
    nothing = Page(gallery.overview_html(Path(), samples.report(*outside)))
    assert "No image was measured" in nothing.text and "samples per number of tokens" not in nothing.text
    some = Page(gallery.overview_html(Path(), samples.report(*outside, samples.result(None))))
    assert "No image was measured" not in some.text and "20 samples per number of tokens" in some.text


@pytest.mark.parametrize("images", [1, 2])
def test_a_report_says_what_was_left_out(tmp_path: Path, images: int) -> None:
    beside = LeftOut(where="art", what="3 files that are not images: .<u>", remedy="nothing")
    report = samples.report(*samples.many(tmp_path, images)).model_copy(update={"left_out": (beside,)})
    gallery.write_html(tmp_path, report)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "Left out" in page.text and beside.what in page.text and not page.all("u")
    gallery.write_html(tmp_path, report.model_copy(update={"left_out": ()}))
    assert "Left out" not in Page((tmp_path / "report.html").read_text("utf-8")).text


def test_equal_reports_are_equal_pages(scored: tuple[Path, ScoreReport]) -> None:
    directory, report = scored
    first, second = (gallery.page_html(directory, report.results[0], report.provenance) for _ in range(2))
    assert first == second


def test_the_report_of_generalization_holds_curves_sheets_and_every_experiment(tmp_path: Path) -> None:
    base = example("generalize")
    empty = base.results[0]
    prompted = empty.model_copy(update={"condition": "prompted", "prompt": empty.held_out})
    (tmp_path / "figures").mkdir()
    samples.picture(1).save(tmp_path / "figures" / "held-out.png")
    report = base.model_copy(
        update={
            "results": (empty, prompted),
            "summary": summary().model_copy(
                update={
                    "trends": (
                        Trend(
                            condition="empty", quantity="frequency", kendall_tau=Estimate.of(0.8),
                            p_value=0.0123, test="permutation",
                        ),
                    )
                }
            ),
            "figures": ("figures/frequency.png", "figures/held-out.png", "figures/samples.png"),
        }
    )  # fmt: skip
    gallery.write_generalize_html(tmp_path, report)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    charts = page.all("svg", **{"class": "chart"})
    assert len(charts) == 8, (
        "frequency and lift of both conditions, each at two sizes; no confidence was found"
    )
    assert len(page.all("img", **{"class": "sheet"})) == 1, "the sheet that is there"
    for words in ("big red full circle", "0.0123", "0.0600", "its prompt", "empty prompt", "chance"):
        assert words in page.text
    assert len(page.scripts) == 1
