"""`make real` from end to end, with a tiny pipeline for Stable Diffusion and random DreamSim weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import real
from origcli.errors import UsageError
from origcli.weights.dreamsim_release import RELEASES
from tests.perception.releases import archive, write_release
from tests.serving import file_server

METRIC = "dreamsim:clip_vitb32"
SETTINGS = """
[runtime]
device = "cpu"
[invert]
steps = 2
batch_size = 2
evaluate_samples = 2
templates = "photo"
[draw]
steps = 2
[score]
max_tokens = 2
samples = 2
ceiling_samples = 3
bootstrap = 20
edit_prompt = "none"
measure_anyway = true
[calibrate]
captions = 10
samples = 2
controls = 1
"""
CAPTIONS = ["red", "blue", "green", "big", "small", "cat", "dog", "sun", "sky", "sea"]


@pytest.mark.slow
def test_all_of_it_at_the_smallest_scale(
    tmp_path: Path, tiny_clip_pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    (tmp_path / "settings.toml").write_text(SETTINGS)
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(images / "mine.png")
    release = archive(write_release(tmp_path / "release", "clip_vitb32"), tmp_path / "release.zip")
    with file_server() as files:
        files.content[f"/{RELEASES['clip_vitb32'].archive.name}"] = release.read_bytes()
        monkeypatch.setenv("ORIGCLI_MIRROR", files.url)
        real.main([
            *("--images", str(images), "--no-photos", "--model", str(tiny_clip_pipeline_dir)),
            *("--metric", METRIC, "--companions", "--tests", "tests/test_errors.py"),
            *("--config", str(tmp_path / "settings.toml"), "--captions-file", str(tmp_path / "captions.txt")),
            *("--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "real")),
        ])  # fmt: skip
    found = json.loads((tmp_path / "real" / "real.json").read_text("utf-8"))
    assert found["fetched"]["names"] == [METRIC] and found["tests"]["status"] == 5
    for preset in ("fast", "paper"):
        one = found["presets"][preset]
        assert one["calibration"]["control_images"] == 1 and one["calibration"]["captions"] == 10
        assert one["threshold"]["source"] == "samples" and one["threshold"]["control_images"] == 1
        (image,) = one["images"]
        assert list(image["curve"]) == ["1", "2"] and image["image"] == "mine.png"
        assert one["score"]["seconds"] > 0 and one["score"]["process_gigabytes"] > 0
    page = (tmp_path / "real" / "real.md").read_text("utf-8")
    assert "| mine.png |" in page and "Positive control" in page and "torch " in page


def test_without_scikit_image_and_without_images_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="scikit-image is not installed") as problem:
        real.main([])
    assert "--images DIR" in (problem.value.hint or "")
