"""`origcli doctor`: what is here, and whether a score could run."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from origcli.scoring import diagnosis, readiness
from origcli.settings import resolve
from origcli.weights import registry
from origcli.weights.hashing import hash_pipeline
from origcli.weights.registry import RegistryValues, write_registry
from tests.cli.command_line import run_here

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def call(*words: str) -> tuple[int, str, str]:
        return run_here(capsys, "doctor", *words)

    return call


@pytest.fixture
def bundled(
    tiny_bert_pipeline_dir: Path, tiny_detector_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A bundled model as the package has it."""
    directory = tmp_path / "shapes"
    shutil.copytree(tiny_bert_pipeline_dir, directory)
    shutil.copytree(tiny_detector_dir, directory / "detector")
    write_registry(directory, RegistryValues(metric="elements", weights_hash=hash_pipeline(directory)))
    monkeypatch.setattr(registry, "bundled_directory", lambda: directory)
    return directory


def test_ready(run: Run, bundled: Path) -> None:
    status, out, err = run("--device", "cpu", "--json")
    report = json.loads(out)
    assert (status, err, report["score_ready"], report["model"]) == (0, "", True, "shapes")
    assert {"python", "torch", "cache", "hub cache", "model shapes"} <= {c["name"] for c in report["checks"]}
    assert report["memory"]["total"] > 0 and report["devices"][-1]["device"] == "cpu"
    assert "torch" in report["versions"] and "sd15" in report["not_fetched"]
    status, out, _ = run("--device", "cpu")
    assert status == 0 and "model shapes" in out and "(chosen)" in out


@pytest.mark.fault(22, "one flipped bit of the bundled model is found")
def test_a_damaged_bundle(run: Run, bundled: Path) -> None:
    weights = bundled / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    status, out, err = run("--device", "cpu", "--format", "json")
    assert status == 4 and not json.loads(out)["score_ready"] and "install origcli again" in err
    weights.unlink()
    (bundled / "model_index.json").unlink()
    assert run("--device", "cpu")[0] == 4


def test_a_model_without_its_detector(run: Run, bundled: Path) -> None:
    shutil.rmtree(bundled / "detector")
    status, _, err = run("--device", "cpu")
    assert status == 4 and "metric elements" in err


def test_the_metric_that_is_asked_for(run: Run, bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, err = run("--metric", "dreamsim:clip_vitb32", "--device", "cpu")
    assert status == 4 and "origcli fetch dreamsim:clip_vitb32" in err and "metric elements" not in out
    monkeypatch.setenv("ORIGCLI_SCORE_METRIC", "dreamsim")
    assert run("--device", "cpu")[0] == 4
    for metric in ("dreamsin", "dreamsim:x"):
        assert run("--metric", metric, "--device", "cpu")[0] == 2
    monkeypatch.delenv("ORIGCLI_SCORE_METRIC")
    (bundled / "detector").rename(bundled.parent / "mine")
    assert run("--device", "cpu")[0] == 4
    assert run("--device", "cpu", "--detector", str(bundled.parent / "mine"))[0] == 0


def test_what_is_fetched_is_said(run: Run, bundled: Path, tmp_path: Path) -> None:
    assert "no weights yet" in run("--device", "cpu")[1]
    from origcli.scoring import fetching

    fetching.weight_file("yolov8n").path.parent.mkdir()
    fetching.weight_file("yolov8n").path.write_bytes(b"weights")
    _, out, _ = run("--device", "cpu", "--json")
    fetched = next(check for check in json.loads(out)["checks"] if check["name"] == "fetched")
    assert fetched["detail"] == "yolov8n" and json.loads(out)["fetched"].keys() == {"yolov8n"}


def test_what_a_gpu_would_need(run: Run) -> None:
    status, out, err = run("--model", "sd15", "--device", "cpu", "--format", "json")
    assert status == 4 and json.loads(out)["model"] == "sd15"
    for command in ("origcli fetch sd15", "origcli fetch dreamsim"):
        assert command in err
    clip = next(check for check in json.loads(out)["checks"] if check["name"] == "clip")
    assert clip["state"] == "warning" and "origcli fetch clip" in clip["remedy"]  # a score runs without it
    for name in ("sd16", "bert", "a/b/c"):
        status, _, err = run("--model", name, "--device", "cpu")
        assert status == 2 and "fetched" not in err
    status, out, _ = run("--model", "./gone", "--device", "cpu")
    assert status == 4 and "no such directory" in out
    assert run("--device", "gpu")[0] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": "AudioLDM2Pipeline"}, "AudioLDM2Pipeline"),
        ({"_class_name": "FluxInpaintPipeline"}, "an inpainting model"),
        ({"scheduler": ["diffusers", "LCMScheduler"]}, "step-distilled model"),
    ],
)
@pytest.mark.fault(40, "doctor refuses what score refuses, in the same words")
def test_a_kind_that_score_refuses(run: Run, bundled: Path, change: dict[str, Any], words: str) -> None:
    index = bundled / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_bytes()), **change}))
    status, out, err = run("--model", str(bundled), "--device", "cpu", "--json")
    report = json.loads(out)
    assert status == 4 and not report["score_ready"] and "supported are" in err
    assert words in next(c for c in report["checks"] if c["name"] == f"model {bundled}")["detail"]


@pytest.mark.fault(42, "doctor names the file that score would miss")
def test_a_part_without_its_file(run: Run, bundled: Path) -> None:
    (bundled / "tokenizer" / "tokenizer.json").unlink()
    status, out, _ = run("--device", "cpu")
    assert status == 4 and "tokenizer.json: missing" in " ".join(out.split())


@pytest.mark.fault(45, "doctor imports what it vouches for, and names what cannot be imported")
def test_a_detector_that_cannot_be_imported(run: Run, bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)  # as where libGL is missing
    status, out, err = run("--device", "cpu", "--json")
    assert status == 4 and "opencv-python-headless" in err
    assert "cannot run the bundled demo" in json.loads(out)["summary"]


def test_a_damaged_detector(run: Run, bundled: Path) -> None:
    (bundled / "detector" / "detector.safetensors").write_bytes(b"")
    status, out, _ = run("--device", "cpu", "--json")
    assert status == 4 and "metric elements" in json.loads(out)["checks"][-1]["name"]


def test_the_last_line_is_for_everybody(run: Run, bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def last(*words: str) -> str:
        return run(*words)[1].splitlines()[-1]

    assert last("--device", "cpu") == (
        "This machine can run the bundled demo, but cannot measure photos yet; "
        "first: origcli fetch sd15 dreamsim"
    )
    shutil.rmtree(bundled / "detector")
    assert "cannot run the bundled demo, nor can it measure photos" in last("--device", "cpu")
    found = readiness.Check("all", "ok", "here")
    for module in (readiness, diagnosis):
        monkeypatch.setattr(module, "check_score", lambda settings, device: [found])
    assert last("--model", "sd15", "--device", "cpu").startswith(
        "This machine can run the bundled demo and measure photos with sd15, slowly without a GPU"
    )
    settings = resolve({}, environment={})[0]
    assert readiness.in_one_line(settings, "cuda", [found]).endswith("measure photos with sd15.")


@pytest.mark.fault(64, "doctor says so, and goes on")
def test_no_cache_is_a_warning(
    run: Run, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "file"))
    status, out, _ = run("--device", "cpu", "--json")
    (cache,) = [check for check in json.loads(out)["checks"] if check["name"] == "cache"]
    assert status == 0 and cache["state"] == "warning"
    assert "none" in cache["detail"] and "ORIGCLI_CACHE" in cache["remedy"]
