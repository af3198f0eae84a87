"""`from origcli import score, invert, synth`: the commands as functions, at the smallest scale."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import origcli
from origcli import calibrate, compare, draw, invert, score, synth
from origcli.errors import InputError, UsageError
from origcli.interface import _settings
from tests.measuring import pixel_metric

__all__ = ["pixel_metric"]

TINY: dict[str, dict[str, Any]] = {
    "synth": {"resolution": 32},
    "invert": {"steps": 2, "batch_size": 2},
    "draw": {"steps": 2, "batch_size": 4},
    "score": {"samples": 2, "ceiling_samples": 2, "bootstrap": 20},
}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    data = synth(tmp_path / "data", count=4, settings=TINY, seed=3, quiet=True)
    assert len(data) == 4
    return sorted((tmp_path / "data" / "images").rglob("*.png"))[0]


def test_a_data_set_can_be_read_again_and_is_not_written_over(tmp_path: Path) -> None:
    data = synth(tmp_path / "data", count=3, settings=TINY, quiet=True)
    assert data.resolution == 32 and data.image(0).shape == (32, 32, 3)
    with pytest.raises(UsageError):
        synth(tmp_path / "data", count=5, settings=TINY, quiet=True)
    assert len(synth(tmp_path / "data", count=5, settings=TINY, force=True, quiet=True)) == 5


def test_tokens_are_learned_and_drawn(
    picture: Path, tmp_path: Path, tiny_bert_pipeline_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(tiny_bert_pipeline_dir)
    report = invert(picture, [2, 1], model=model, out=tmp_path / "run", device="cpu", settings=TINY)
    assert [tokens.m for tokens in report.results[0].tokens] == [1, 2]
    file = tmp_path / "run" / report.results[0].tokens[1].file
    drawings = draw(
        "a photo of {S}", model=model, images=2, embeddings=file, out=tmp_path / "drawn", settings=TINY
    )
    assert len(drawings) == 2 and drawings[0].mode == "RGB"
    captured = capsys.readouterr()
    assert captured.out == "" and str(tmp_path / "run") in captured.err


def test_quiet_is_quiet(picture: Path, tmp_path: Path, tiny_bert_pipeline_dir: Path, capfd: Any) -> None:
    model = str(tiny_bert_pipeline_dir)
    invert([picture], [1], model=model, out=tmp_path / "run", device="cpu", settings=TINY, quiet=True)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_score_is_the_report_of_the_command(
    picture: Path, tmp_path: Path, tiny_bert_pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.detection.tiny import write_tiny_detector

    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    detector = write_tiny_detector(tmp_path / "detector")
    settings = {**TINY, "score": {**TINY["score"], "detector": str(detector), "measure_anyway": True}}
    report = score(
        picture,
        model=str(tiny_bert_pipeline_dir),
        metric="elements",
        max_tokens=2,
        out=tmp_path / "run",
        device="cpu",
        settings=settings,
        quiet=True,
    )
    assert report.schema_id == "origcli/score/1" and len(report.results) == 1
    score_settings = report.provenance.settings["score"]
    assert isinstance(score_settings, dict) and score_settings["max_tokens"] == 2
    assert (tmp_path / "run" / "report.html").is_file()
    assert "<table" in report._repr_html_() and picture.name in report._repr_html_()


def test_models_are_calibrated_and_runs_compared(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch, pixel_metric: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    captions = tmp_path / "captions.txt"
    captions.write_text(
        "".join(
            f"a {word}\n"
            for word in ["red", "blue", "green", "big", "small", "cat", "dog", "sun", "sky", "sea"]
        )
    )
    model = str(tiny_bert_pipeline_dir)
    own: Any = {"settings": TINY, "device": "cpu", "quiet": True}
    found = calibrate(model=model, own_samples=2, controls=1, captions_file=captions, **own).results[0]
    assert (found.captions, found.samples, found.control_images) == (10, 2, 1)
    assert found.threshold.value is not None and Path("runs/calibrate-bert/report.json").is_file()

    picture = tmp_path / "a.png"
    Image.new("RGB", (32, 32), "red").save(picture)
    for steps in (2, 3):
        drawn = {**own, "settings": {**TINY, "draw": {"steps": steps, "batch_size": 4}}}
        score(picture, model=model, max_tokens=1, out=tmp_path / f"steps-{steps}", threshold=0.1, **drawn)
    report = compare([tmp_path / "steps-2", tmp_path / "steps-3"])
    assert report.results[0].differences[0].base == "bert (steps-2)"
    assert Path("runs/compare-steps-3/report.html").is_file()
    with pytest.raises(TypeError, match="give a list"):
        compare(tmp_path / "steps-2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="score takes one model"):
        score(picture, model=["a", "b"])  # type: ignore[arg-type]


def test_words_come_before_settings_and_these_before_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "origcli.toml"
    config.write_text("[score]\nsamples = 3\nmax_tokens = 3\nbootstrap = 3\n")
    monkeypatch.setenv("ORIGCLI_SCORE_SAMPLES", "4")
    monkeypatch.setenv("ORIGCLI_SCORE_MAX_TOKENS", "4")
    run: Any = {"config": config, "settings": {"score": {"samples": 5}}, "seed": 7, "preset": ("paper",)}
    found = _settings(run, score={"samples": 6, "model": None})
    assert (found.score.samples, found.score.max_tokens, found.score.bootstrap) == (6, 4, 3)
    assert found.runtime.seed == 7 and found.invert.steps == 2000
    assert _settings(run, score={}).score.samples == 5


def test_every_name_is_there_and_no_other() -> None:
    for name in origcli.__all__:
        assert getattr(origcli, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        origcli.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"modle": "shapes"}, TypeError, "modle"),
        ({"setings": {}}, TypeError, "did you mean 'settings'"),
        ({"settings": {"scor": {"samples": 2}}}, UsageError, "unknown section 'scor'"),
        ({"settings": {"score": {"imags": 2}}}, UsageError, "has no 'imags'"),
        ({"preset": "papr"}, UsageError, "unknown preset 'papr'"),
    ],
)
def test_a_misspelt_word_is_told(words: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _settings(words)


def test_presets_are_named_as_the_option_names_them() -> None:
    assert _settings({"preset": "paper"}).invert.steps == 2000
    assert _settings({"preset": "small,fast"}) == _settings({"preset": ("small", "fast")})


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (Image.new("RGB", (8, 8)), "PIL.Image.Image"),
        ([Image.new("RGB", (8, 8))], "PIL.Image.Image"),
        (np.zeros((8, 8, 3), np.uint8), "numpy.ndarray"),
        (torch.zeros(3, 8, 8), "torch.Tensor"),
        (["a.png", None], "NoneType"),
        (b"\x89PNG", "int"),
        (7, "int"),
    ],
)
def test_images_in_memory_are_refused_by_what_they_are(images: Any, named: str) -> None:
    for function in (origcli.score, origcli.detect, origcli.invert):
        with pytest.raises(TypeError, match=f"^{re.escape(named)} is not accepted: give one path") as caught:
            function(images)
        assert "image.save" in str(caught.value)


def test_other_addresses_are_refused_by_name_and_show_no_password() -> None:
    with pytest.raises(InputError, match="only http and https addresses") as caught:
        origcli.detect("s3://me:secret@bucket/a.png")
    assert "secret" not in f"{caught.value}{caught.value.message}" and "download" in caught.value.hint
