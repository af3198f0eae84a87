"""Scores over a local Ray cluster of two workers are the bytes of scores without one."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from origcli.images.inputs import find_inputs
from origcli.reports.schema import ScoreResult
from origcli.reports.writers import read_report
from origcli.runtime.context import open_runtime
from origcli.scoring import on_cluster
from origcli.scoring.run import Request, score_images
from origcli.scoring.worker import open_worker
from origcli.settings import Settings, resolve
from origcli.weights.registry import bundled_directory
from tests.cli.command_line import origcli
from tests.tiny_families import write_tiny_family

SMALL: dict[str, dict[str, Any]] = {
    "runtime": {"device": "cpu", "threads": 1},
    "invert": {"steps": 2, "batch_size": 2, "evaluate_samples": 2},
    "draw": {"steps": 2},
    "score": {
        "model": "shapes",
        "max_tokens": 1,
        "samples": 2,
        "ceiling_samples": 4,
        "bootstrap": 20,
        "measure_anyway": True,
    },
}

FEW = {"ORIGCLI_SCORE_CEILING_SAMPLES": "4", "ORIGCLI_SCORE_BOOTSTRAP": "20"}


@pytest.fixture
def settings() -> Settings:
    return resolve(SMALL, environment={})[0]


@pytest.fixture
def queries(tmp_path: Path) -> list[str]:
    with Image.open(bundled_directory() / "example.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    for i in range(4):
        Image.fromarray(np.roll(pixels, 5 * i, axis=1)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    return [str(tmp_path / f"{i}.png") for i in range(4)]


def test_a_worker_sends_its_files_with_the_outcomes(settings: Settings, queries: list[str]) -> None:
    from origcli.scoring.batches import make_batches

    (batch,) = make_batches(find_inputs(queries[1:3]), 2, "object")
    made_by, outcomes, files = open_worker(settings, None, None)(batch)
    assert made_by.model is not None and made_by.model.name == "shapes"
    assert [getattr(one, "id", None) for one in outcomes] == ["1", None]
    first = outcomes[0]
    assert isinstance(first, ScoreResult) and first.in_distribution is not None
    placement, (point,) = first.in_distribution, first.curve
    assert (placement.kind, placement.m) == ("placement", 1)
    assert placement.drawings == point.drawings and len(point.drawings) == 2
    assert "embeddings/1-m1.safetensors" in files and "pictures/1/query.png" in files


@pytest.mark.fault(30, "the report is the same bytes")
@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_even_if_a_worker_dies(
    tmp_path: Path, settings: Settings, queries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    inputs = find_inputs(queries)
    with open_runtime(settings.runtime, tmp_path / "plain") as runtime:
        score_images(Request(inputs), settings, runtime)
    killed: list[int] = []

    def kill_a_worker(outcome: Any) -> None:
        if not killed:
            found = [
                int(path.name)
                for path in Path("/proc").iterdir()
                if path.name.isdecimal() and _is_worker_of_ours(path)
            ]
            assert len(found) == 2
            killed.append(found[0])
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(on_cluster, "ray_cluster", _two_cores)
    with open_runtime(settings.runtime, tmp_path / "spread") as runtime:
        score_images(Request(inputs, ray="auto"), settings, runtime, kill_a_worker)
    assert killed
    for name in ("report.json", "report.csv", "report.html", "results.jsonl"):
        assert (tmp_path / "spread" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert len(read_report(tmp_path / "spread").results) == 3
    assert (tmp_path / "spread/pictures/3/query.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["sd3_without_t5", "sdxl", "flux", "pixart_sigma", "sana", "z_image", "qwen_image"]
)
def test_a_model_of_each_family_gives_the_same_bytes(
    name: str,
    tmp_path: Path,
    settings: Settings,
    queries: list[str],
    tiny_detector_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers open the model, and send tokens of all its encoders."""
    pytest.importorskip("ray")
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    own = {
        "model": str(write_tiny_family(tmp_path / "model", name)),
        "metric": "elements",
        "detector": str(tiny_detector_dir),
        "calibrate": False,
    }
    settings = settings.model_copy(update={"score": settings.score.model_copy(update=own)})
    monkeypatch.setattr(on_cluster, "ray_cluster", _two_cores)
    for out, ray in (("plain", None), ("spread", "auto")):
        with open_runtime(settings.runtime, tmp_path / out) as runtime:
            score_images(Request(find_inputs(queries[:2]), ray=ray), settings, runtime)
    for name in ("report.json", "report.csv", "results.jsonl", "embeddings/1-m1.safetensors"):
        assert (tmp_path / "spread" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes(), name


@pytest.mark.slow
def test_two_models_on_a_cluster_give_the_same_bytes(
    tmp_path: Path, queries: list[str], tiny_detector_dir: Path
) -> None:
    """Each model's run starts and stops a cluster."""
    pytest.importorskip("ray")
    models = [write_tiny_family(tmp_path / f"model-{seed}", "sdxl", seed) for seed in range(2)]
    words = ["score", *queries[:2], *(word for model in models for word in ("--model", str(model)))]
    words += ["--metric", "elements", "--detector", str(tiny_detector_dir), "--no-calibrate", "--no-cache"]
    words += ["--measure-anyway", "--edit-prompt", "none", "--max-tokens", "1", "--samples", "2"]
    words += ["--learning-steps", "2", "--denoising-steps", "2", "--device", "cpu", "--threads", "1"]
    for out, more in (("plain", ["--workers", "1"]), ("spread", ["--ray", "auto"])):
        done = origcli(*words, *more, "--out", str(tmp_path / out), env={**os.environ, **FEW}, timeout=900)
        assert done.returncode == 0, done.stderr
    for run in ("model-0", "model-1", "comparison"):
        for name in ("report.json", "report.csv", "report.html"):
            plain, spread = (tmp_path / out / run / name for out in ("plain", "spread"))
            assert spread.read_bytes() == plain.read_bytes(), f"{run}/{name}"


@contextmanager
def _two_cores(address: str) -> Iterator[Any]:
    """A cluster of this machine with two workers, however many cores there are."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        yield ray
    finally:
        ray.shutdown()


def _is_worker_of_ours(process: Path) -> bool:
    """Whether a process is an actor of Ray's that this process's cluster started."""
    try:
        if b"ray::Worker" not in (process / "cmdline").read_bytes():
            return False
        while process.name not in ("0", "1", str(os.getpid())):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            process = process.with_name(parent)
    except OSError:
        return False
    return process.name == str(os.getpid())
