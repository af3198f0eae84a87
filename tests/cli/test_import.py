"""`origcli import`, as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import origcli
from tests.cli.command_line import run_here
from tests.single_files import load_parts, write_kohya_lora, write_single_file
from tests.stable_diffusion import write_narrow_pipeline

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory `sd`, the same as one file, and a LoRA of it."""
    here = tmp_path_factory.mktemp("files")
    parts = load_parts(write_narrow_pipeline(here / "sd"))
    write_single_file(here / "sd.safetensors", parts)
    write_kohya_lora(here / "style.safetensors", parts, r"attn2\.to_q")
    (here / "sd.ckpt").write_bytes(b"not even read")
    return here


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*words: str | Path) -> tuple[int, str, str]:
        return run_here(capsys, *words)

    return call


def test_a_file_and_a_lora_become_a_model_that_draws(run: Run, files: Path) -> None:
    words = (
        files / "sd.safetensors",
        "--config",
        files / "sd",
        "--lora",
        f"{files / 'style.safetensors'}@0.5",
    )
    status, out, err = run("import", *words, "--out", "model", "--quiet", "--format", "json")
    assert (status, err) == (0, "")
    source = json.loads(out)
    assert source == json.loads(Path("model/source.json").read_text("utf-8"))
    assert source["loras"][0]["scale"] == 0.5
    assert str(files) not in out  # no paths of this machine
    status, out, err = run(
        "draw", "model", "-p", "a cat", "-n", "1", "--denoising-steps", "1", "--device", "cpu", "--quiet"
    )
    assert (status, err) == (0, "")
    status, out, _ = run("import", *words, "--out", "model", "--force", "--quiet")
    assert status == 0
    assert "Stable Diffusion 1" in out


def test_what_is_wrong_is_said_with_its_status(run: Run, files: Path) -> None:
    for words, status, message in (
        ((files / "sd.ckpt",), 4, "a .ckpt file is a pickle"),
        ((files / "none.safetensors",), 4, "no such file"),
        ((files / "style.safetensors",), 4, "not a whole model, but a LoRA"),
        ((files / "sd.safetensors", "--config", "sd51"), 2, "unknown configuration 'sd51'"),
        ((files / "sd", "--lora", "none.safetensors"), 4, "no such file"),
        ((files / "sd", "--lora", "none.safetensors@x"), 2, "'x' is not a scale"),
        ((files / "sd", "--dtype", "fp8"), 2, "fp8"),
        ((files / "sd", "--prediction", "v"), 2, "'v'"),
        (("nowhere",), 2, "nowhere"),
    ):
        found, out, err = run("import", *words, "--out", "model", "--offline")
        assert (found, out) == (status, ""), err
        assert message in err
        assert not Path("model").exists()


def test_from_python(files: Path, tmp_path: Path) -> None:
    source = origcli.import_model(
        files / "sd", tmp_path / "model", loras=[files / "style.safetensors"], dtype="fp16", quiet=True
    )
    assert source["loras"][0]["tensors_changed"] > 0
    assert (tmp_path / "model" / "source.json").is_file()
