"""Whole runs of the measure on a tiny random model: what is written, and that nothing changes the bytes."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from origcli.errors import InputError, Interrupted, ModelError, NonFiniteError, UsageError
from origcli.images.inputs import Input
from origcli.inversion.denoising import lane_losses
from origcli.inversion.optimization import invert
from origcli.perception.metrics import open_metric
from origcli.reports.schema import ScoreReport
from origcli.reports.writers import read_report
from origcli.scoring import drawing, learning, query, setup
from origcli.settings import Settings
from tests.measuring import PixelDistance
from tests.perception.towers import write_dinov2
from tests.scoring.runs import REPORTS, bytes_of, count_calls, score

pytestmark = pytest.mark.usefixtures("pixel_metric")


class Stopped(Exception):
    """Stands for a kill."""


def test_a_run_writes_everything(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    inputs = [*pictures, Input(tmp_path / "broken.png", "broken")]
    heard: list[Any] = []
    report = score(tiny_settings(), tmp_path / "out", inputs, heard.append)

    assert [getattr(one, "id", one) for one in heard] == ["a", "b", "c", report.errors[0]]
    assert report.summary is not None
    assert (report.status, len(report.errors), report.summary.images) == ("partial", 1, 3)
    saved = read_report(tmp_path / "out", "score")
    assert isinstance(saved, ScoreReport) and saved.summary is not None
    assert [result.id for result in saved.results] == ["a", "b", "c"]
    assert [result.group for result in saved.results] == ["common", "common", "original"]
    for result in saved.results:
        assert [point.m for point in result.curve] == [1, 2]
        assert all(len(point.distances[0]) == 3 for point in result.curve)
        low, value, high = result.originality.low, result.originality.value, result.originality.high
        assert low is not None and value is not None and high is not None and low <= value <= high
        assert result.l_det_0.value is not None and result.l_det_0.value > 0
        assert result.pictures is not None and result.page is not None
        assert all(point.l_det.value and point.l_det.value > 0 for point in result.curve)
        assert len(result.distances_0) == 3
        for name in (result.page, result.pictures.query, *result.embeddings, *result.curve[0].drawings):
            assert (tmp_path / "out" / name).is_file()
        assert result.curve[0].distance.value == pytest.approx(sum(result.curve[0].distances[0]) / 3)
    facts = saved.provenance
    assert facts.model is not None and facts.metric is not None
    assert (facts.model.name, facts.metric.name, len(facts.seeds)) == ("bert", "pixels", 3)
    with (tmp_path / "out/report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["m"]) for row in rows] == [*((i, m) for i in "abc" for m in "12"), ("", "")]
    assert "broken.png" in rows[-1]["path"] and rows[-1]["error"].startswith("input:")
    assert {group.name: group.count for group in saved.summary.groups} == {"common": 2, "original": 1}
    assert {(c.lower, c.higher, c.score) for c in saved.summary.comparisons} == {
        ("common", "original", "originality"),
        ("common", "original", "l_det"),
    }
    assert (tmp_path / "out/figures/groups.pdf").read_bytes().startswith(b"%PDF")
    assert not (tmp_path / "out/.work").exists()


def test_equal_runs_are_equal_bytes_killed_or_not(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    settings = tiny_settings(score={"together": 2})
    score(settings, tmp_path / "whole", pictures)

    def stop_at(name: Any) -> Any:
        def listen(outcome: Any) -> None:
            if outcome.id == name:
                raise Stopped

        return listen

    for name in ("a", "b"):
        out = tmp_path / f"stopped-{name}"
        with pytest.raises(Stopped):
            score(settings, out, pictures, stop_at(name))
        assert not (out / "report.json").exists()
        heard: list[Any] = []
        score(settings, out, pictures, heard.append)
        assert [outcome.id for outcome in heard] == ["a", "b", "c"]
        assert bytes_of(out) == bytes_of(tmp_path / "whole")


class EveryPixel(PixelDistance):
    """The mean absolute difference of all pixels: none is averaged away."""

    def features(self, images: Any) -> Any:
        return [np.asarray(image, np.float64) / 255 for image in images]


def test_other_batch_sizes_change_nothing_beyond_rounding(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(setup, "open_metric", lambda *_, **__: EveryPixel())

    def measured(together: Any, drawn: Any, micro: Any) -> Any:
        settings = tiny_settings(
            score={"together": together}, draw={"batch_size": drawn}, invert={"micro_batch": micro}
        )
        out = tmp_path / f"{together}-{drawn}-{micro}"
        score(settings, out, pictures)
        return [
            number
            for one in read_report(out).results
            for number in (
                *(distance for point in one.curve for distance in point.distances[0]),
                *(point.l_det.value for point in one.curve),
                *(one.floor.value, one.ceiling.value, one.originality.value),
            )
        ]

    expected = measured(1, 2, 1)
    assert len(set(expected)) > 20
    for sizes in ((3, 2, 4), (1, 8, 1), (1, 2, 4), (3, 8, 4)):
        found = measured(*sizes)
        assert found == pytest.approx(expected, rel=0, abs=1e-5), sizes
    assert found != expected  # so fine that rounding is seen


def test_an_inversion_goes_on_where_it_was_stopped(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from origcli.inversion import optimization
    from origcli.runtime import interrupts

    settings = tiny_settings(invert={"steps": 6, "checkpoint_every": 2})
    score(settings, tmp_path / "whole", pictures[:1])
    steps: list[int] = []
    real = lane_losses

    def counted(model: Any, lanes: Any, samples: Any, size: Any, learn: Any) -> Any:
        if learn:
            steps.append(len(steps))
            if len(steps) == 4:
                interrupts._received.append(15)
        return real(model, lanes, samples, size, learn)

    monkeypatch.setattr(optimization, "lane_losses", counted)
    with pytest.raises(Interrupted):
        score(settings, tmp_path / "stopped", pictures[:1])
    assert len(steps) == 4
    score(settings, tmp_path / "stopped", pictures[:1])
    assert len(steps) == 6
    for name in REPORTS:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.fault(12, "score refuses other settings and other images")
def test_other_settings_or_images_are_refused_in_a_used_directory(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    score(tiny_settings(), tmp_path / "out", pictures[:1])
    with pytest.raises(UsageError, match="samples was 3, is 4"):
        score(tiny_settings(score={"samples": 4}), tmp_path / "out", pictures[:1])
    with pytest.raises(UsageError, match="images"):
        score(tiny_settings(), tmp_path / "out", pictures)


def test_the_cache_leaves_only_new_work(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from origcli.scoring import baseline, drawing

    cache = tmp_path / "cache"
    first = score(tiny_settings(), tmp_path / "1", pictures[:1], cache=cache)
    inverted = count_calls(monkeypatch, learning, "invert")
    drawn = count_calls(monkeypatch, drawing, "draw")
    unasked = count_calls(monkeypatch, baseline, "draw_prompts")
    again = score(tiny_settings(), tmp_path / "2", pictures[:1], cache=cache)
    assert (tmp_path / "1/report.json").read_bytes() == (tmp_path / "2/report.json").read_bytes()
    assert again == first and not inverted and not drawn and not unasked

    more = score(tiny_settings(score={"max_tokens": 3}), tmp_path / "3", pictures[:1], cache=cache)
    assert [call[3] for call in inverted] == [[3]]
    assert [len(call[1]) for call in drawn] == [3] and not unasked
    assert more.results[0].curve[:2] == first.results[0].curve

    score(tiny_settings(invert={"steps": 4}), tmp_path / "4", pictures[:1], cache=cache)
    assert [call[3] for call in inverted] == [[3], [1, 2]]


def test_a_damaged_cache_is_no_cache(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    cache = tmp_path / "cache"
    score(tiny_settings(), tmp_path / "1", pictures[:1], cache=cache)
    for entry in cache.rglob("*.safetensors"):
        entry.write_bytes(entry.read_bytes()[:40])
    score(tiny_settings(), tmp_path / "2", pictures[:1], cache=cache)
    assert (tmp_path / "1/report.json").read_bytes() == (tmp_path / "2/report.json").read_bytes()


def test_until_reached_stops_at_the_first_that_suffices(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inverted = count_calls(monkeypatch, learning, "invert")
    easy = tiny_settings(score={"until_reached": True, "threshold": 5.0})
    (result,) = score(easy, tmp_path / "easy", pictures[:1]).results
    assert [call[3] for call in inverted] == [[1]]
    assert [point.m for point in result.curve] == [1] and result.tokens_needed.text == "1"
    assert result.originality.value is None and "1 to 2" in (result.originality.reason or "")

    hard = tiny_settings(score={"until_reached": True, "threshold": 0.0, "measure_anyway": True})
    (result,) = score(hard, tmp_path / "hard", pictures[:1]).results
    assert [call[3] for call in inverted] == [[1], [1], [2]]
    assert result.tokens_needed.text == "> 2"

    with pytest.raises(UsageError, match="threshold"):
        score(tiny_settings(score={"until_reached": True}), tmp_path / "no", pictures[:1])


def test_an_image_out_of_domain_is_not_inverted(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inverted = count_calls(monkeypatch, learning, "invert")
    (result,) = score(tiny_settings(score={"threshold": 0.0}), tmp_path / "out", pictures[:1]).results
    assert result.verdict.kind == "out-of-domain" and not inverted
    assert not result.curve and result.originality.value is None
    assert result.floor.value is not None and result.floor.value > 0
    forced = tiny_settings(score={"threshold": 0.0, "measure_anyway": True})
    (result,) = score(forced, tmp_path / "forced", pictures[:1]).results
    assert result.verdict.kind == "out-of-domain" and result.domain_check.forced and result.curve


@pytest.mark.fault(13, "its row has the error; the other images are scored")
def test_one_image_that_is_not_finite_costs_no_other(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = invert

    def fails(model: Any, images: Any, names: Any, *rest: Any, **options: Any) -> Any:
        if "b" in names:
            raise NonFiniteError("b: the loss is NaN at step 1")
        return real(model, images, names, *rest, **options)

    monkeypatch.setattr(learning, "invert", fails)
    report = score(tiny_settings(score={"together": 3}), tmp_path / "out", pictures)
    assert [failure.code for failure in report.errors] == ["non-finite"]
    assert [result.id for result in read_report(tmp_path / "out").results] == ["a", "c"]


def test_given_tokens_are_scored_without_learning_any(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inverted = count_calls(monkeypatch, learning, "invert")
    given = {2: {"": torch.randn(2, 16, generator=torch.Generator().manual_seed(0))}}
    (result,) = score(tiny_settings(), tmp_path / "out", pictures[:1], given=given).results
    assert not inverted and [point.m for point in result.curve] == [2]
    assert result.curve[0].stop_reason == ("given",) and result.curve[0].l_det.value is None
    with pytest.raises(UsageError, match="width 3"):
        score(tiny_settings(), tmp_path / "wide", pictures[:1], given={1: {"": torch.zeros(1, 3)}})


def test_repeats_are_other_inversions(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    (result,) = score(tiny_settings(score={"repeats": 2}), tmp_path / "out", pictures[:1]).results
    first, second = result.curve[0].distances
    assert first != second and "2 repeats" in result.intervals


def test_a_reference_places_images_and_gives_a_threshold(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    score(tiny_settings(), tmp_path / "reference", pictures)
    settings = tiny_settings(score={"reference": str(tmp_path / "reference"), "measure_anyway": True})
    (result,) = score(settings, tmp_path / "out", pictures[2:]).results
    known = read_report(tmp_path / "reference").results
    below = sum(one.originality.value < result.originality.value for one in known)
    assert result.percentile is not None
    assert result.percentile.count == 3  # the image is one of the set: a tie, which counts half
    assert result.percentile.value.value == pytest.approx((below + 0.5) / 3 * 100)
    assert result.threshold.source == "reference"
    assert result.threshold.value == pytest.approx(
        np.quantile([one.curve[0].distance.value for one in known], 0.9)
    )
    other = tiny_settings(score={"reference": str(tmp_path / "reference"), "max_tokens": 1})
    with pytest.raises(UsageError, match="max tokens is 2, not 1"):
        score(other, tmp_path / "other", pictures[:1])
    longer = tiny_settings(score={"reference": str(tmp_path / "reference")}, invert={"steps": 7})
    with pytest.raises(UsageError, match=r"learning steps is .*, not 7"):
        score(longer, tmp_path / "longer", pictures[:1])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"score": {"metric": "dreamsom"}}, "unknown metric 'dreamsom'"),
        ({"score": {"reference": "nowhere"}}, "nowhere: "),
        ({"invert": {"templates": "nowhere.txt"}}, "cannot read the templates: nowhere.txt: no such file"),
    ],
)
def test_names_are_looked_up_before_models_are_opened(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    problem: str,
) -> None:
    monkeypatch.setattr(setup, "open_model", lambda *args, **options: pytest.fail("opened a model"))
    with pytest.raises((UsageError, InputError), match=problem):
        score(tiny_settings(**settings), tmp_path / "out", pictures[:1])


def test_images_measured_by_force_set_no_standard(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    forced = tiny_settings(score={"threshold": 0.0, "measure_anyway": True})
    score(forced, tmp_path / "reference", pictures)
    settings = tiny_settings(score={"reference": str(tmp_path / "reference")})
    with pytest.raises(InputError, match="no image in it has an originality"):
        score(settings, tmp_path / "out", pictures[:1])


def test_a_list_of_templates_is_known_by_what_it_says(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache, prompts = tmp_path / "cache", tmp_path / "prompts.txt"
    settings = tiny_settings(invert={"templates": str(prompts)})
    inverted = count_calls(monkeypatch, learning, "invert")
    for out, text in (("1", "a photo of {S}\n"), ("2", "a drawing of {S}\n"), ("3", "a photo of {S}\n")):
        prompts.write_text(text)
        score(settings, tmp_path / out, pictures[:1], cache=cache)
    assert len(inverted) == 2
    assert bytes_of(tmp_path / "3") == bytes_of(tmp_path / "1") != bytes_of(tmp_path / "2")


class Redness:
    """Stands for CLIP: how red a picture is."""

    def __init__(self, directory: Any, runtime: Any) -> None:
        self.asked: list[str] = []

    def of(self, images: Any, text: Any) -> Any:
        self.asked.append(text)
        return [float(np.asarray(image, np.float64)[..., 0].mean() / 255) for image in images]


def test_a_real_model_is_asked_for_an_edit(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(setup, "companion_directory", lambda model, runtime: tmp_path)
    monkeypatch.setattr(setup, "TextSimilarity", Redness)
    drawn = count_calls(monkeypatch, drawing, "condition_with")
    settings = tiny_settings(score={"edit_prompt": "cat with {S}", "edit_tokens": 1})
    (result,) = score(settings, tmp_path / "out", pictures[:1], in_print=True).results
    assert [(call[1], len(call[2]["bert"])) for call in drawn] == [
        ("a photo of {S}", 1),
        ("a photo of {S}", 2),
        ("cat with {S}", 1),
    ]
    test = result.in_distribution
    assert test is not None and test.baseline is not None and test.distance is not None
    assert (test.kind, test.m, test.prompt) == ("edit", 1, "cat with {S}")
    redness = Redness(None, None)
    before, after = (
        redness.of([Image.open(tmp_path / "out" / name) for name in names], "cat")
        for names in (result.curve[0].drawings, test.drawings)
    )
    assert len(after) == 3 and test.baseline.value == pytest.approx(np.mean(before))
    assert test.value.value == pytest.approx(np.mean(after) - np.mean(before))
    low, high = test.distance.low, test.distance.high
    assert low is not None and test.distance.value is not None and high is not None
    assert low <= test.distance.value <= high
    page = (tmp_path / "out/report.html").read_text()
    assert "cat with {S}" in page and len(re.findall('data-zoom="Sample . of the test"', page)) == 3

    def nowhere(model: Any, runtime: Any) -> None:
        raise ModelError("no CLIP here")

    monkeypatch.setattr(setup, "companion_directory", nowhere)
    (result,) = score(settings, tmp_path / "without", pictures[:1]).results
    assert result.in_distribution is None and result.originality.value is not None


def test_the_art_list_is_for_groups_called_art(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inverted = count_calls(monkeypatch, learning, "invert")
    art = [Input(pictures[0].path, "a", "art/common"), Input(pictures[1].path, "b", "houses/common")]
    settings = tiny_settings(score={"together": 2, "max_tokens": 1}, invert={"templates": "auto"})
    monkeypatch.setattr(learning.Learner, "_invert", lambda *args: inverted.append(args) or stop())
    # The tiny text encoder is too short for the list.
    monkeypatch.setattr("origcli.scoring.run.check_tokens", lambda *args: None)

    def stop() -> NoReturn:
        raise Stopped

    with pytest.raises(Stopped):
        score(settings, tmp_path / "out", art)
    assert inverted[0][4].templates == "art"


def test_a_round_trip_is_of_the_same_size(
    tiny_settings: Callable[..., Settings], pictures: list[Input]
) -> None:
    from origcli.runtime.context import Runtime
    from origcli.scoring.setup import open_models

    models = open_models(tiny_settings(), Runtime())
    from PIL import Image

    with Image.open(pictures[0].path) as image:
        assert query.round_trip(models.model, image.convert("RGB")).size == (64, 64)


def test_the_log_is_json_lines(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    score(tiny_settings(), tmp_path / "out", pictures[:2])
    lines = (tmp_path / "out/results.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b"]


def test_a_score_in_a_metric_of_the_hub(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(setup, "open_metric", open_metric)  # not the one that all tests here use
    write_dinov2(tmp_path / "dinov2")
    monkeypatch.setattr("origcli.perception.embedding.companion_directory", lambda *_: tmp_path / "dinov2")
    # Random weights may see no more in images than in round trips.
    forced = {"metric": "dinov2", "measure_anyway": True}
    report = score(tiny_settings(score=forced), tmp_path / "out", pictures[:1])
    metric = report.provenance.metric
    assert metric is not None and metric.name == "dinov2" and metric.version
    assert len(report.results[0].curve) == 2 and report.results[0].curve[0].distance.value is not None
