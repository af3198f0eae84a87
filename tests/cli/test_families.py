"""Every family of models through the commands, on tiny pipelines of the real classes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DiffusionPipeline
from huggingface_hub import constants
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.cli.command_line import run_here
from tests.hub_server import Repository, hub_server, point_to
from tests.single_files import original_transformer
from tests.tiny_families import BUILDERS, write_tiny_family

QUICK = (
    *("--max-tokens", "2", "--samples", "2", "--denoising-steps", "2", "--learning-steps", "2"),
    *("--edit-prompt", "none"),
    *("--device", "cpu", "--threads", "1", "--quiet", "--measure-anyway", "--format", "json"),
)
SMALL = {
    "ORIGCLI_INVERT_BATCH_SIZE": "2",
    "ORIGCLI_INVERT_EVALUATE_SAMPLES": "2",
    "ORIGCLI_SCORE_CEILING_SAMPLES": "2",
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
    """Runs a command in this process, in its own directory, with the metric of the tests."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"ORIGCLI_CACHE": str(tmp_path / "cache"), **SMALL}.items():
        monkeypatch.setenv(name, value)
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save("photo.png")

    def call(*words: Any) -> tuple[int, str, str]:
        return run_here(capsys, *words)

    return call


def families(*quick: str) -> pytest.MarkDecorator:
    """All families; those that are not named here run with the slow tests."""
    names = [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in BUILDERS]
    return pytest.mark.parametrize("name", names)


# Of two that differ in a configuration only, one runs with the others.
LIKE_ANOTHER = {"sdxl_v", "sd3_without_t5", "pixart_alpha"}


@families(*BUILDERS.keys() - LIKE_ANOTHER)
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


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_an_imported_file_scores_like_the_pipeline_that_it_was(
    name: str, directories: Any, run: Any, tmp_path: Path
) -> None:
    tuned = write_tiny_family(tmp_path / "tuned", name, seed=1)
    transformer = DiffusionPipeline.from_pretrained(tuned).transformer
    save_file(original_transformer(transformer), tmp_path / "tuned.safetensors")
    shutil.copytree(tuned, tmp_path / "base")
    shutil.copytree(directories(name) / "transformer", tmp_path / "base/transformer", dirs_exist_ok=True)
    words = ("--config", "base", "--out", "imported", "--quiet")
    status, _, err = run("import", "tuned.safetensors", *words)
    assert status == 0, err

    curves = {}
    for model in ("tuned", "imported", "base"):
        status, out, err = run("score", "photo.png", "--model", model, "--out", f"of-{model}", *QUICK)
        assert status == 0, err
        curves[model] = json.loads(out)["results"][0]["curve"]
    assert curves["imported"] == curves["tuned"] != curves["base"]


def test_what_was_learned_is_kept_drawn_from_and_given(directories: Any, run: Any, tmp_path: Path) -> None:
    """Tokens of several encoders: from the cache in equal bytes, and from their file."""
    model = directories("sdxl")
    for out in ("one", "two"):
        assert run("score", "photo.png", "--model", model, "--out", out, *QUICK)[0] == 0
    assert (tmp_path / "one/report.json").read_bytes() == (tmp_path / "two/report.json").read_bytes()
    assert (tmp_path / "cache").is_dir()

    file = tmp_path / "one/embeddings/photo-m2.safetensors"
    words = ("--denoising-steps", "2", "-n", "1", "--device", "cpu", "--quiet", "--out", "drawn")
    status, _, err = run("draw", model, "-p", "a photo of {S}", "--embeddings", file, *words)
    assert status == 0 and (tmp_path / "drawn/0000.png").is_file(), err

    given = ("score", "photo.png", "--model", model, "--embeddings", file, "--out", "given", *QUICK)
    status, out, err = run(*given)
    assert status == 0, err
    found = json.loads(out)["results"][0]["curve"][0]
    before = json.loads((tmp_path / "one/report.json").read_text("utf-8"))["results"][0]["curve"][1]
    assert found["m"] == before["m"] == 2 and found["distances"] == before["distances"]

    status, _, err = run("score", "photo.png", "--model", directories("flux"), "--embeddings", file, *QUICK)
    assert status == 2 and "clip_l, clip_g do not fit" in err


@families("qwen_image")
def test_tokens_are_learned_into_a_file_that_draws(
    name: str, directories: Any, run: Any, tmp_path: Path
) -> None:
    model, words = directories(name), ("--device", "cpu", "--threads", "1", "--quiet")
    learn = ("--tokens", "1,2", "--learning-steps", "2", "--batch-size", "2", "--out", "learned")
    status, _, err = run("invert", "photo.png", "--model", model, *learn, *words)
    assert status == 0, err
    report = json.loads((tmp_path / "learned/report.json").read_text("utf-8"))
    (result,) = report["results"]
    assert [tokens["m"] for tokens in result["tokens"]] == [1, 2]
    file = tmp_path / "learned" / result["tokens"][1]["file"]
    for out, more in (("with", ("--embeddings", file)), ("again", ("--embeddings", file)), ("plain", ())):
        prompt = "a photo of {S}" if more else "a photo of a cat"
        draw = ("--denoising-steps", "2", "-n", "1", "--out", out, *more)
        status, _, err = run("draw", model, "-p", prompt, *draw, *words)
        assert status == 0, err
    images = [(tmp_path / out / "0000.png").read_bytes() for out in ("with", "again", "plain")]
    assert images[0] == images[1] != images[2]


def test_a_flow_model_keeps_its_scheduler(directories: Any, run: Any) -> None:
    words = ("score", "photo.png", "--model", directories("flux"), "--scheduler", "ddim", *QUICK)
    status, _, err = run(*words)
    assert status == 2 and "FlowMatchEulerDiscreteScheduler" in err and "leave --scheduler out" in err


@families("sd3")
def test_images_together_and_again_until_one_suffices(
    name: str, directories: Any, run: Any, tmp_path: Path
) -> None:
    Image.open("photo.png").rotate(90).save("other.png")
    words = ("--together", "2", "--repeats", "2", "--until-reached", "--threshold", "0.9", *QUICK)
    status, out, err = run("score", "photo.png", "other.png", "--model", directories(name), *words)
    assert status == 0, err
    results = json.loads(out)["results"]
    assert len(results) == 2
    for result in results:
        assert [point["m"] for point in result["curve"]] == [1] and len(result["curve"][0]["distances"]) == 2


@pytest.mark.parametrize("name", list(BUILDERS))
def test_doctor_finds_it_whole_and_names_what_is_gone(name: str, directories: Any, run: Any) -> None:
    model = directories(name)
    found = json.loads(run("doctor", "--model", model, "--device", "cpu", "--json")[1])
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert states[f"model {model}"] == "ok"

    weights = max(model.rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    aside = weights.rename(weights.with_suffix(".aside"))
    try:
        status, out, _ = run("doctor", "--model", model, "--device", "cpu", "--json")
    finally:
        aside.rename(weights)
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert status == 4 and checks[f"model {model}"]["state"] == "missing"
    assert weights.name in checks[f"model {model}"]["detail"]


@families("sd3_without_t5", "sana")
def test_its_own_samples_calibrate_it(name: str, directories: Any, run: Any, tmp_path: Path) -> None:
    """Pooled vectors in one, masks in the other; the control learns tokens and samples with them."""
    words = ("red", "blue", "green", "big", "small", "cat", "dog", "cool", "dark", "nice")
    Path("captions.txt").write_text("".join(f"a {word}\n" for word in words))
    own = ("--captions", "10", "--own-samples", "2", "--controls", "1", "--captions-file", "captions.txt")
    quick = ("--denoising-steps", "2", "--device", "cpu", "--threads", "1", "--quiet", "--format", "json")
    status, _, err = run("calibrate", "--model", directories(name), *own, *quick, "--out", "constants")
    assert status == 0, err
    report = json.loads((tmp_path / "constants/report.json").read_text("utf-8"))
    result = report["results"][0]
    assert report["provenance"]["model"]["family"] and result["threshold"]["value"] is not None
    assert (result["captions"], result["control_images"]) == (10, 1)
    status, out, err = run("calibrate", "--model", directories(name), *own, *quick[:-2], "--out", "again")
    assert status == 0, err
    assert f"positive control: one token redraws {result['control_within']} of 1" in " ".join(out.split())


PAIRS = [("sd3", "pixart_sigma"), ("sdxl", "sdxl_v"), ("flux", "sd3_without_t5"), ("sana", "pixart_alpha")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        PAIRS[0],
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in [*PAIRS[1:], ("z_image", "qwen_image")]),
    ],
)
def test_two_families_are_compared(one: str, other: str, directories: Any, run: Any, tmp_path: Path) -> None:
    """Image by image, from the same seeds, though their latents and noise have other shapes."""
    models = ("--model", directories(one), "--model", directories(other))
    status, _, err = run("score", "photo.png", *models, "--out", "both", *QUICK)
    assert status == 0, err
    report = json.loads((tmp_path / "both/comparison/report.json").read_text("utf-8"))
    (result,) = report["results"]
    assert [score["run"] for score in result["scores"]] == [one, other]
    (difference,) = result["differences"]
    assert [point["m"] for point in difference["distances"]] == [1, 2]


@families("flux")
def test_it_is_fetched_verified_and_mended(
    name: str, directories: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with hub_server({"someone/tiny": Repository.of(directories(name))}) as hub:
        point_to(monkeypatch, hub.url)
        assert run("fetch", "someone/tiny", "--quiet")[0] == 0
        assert run("fetch", "someone/tiny", "--verify", "--quiet")[0] == 0
        denoiser = next(
            path
            for part in ("unet", "transformer")
            for path in (tmp_path / "hub").rglob(f"{part}/*.safetensors")
        )
        blob = denoiser.resolve()
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        status, out, err = run("fetch", "someone/tiny", "--verify", "--quiet")
        assert status == 4 and "has changed" in out + err
        assert run("fetch", "someone/tiny", "--quiet")[0] == 0
        hub.requests.clear()
        assert run("fetch", "someone/tiny", "--verify", "--quiet", "--offline")[0] == 0
        status, out, _ = run("doctor", "--model", "someone/tiny", "--device", "cpu", "--json")
        states = {check["name"]: check["state"] for check in json.loads(out)["checks"]}
        assert states["model someone/tiny"] == "ok" and not hub.requests
