"""`origcli draw`, as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from origcli.images.inputs import find_inputs
from origcli.inversion.placeholders import placeholder
from origcli.inversion.token_files import write_tokens
from origcli.runtime.seeding import noise
from tests.cli.command_line import run_here
from tests.reports.pages import Page
from tests.tiny_models import EMBEDDING_WIDTH

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_bert_pipeline_dir: Path,
) -> Run:
    """Runs `origcli draw` with the tiny pipeline in its own directory: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        quick = ("--denoising-steps", "2", "--device", "cpu", "--quiet")
        return run_here(capsys, "draw", tiny_bert_pipeline_dir, *words, *quick)

    return call


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, int)


def drawn(out: str) -> list[str]:
    return [row["file"] for row in json.loads(out)]


def test_each_call_draws_into_a_directory_of_its_own(run: Run, tiny_bert_pipeline_dir: Path) -> None:
    words = ("--prompt", "circle", "-n", "1", "--format", "json")
    first = f"runs/draw-{tiny_bert_pipeline_dir.name}"
    for options, directory in (((), first), ((), f"{first}-2"), (("--force",), f"{first}-2")):
        status, out, err = run(*words, *options)
        assert (status, err, drawn(out)) == (0, "", [f"{directory}/0000.png"])
    assert Path(first, "0000.png").read_bytes() == Path(f"{first}-2", "0000.png").read_bytes()


def test_a_directory_that_is_asked_for_is_not_written_over(run: Run) -> None:
    words = ("-n", "2", "--out", "drawn", "--format", "json")
    status, out, _ = run("--prompt", "circle", "--prompt", "star", *words)
    assert status == 0 and drawn(out) == [f"drawn/000{i}.png" for i in range(4)]
    assert [row["prompt"] for row in json.loads(out)] == ["circle", "circle", "star", "star"]
    status, out, err = run(*words)
    assert (status, out) == (2, "") and "not empty" in err
    assert Path("drawn/0003.png").is_file()


def test_a_placeholder_needs_tokens(run: Run) -> None:
    status, out, err = run("--prompt", "a photo of {S}")
    assert (status, out) == (2, "") and "add --embeddings FILE" in err


def test_learned_tokens_of_a_file_are_drawn_from(
    run: Run, tmp_path: Path, tiny_bert_pipeline_dir: Path
) -> None:
    """The pictures of a plain diffusers pipeline that loads the same file."""
    vectors = torch.randn(2, EMBEDDING_WIDTH, generator=torch.Generator().manual_seed(0))
    write_tokens(tmp_path / "cat.safetensors", token := placeholder("cat", 2), {"": vectors})
    words = ("--embeddings", "cat.safetensors", "-n", "2", "--guidance", "3", "--scheduler", "ddim")
    status, out, err = run("-p", "a photo of {S}", "-p", "star", *words, "--out", "drawn", "--format", "json")
    assert (status, err) == (0, "") and len(drawn(out)) == 4

    plain = DiffusionPipeline.from_pretrained(tiny_bert_pipeline_dir, safety_checker=None)
    plain.set_progress_bar_config(disable=True)
    plain.load_textual_inversion(str(tmp_path / "cat.safetensors"))
    shape = (plain.unet.config.in_channels, *[plain.unet.config.sample_size] * 2)
    latents = torch.stack([noise(shape, seed, "draw") for seed in (0, 1)] * 2)
    prompts = [f"a photo of {token}"] * 2 + ["star"] * 2
    expected = plain(prompts, num_inference_steps=2, guidance_scale=3.0, latents=latents).images
    for file, other in zip(drawn(out), expected, strict=True):
        assert np.abs(pixels(Image.open(file)) - pixels(other)).max() <= 1
    assert np.abs(pixels(expected[0]) - pixels(expected[2])).max() > 1


def test_tokens_of_another_model_are_refused(run: Run, tmp_path: Path) -> None:
    write_tokens(tmp_path / "wide.safetensors", "<wide>", {"": torch.ones(1, EMBEDDING_WIDTH + 1)})
    status, out, err = run("-p", "a photo of {S}", "--embeddings", "wide.safetensors", "--out", "drawn")
    assert (status, out) == (2, "") and "width 17" in err and "the model that they were learned with" in err
    assert not Path("drawn").exists()


def test_samples_can_be_counted_for_nothing_else_lies_among_them(run: Run) -> None:
    """A mean over nine samples became one over ten, when the sheet of them was an image beside them."""
    status, out, _ = run("-p", "circle", "-n", "3", "--out", "drawn", "--format", "json")
    assert status == 0
    assert [str(one.path) for one in find_inputs(["drawn"])] == drawn(out)
    assert sorted(map(str, Path("drawn").glob("*.png"))) == drawn(out)
    page = Page(Path("drawn/report.html").read_text("utf-8"))
    (sheet,) = page.all("img")
    assert sheet["src"].startswith("data:image/png;base64,") and "3 samples of" in page.text
