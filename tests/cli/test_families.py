"""Every family of models through the commands, on tiny pipelines of the real classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from origcli.cli.app import main
from tests.tiny_families import BUILDERS, write_tiny_family

QUICK = (
    *("--max-tokens", "2", "--images", "2", "--steps", "2", "--invert-steps", "2", "--edit-prompt", "none"),
    *("--device", "cpu", "--threads", "1", "--quiet", "--measure-anyway", "--format", "json"),
)
SMALL = {
    "ORIGCLI_INVERT_BATCH_SIZE": "2",
    "ORIGCLI_INVERT_EVALUATE_SAMPLES": "2",
    "ORIGCLI_SCORE_CEILING_IMAGES": "2",
    "ORIGCLI_SCORE_BOOTSTRAP": "10",
}


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pipeline directory by name, written once."""
    root = tmp_path_factory.mktemp("families")

    def get(name: str) -> Path:
        return root / name if (root / name).is_dir() else write_tiny_family(root / name, name)

    return get


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], pixel_metric: None
) -> Any:
    """Runs a command in this process, in a directory of its own, with the metric of the tests."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"ORIGCLI_CACHE": str(tmp_path / "cache"), **SMALL}.items():
        monkeypatch.setenv(name, value)
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save("photo.png")

    def call(*words: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


# Of two that differ in a configuration only, one runs with the others.
LIKE_ANOTHER = {"sdxl_v", "sd3_without_t5", "pixart_alpha"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LIKE_ANOTHER else ()) for name in BUILDERS],
)
def test_an_image_is_scored(name: str, directories: Any, run: Any, tmp_path: Path) -> None:
    status, out, err = run("score", "photo.png", "--model", directories(name), "--out", "run", *QUICK)
    assert status == 0, err
    result = json.loads(out)["results"][0]
    assert [point["m"] for point in result["curve"]] == [1, 2]
    assert all(len(point["distances"][0]) == 2 for point in result["curve"])
    report = json.loads((tmp_path / "run/report.json").read_text("utf-8"))
    title = report["provenance"]["model"]["family"]
    assert title and f"({title})" in result["verdict"]["words"]

    keys = {
        "sdxl": {"clip_l", "clip_g"},
        "sd3": {"clip_l", "clip_g", "t5xxl"},
        "flux": {"clip_l", "t5", "t5xxl"},
    }
    with safe_open(tmp_path / "run" / result["embeddings"][1], "pt") as file:
        found = set(file.keys())
    assert found == keys.get(name, found) and len(found) == len(keys.get(name, found))
