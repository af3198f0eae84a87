"""A scale from the model's own samples: kept by content, found by score, checked by a positive control."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from origcli.cli.options import Format
from origcli.cli.score_output import ScoreOutput
from origcli.errors import InputError, UsageError
from origcli.generation.sampling import draw_prompts
from origcli.images.inputs import Input
from origcli.reports.envelope import LeftOut
from origcli.reports.score import Threshold
from origcli.reports.verdict import decide
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.progress import SilentProgress
from origcli.runtime.seeding import derive_seed
from origcli.scoring import self_calibration
from origcli.scoring.models import Models
from origcli.scoring.self_calibration import Budget, calibrate_self, own_captions, read_self_calibration
from origcli.scoring.setup import open_models
from origcli.scoring.store import Store
from origcli.settings import Settings
from tests.measuring import PixelDistance
from tests.reports.samples import report as report_of
from tests.scoring.results import score_result
from tests.scoring.runs import score

WORDS = ["red", "blue", "green", "big", "small", "cat", "dog", "sun", "sky", "sea"]
BUDGET = Budget(captions=10, samples=3, controls=2)
Make = Callable[..., Settings]

pytestmark = pytest.mark.usefixtures("pixel_metric")


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Captions that a tiny text encoder holds."""
    file = tmp_path / "captions.txt"
    file.write_text(
        "".join(
            f"a {word}\n"
            for word in ["red", "blue", "green", "big", "small", "cat", "dog", "sun", "sky", "sea"]
        )
    )
    return file


@pytest.fixture
def opened(tmp_path: Path, tiny_settings: Make) -> Any:
    """The tiny model, its settings and a runtime."""
    settings = tiny_settings()
    with open_runtime(settings.runtime, tmp_path / "run", SilentProgress()) as runtime:
        yield open_models(settings, runtime), settings, runtime


def calibrated(opened: tuple[Models, Settings, Runtime], store: Store, file: Path) -> Any:
    models, settings, runtime = opened
    return calibrate_self(models, settings, runtime, store, BUDGET, file)


def test_the_threshold_is_a_quantile_of_the_captions_spreads(
    opened: Any, tmp_path: Path, captions: Path
) -> None:
    scale = calibrated(opened, Store(tmp_path / "kept"), captions)
    models, settings, runtime = opened
    spreads = []
    for caption in captions.read_text().splitlines():
        seeds = [derive_seed("own sample", caption, i) for i in range(3)]
        images = draw_prompts(models.model, [caption] * 3, seeds, settings.draw, runtime)
        a, b, c = models.metric.features(images)
        ab, ac, bc = (models.metric.between(*pair) for pair in ((a, b), (a, c), (b, c)))
        spreads.append(np.median([(ab + ac) / 2, (ab + bc) / 2, (ac + bc) / 2]))
    assert scale.threshold.value == pytest.approx(float(np.quantile(spreads, 0.9)))
    assert scale.threshold.low <= scale.threshold.value <= scale.threshold.high
    assert scale.control.images == 2 and 0 <= scale.control.within <= 2
    assert scale.psnr_images == 30


def test_what_is_kept_is_found_again_and_computes_nothing(
    opened: Any, tmp_path: Path, captions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, settings, _ = opened
    store = Store(tmp_path / "kept")
    first = calibrated(opened, store, captions)
    monkeypatch.setattr(self_calibration, "draw_prompts", lambda *_, **__: pytest.fail("sampled again"))
    assert read_self_calibration(models, settings, store) == first
    assert calibrated(opened, store, captions).threshold == first.threshold


def test_another_way_of_sampling_has_another_scale(opened: Any, tmp_path: Path, captions: Path) -> None:
    models, settings, _ = opened
    store = Store(tmp_path / "kept")
    calibrated(opened, store, captions)
    other = settings.model_copy(update={"draw": settings.draw.model_copy(update={"steps": 3})})
    assert read_self_calibration(models, other, store) is None


def test_a_control_of_another_budget_is_none(opened: Any, tmp_path: Path, captions: Path) -> None:
    models, settings, _ = opened
    store = Store(tmp_path / "kept")
    calibrated(opened, store, captions)
    other = settings.model_copy(update={"invert": settings.invert.model_copy(update={"steps": 5})})
    kept = read_self_calibration(models, other, store)
    assert kept is not None and kept.control is None


class Blank(PixelDistance):
    """To which all images are alike."""

    def between(self, a: np.ndarray, b: np.ndarray) -> float:
        return 0.0


def test_a_model_that_draws_one_image_is_refused(opened: Any, tmp_path: Path, captions: Path) -> None:
    models, settings, runtime = opened
    alike = Models(models.entry, models.model, Blank(), models.notes)
    with pytest.raises(InputError, match="always generates the same image"):
        calibrate_self(alike, settings, runtime, Store(tmp_path / "kept"), BUDGET, captions)
    assert read_self_calibration(alike, settings, Store(tmp_path / "kept")) is None


def test_fewer_than_ten_captions_are_refused(opened: Any, tmp_path: Path) -> None:
    models, settings, runtime = opened
    few = tmp_path / "few.txt"
    few.write_text("a cat\na dog\na cat\n")
    with pytest.raises(InputError, match="2 captions; a threshold needs 10"):
        own_captions(models, settings, runtime, 10, few)


def test_fewer_captions_than_all_are_a_mixed_part_of_them(opened: Any, tmp_path: Path) -> None:
    models, settings, runtime = opened
    ordered = [*(f"a cat {i}" for i in range(20)), *(f"a dog {i}" for i in range(20))]
    file = tmp_path / "ordered.txt"
    file.write_text("\n".join(ordered))
    taken = own_captions(models, settings, runtime, 12, file)
    assert {sum(word in caption for caption in taken) for word in ("cat", "dog")} <= set(range(3, 10))
    assert own_captions(models, settings, runtime, 20, file)[:12] == taken
    assert sorted(own_captions(models, settings, runtime, 100, file)) == sorted(ordered)


def test_captions_that_the_text_encoder_cannot_hold_are_refused(opened: Any, tmp_path: Path) -> None:
    models, settings, runtime = opened
    long = tmp_path / "long.txt"
    longest = models.model.words.encoders[0].length
    long.write_text("".join(f"{'very ' * longest} {i}\n" for i in range(20)))
    with pytest.raises(UsageError, match="enough for 0 of the captions"):
        own_captions(models, settings, runtime, 10, long)


def test_the_bundled_captions_are_plain_and_differ() -> None:
    text = (Path(self_calibration.__file__).parents[1] / "assets" / "captions.txt").read_text("utf-8")
    lines = text.splitlines()
    assert len(lines) == len(set(lines)) >= 100
    assert all(line.isascii() and line == line.strip() and len(line) < 60 for line in lines)


def test_score_calibrates_a_model_without_a_threshold_once(
    tmp_path: Path, pictures: list[Input], tiny_settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"automatic_captions": 10, "automatic_samples": 2, "automatic_controls": 1}
    settings = tiny_settings(score={"calibrate": True, "measure_anyway": True}, calibrate=own)
    words = [f"a {word}" for word in WORDS]
    monkeypatch.setattr(self_calibration, "own_captions", lambda *_: words)
    said: list[str] = []
    monkeypatch.setattr(SilentProgress, "say", lambda self, text: said.append(text))
    first = score(settings, tmp_path / "a", pictures[:1], cache=tmp_path / "kept")
    threshold = first.results[0].threshold
    assert threshold.source == "samples" and threshold.value is not None
    assert "10 captions" in threshold.how and threshold.control_images == 1
    assert first.results[0].tokens_needed.kind in ("reached", "not-reached", "undecided")
    assert sum("no threshold yet" in text and "--no-calibrate" in text for text in said) == 1
    score(settings, tmp_path / "b", pictures[1:2], cache=tmp_path / "kept")
    assert sum("no threshold yet" in text for text in said) == 1


def test_without_calibration_the_verdict_names_the_command(
    tmp_path: Path, pictures: list[Input], tiny_settings: Make
) -> None:
    report = score(tiny_settings(), tmp_path / "a", pictures[:1])
    assert report.results[0].threshold.source == "none"
    assert "origcli calibrate" in report.results[0].threshold.how


@pytest.mark.parametrize(("within", "marked"), [(0, True), (1, True), (2, False), (4, False)])
def test_a_failed_control_marks_the_verdict(within: int, marked: bool) -> None:
    result = score_result("a", curve=(0.1, 0.1), threshold=0.2)
    threshold = Threshold(value=0.2, source="samples", how="", control_images=4, control_within=within)
    verdict = decide(
        "m", result.domain_check, result.originality, result.tokens_needed, threshold, result.curve
    )
    assert verdict.words.startswith("Not reliable with this model") is marked


def test_the_source_of_the_threshold_is_told_once_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    output = ScoreOutput(Format.csv, (), said.append)
    own = Threshold(value=0.2, source="samples", how="", control_images=4, control_within=1)
    results = [score_result(name, curve=(0.1, 0.1), threshold=0.2) for name in "ab"]
    for result in results:
        output.see(result.model_copy(update={"threshold": own}))
    output.end(report_of(*results), Path("here"))
    assert said == [
        "Threshold 0.20 (own samples); positive control: one token redraws 1 of 4 of the model's own "
        "samples. Not reliable with this model: its tokens do not carry the measure.",
        "report: here/report.html",
    ]
    assert capsys.readouterr().out.count(",samples,4,1,") == 4  # a row for each image and token count


def test_images_with_captions_of_anyone_calibrate(tmp_path: Path) -> None:
    from origcli.images.inputs import find_captioned

    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "a cat"}\n{"file_name": "b.png", "text": ""}\n'
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png")
    said: list[str] = []
    left_out: list[LeftOut] = []
    captioned = find_captioned(str(tmp_path), said.append, left_out=left_out)
    assert captioned == [(tmp_path / "a.png", "a cat")]
    assert [one.what for one in left_out] == [
        "1 image: c.png, not in metadata.jsonl",
        "1 image without a caption",
    ]
    assert said == [one.text for one in left_out]
    listed = tmp_path / "list.csv"
    listed.write_text("path,caption\na.png,a cat\nb.png,a dog\n")
    assert find_captioned(str(listed)) == [(tmp_path / "a.png", "a cat"), (tmp_path / "b.png", "a dog")]
    listed.write_text("path,group\na.png,x\n")
    assert find_captioned(str(listed)) is None and find_captioned(str(tmp_path / "a.png")) is None
