"""Comparing runs: pairing by content, joint resampling, refusals, words no stronger than the numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.cli.app import main
from origcli.errors import InputError, UsageError
from origcli.reports.compare import CompareReport
from origcli.reports.envelope import ModelFacts, Provenance, Status
from origcli.reports.score import ScoreReport, ScoreResult
from origcli.reports.writers import write_report
from origcli.scoring.compare import compare_runs, paired, write_comparison
from origcli.scoring.statistics import sign_flip_p_value
from tests.scoring.results import score_result

SETTINGS: dict[str, Any] = {
    "score": {
        "prompt": "a photo of {S}",
        "samples": 4,
        "max_tokens": 2,
        "crop": "center",
        "repeats": 1,
        "bootstrap": 200,
    },
    "draw": {"steps": 50},
    "invert": {"steps": 250, "batch_size": 6},
}


def named(result: ScoreResult, digit: str) -> ScoreResult:
    """The result with an image of its own."""
    return result.model_copy(update={"image": result.image.model_copy(update={"sha256": digit * 64})})


def write_run(
    directory: Path,
    model: str,
    results: Sequence[ScoreResult],
    settings: dict[str, Any] = SETTINGS,
    **facts: Any,
) -> Path:
    made_by = Provenance(
        command="score",
        versions={"origcli": "1"},
        settings=settings,
        settings_hash="0",
        seed=0,
        model=ModelFacts(name=model, weights_hash=model * 8),
        metric=ModelFacts(name="elements", version="1"),
        scheduler="ddim",
        guidance=2.0,
        **{"seeds": (1, 2, 3, 4), **facts},
    )
    directory.mkdir(parents=True)
    write_report(
        directory,
        ScoreReport(status=Status.complete, provenance=made_by, results=tuple(results)),
        list(results),
    )
    return directory


def learned(tmp_path: Path, count: int = 6) -> CompareReport:
    """Images that the tuned model redraws with one token, and the base model with none of two."""
    digits = "0123456789"[:count]
    base = [named(score_result(f"a{d}", curve=(0.6, 0.5), spread=0.05, threshold=0.2), d) for d in digits]
    tuned = [
        named(score_result(f"b{d}", curve=(0.15, 0.12), spread=0.02, threshold=0.2), d)
        for d in reversed(digits)
    ]
    report, _ = compare_runs(
        [write_run(tmp_path / "base", "base", base), write_run(tmp_path / "tuned", "tuned", tuned)]
    )
    return report


def test_a_model_that_learned_the_images_is_told_in_words(tmp_path: Path) -> None:
    report = learned(tmp_path)
    one = report.results[0].differences[0]
    assert one.clear and one.originality.high is not None and one.originality.high < 0
    assert one.words == (
        "tuned redraws this image with 1 token; base needs more than 2 tokens for this image. The image is "
        "more familiar to tuned than to base: tuned has learned it, or images like it."
    )
    assert report.summary is not None
    together = report.summary.groups[0]
    assert (together.images, together.lower) == (6, 6) and together.p_value == 2 / 2**6
    assert "6 of 6 images are less original to tuned than to base" in together.words


def test_images_are_matched_by_content_not_by_name_or_place(tmp_path: Path) -> None:
    report = learned(tmp_path)
    for result in report.results:
        base, tuned = result.scores
        assert base.id.removeprefix("a") == tuned.id.removeprefix("b")


def test_fewer_than_five_images_have_no_p_value(tmp_path: Path) -> None:
    report = learned(tmp_path, 4)
    assert report.summary is not None and report.summary.groups[0].p_value is None
    assert "fewer than 5 images" in report.summary.groups[0].words


def test_a_difference_within_chance_claims_nothing(tmp_path: Path) -> None:
    base = [named(score_result("a", curve=(0.40, 0.4), spread=0.2), "1")]
    other = [named(score_result("a", curve=(0.41, 0.4), spread=-0.2), "1")]  # seeds that go the other way
    report, _ = compare_runs(
        [write_run(tmp_path / "x", "base", base), write_run(tmp_path / "y", "tuned", other)]
    )
    one = report.results[0].differences[0]
    assert one.clear is False and one.words.endswith("The difference in originality is within chance.")


def test_runs_of_one_model_are_told_apart_by_their_directories(tmp_path: Path) -> None:
    results = [named(score_result("a"), "1")]
    report, runs = compare_runs(
        [write_run(tmp_path / "x", "m", results), write_run(tmp_path / "y", "m", results)]
    )
    assert [run.name for run in runs] == ["m (x)", "m (y)"]
    assert report.summary is not None and report.summary.differing == {}


@pytest.mark.parametrize(
    ("change", "named_as"),
    [
        ({"score": {**SETTINGS["score"], "prompt": "{S}"}}, "prompt"),
        ({"score": {**SETTINGS["score"], "max_tokens": 3}}, "maximum number of tokens"),
        ({"score": {**SETTINGS["score"], "samples": 8}}, "number of samples"),
        ({"invert": {**SETTINGS["invert"], "steps": 500}}, "learning steps"),
    ],
)
def test_runs_that_do_not_match_are_refused_by_the_first_difference(
    tmp_path: Path, change: dict[str, Any], named_as: str
) -> None:
    results = [named(score_result("a"), "1")]
    first = write_run(tmp_path / "x", "m", results)
    second = write_run(tmp_path / "y", "n", results, {**SETTINGS, **change})
    with pytest.raises(UsageError, match=f"their {named_as} differs"):
        compare_runs([first, second])


def test_other_seeds_are_refused(tmp_path: Path) -> None:
    results = [named(score_result("a"), "1")]
    first = write_run(tmp_path / "x", "m", results)
    second = write_run(tmp_path / "y", "n", results, seeds=(1, 2, 3, 5))
    with pytest.raises(UsageError, match="sampling seeds"):
        compare_runs([first, second])


def test_no_image_in_common_is_an_error(tmp_path: Path) -> None:
    first = write_run(tmp_path / "x", "m", [named(score_result("a"), "1")])
    second = write_run(tmp_path / "y", "n", [named(score_result("a"), "2")])
    with pytest.raises(InputError, match="no image is in both"):
        compare_runs([first, second])


def test_one_run_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two runs or more"):
        compare_runs([write_run(tmp_path / "x", "m", [named(score_result("a"), "1")])])


@given(st.floats(0.2, 0.6), st.floats(-0.2, 0.2))
def test_a_constant_shift_has_an_interval_of_no_width(level: float, shift: float) -> None:
    """Resampled jointly, what is equal in each sample cancels; resampled apart, it would not."""
    base = score_result("a", curve=(level, level), spread=0.1)
    other = score_result("a", curve=(level + shift, level + shift), spread=0.1)
    _, points = paired(base, other, 100, seed=1)
    for point in points:
        one = point.difference
        assert one.low is not None and one.high is not None
        np.testing.assert_allclose(np.array([one.value, one.low, one.high], float), shift, atol=1e-9)


def test_signs_flip_exactly_for_few_pairs() -> None:
    random = np.random.default_rng(0)
    assert sign_flip_p_value([-0.1] * 5, random) == 2 / 2**5
    assert sign_flip_p_value([0.1], random) is None


def test_the_page_shows_both_runs_and_lets_no_name_become_code(tmp_path: Path) -> None:
    results = [named(score_result("a", curve=(0.6, 0.5), spread=0.05), "1")]
    bad = [one.model_copy(update={"group": "<script>alert(1)</script>"}) for one in results]
    report, runs = compare_runs(
        [write_run(tmp_path / "x", "m", bad), write_run(tmp_path / "y", "n", results)]
    )
    write_comparison(tmp_path, report, runs)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "n against m" in page and "<script>alert" not in page
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["schema"] == "origcli/compare/1"
    rows = (tmp_path / "report.csv").read_text("utf-8").splitlines()
    assert len(rows) == 3 and rows[1].startswith("a.png,a,")


def test_the_command_prints_the_difference_and_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = [named(score_result("a", curve=(0.6, 0.5), spread=0.05, threshold=0.2), "1")]
    tuned = [named(score_result("a", curve=(0.25, 0.2), spread=0.02, threshold=0.2), "1")]
    paths = [write_run(tmp_path / "x", "m", base), write_run(tmp_path / "y", "n", tuned)]
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *map(str, paths), "--out", "both"])
    assert stopped.value.code == 0
    printed = capsys.readouterr()
    assert "too close to call" in printed.out and "undecided" not in printed.out
    assert "n has learned it, or images like it" in printed.out and "both/report.html" in printed.err
    assert (tmp_path / "both" / "report.html").is_file()


def test_nothing_is_written_for_runs_that_do_not_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = [named(score_result("a"), "1")]
    paths = [
        write_run(tmp_path / "x", "m", results),
        write_run(tmp_path / "y", "n", results, {**SETTINGS, "invert": {"steps": 1}}),
    ]
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *map(str, paths), "--out", "both"])
    assert stopped.value.code == 2 and "learning steps differs" in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


def test_a_report_of_another_version_is_named(tmp_path: Path) -> None:
    first = write_run(tmp_path / "x", "m", [named(score_result("a"), "1")])
    other = tmp_path / "y" / "report.json"
    other.parent.mkdir()
    other.write_text((first / "report.json").read_text("utf-8").replace("origcli/score/1", "origcli/score/9"))
    with pytest.raises(InputError, match="origcli/score/9"):
        compare_runs([first, other.parent])
