"""`origcli doctor`: what is here, and whether a score could run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from origcli.cli.app import main
from origcli.weights import registry
from origcli.weights.hashing import hash_pipeline
from origcli.weights.registry import RegistryValues, write_registry

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["doctor", *words])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def bundled(tiny_bert_pipeline_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundled model as the package has it."""
    directory = tmp_path / "shapes"
    shutil.copytree(tiny_bert_pipeline_dir, directory)
    (directory / "detector").mkdir()
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
    (bundled / "detector").rmdir()
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
    assert "nothing" in run("--device", "cpu")[1]
    from origcli.weights import fetching

    fetching.weight_file("yolov8n").write_bytes(b"weights")
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
