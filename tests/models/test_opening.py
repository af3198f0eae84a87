"""The one door to models: what every command that opens one refuses, and that no path becomes a hub id."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from origcli.errors import ModelError
from origcli.generation.sampling import draw, prompt_conditions
from origcli.inversion import drawing
from origcli.models.opening import open_model
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.network import no_network
from origcli.settings import resolve
from origcli.weights import registry
from origcli.weights.hashing import hash_pipeline
from origcli.weights.registry import RegistryValues, bundled_directory, write_registry
from tests.hub_server import Hub, Repository, hub_server, point_to

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def published(tiny_bert_pipeline_dir: Path, tmp_path: Path) -> Path:
    """A pipeline directory whose hash is recorded."""
    directory = Path(shutil.copytree(tiny_bert_pipeline_dir, tmp_path / "published"))
    write_registry(directory, RegistryValues(weights_hash=hash_pipeline(directory)))
    return directory


@pytest.fixture
def false_hub(tiny_bert_pipeline_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that would answer to whatever it is asked for, and notes it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    with hub_server({"models/mine": Repository.of(tiny_bert_pipeline_dir)}) as server:
        point_to(monkeypatch, server.url)
        yield server


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def by_drawing(directory: Path, out: Path) -> None:
    settings = resolve({"draw": {"steps": 1}}, environment={})[0]
    with open_runtime(settings.runtime, out) as runtime:
        drawing.draw_images(str(directory), ["a cat"], 1, settings, runtime)


def by_scoring(directory: Path, out: Path) -> None:
    from origcli.scoring.setup import open_models

    open_models(resolve({"score": {"model": str(directory)}}, environment={})[0], Runtime(offline=True))


@pytest.mark.fault(22, "one flipped bit of a model whose hash is recorded ends draw and score alike")
@pytest.mark.parametrize("command", [by_drawing, by_scoring])
def test_a_damaged_model_is_opened_by_no_command(
    published: Path, tmp_path: Path, command: Callable[[Path, Path], None]
) -> None:
    flip(published / UNET)
    with pytest.raises(ModelError, match="damaged") as caught:
        command(published, tmp_path / "out")
    assert "weights_hash" in caught.value.hint


@pytest.mark.fault(43, "a part that is missing is never asked for at the hub")
def test_a_path_is_never_asked_for_at_the_hub(
    tiny_bert_pipeline_dir: Path, tmp_path: Path, false_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bert_pipeline_dir, tmp_path / "models/mine")
    for part in ("scheduler", "tokenizer"):
        (tmp_path / "models/mine" / part).rename(tmp_path / part)
        for runtime in (Runtime(), Runtime(offline=True)):
            with pytest.raises(ModelError, match=f"{part}/.*: missing"):
                open_model("models/mine", runtime)
        (tmp_path / part).rename(tmp_path / "models/mine" / part)
    open_model("models/mine", Runtime())
    assert false_hub.requests == []


@pytest.mark.fault(43, "a file, or a path below a directory that is here, is no hub id")
def test_what_looks_like_a_path_is_no_hub_id(
    tmp_path: Path, false_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "one.safetensors").touch()
    (tmp_path / "models" / "plain").touch()
    for name in ("models/one.safetensors", "models/plain", "models/gone.ckpt", "elsewhere/x.safetensors"):
        with pytest.raises(ModelError, match="a single file is not a pipeline directory"):
            open_model(name, Runtime())
    with pytest.raises(ModelError, match="models/mine: no such directory") as caught:
        open_model("models/mine", Runtime())
    assert "models/mine@main" in caught.value.hint and false_hub.requests == []
    assert open_model("models/mine@main", Runtime())[0].source.startswith("hub:models/mine@")


@pytest.mark.fault(40, "of a model of the hub, the index alone is fetched, then it is refused")
@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"_class_name": "StableDiffusionXLPipeline"}, {"model_index.json"}),
        ({"_class_name": "FluxKontextInpaintPipeline"}, {"model_index.json"}),
        ({"scheduler": ["diffusers", "LCMScheduler"]}, {"model_index.json"}),
    ],
)
def test_other_kinds_are_refused_before_they_are_fetched(
    false_hub: Hub, change: dict[str, Any], asked: set[str]
) -> None:
    files = false_hub.repositories["models/mine"].files
    files["model_index.json"] = json.dumps({**json.loads(files["model_index.json"]), **change}).encode()
    with pytest.raises(ModelError, match="models/mine: ") as caught:
        open_model("models/mine", Runtime())
    assert "supported are" in caught.value.hint
    assert {name for name in files if false_hub.downloads(name)} == asked


@pytest.mark.fault(40, "what only its configurations tell is refused before its weights are fetched")
def test_an_lcm_model_is_refused_before_its_weights_are_fetched(false_hub: Hub) -> None:
    files = false_hub.repositories["models/mine"].files
    config = json.loads(files["unet/config.json"])
    files["unet/config.json"] = json.dumps({**config, "time_cond_proj_dim": 256}).encode()
    with pytest.raises(ModelError, match="LCM"):
        open_model("models/mine", Runtime())
    assert false_hub.downloads("config.json") and not false_hub.downloads(".safetensors")
    false_hub.requests.clear()
    with pytest.raises(ModelError, match="Turbo"):
        open_model("models/mine-turbo", Runtime())
    assert false_hub.requests == []


def test_a_word_of_the_tokenizer_is_no_unknown_one(published: Path) -> None:
    _, model = open_model(str(published), Runtime())
    assert model.words.encoders[0].ids(["cat"]) != model.words.encoders[0].ids(["dog"])


@pytest.mark.fault(46, "the bundled model draws in plain diffusers, as it is")
def test_the_bundle_draws_in_plain_diffusers() -> None:
    import torch
    from diffusers import DiffusionPipeline

    with no_network():
        pipeline = DiffusionPipeline.from_pretrained(bundled_directory())
    pipeline.set_progress_bar_config(disable=True)
    parts = (pipeline.vae, pipeline.unet, pipeline.text_encoder)
    assert {part.dtype for part in parts} == {torch.float32}
    (picture,) = pipeline("big red full circle", num_inference_steps=2, output_type="pil").images
    assert picture.size == (64, 64) and len(picture.getcolors(64 * 64)) > 1


def test_the_calibration_of_the_bundle_is_of_these_files() -> None:
    values = registry.read_registry(bundled_directory())
    assert {values.weights_hash, *(scale.weights_hash for scale in values.scales)} == {
        hash_pipeline(bundled_directory())
    }


def test_the_dtype_that_a_text_encoder_names_changes_no_sample(tmp_path: Path) -> None:
    """The bundle said float16 here when it was calibrated."""
    settings = resolve({"draw": {"steps": 2}}, environment={})[0].draw
    drawn = []
    for dtype in ("float32", "float16"):
        directory = tmp_path / dtype
        shutil.copytree(bundled_directory(), directory)
        (directory / "registry.json").unlink()
        config = directory / "text_encoder/config.json"
        config.write_text(json.dumps({**json.loads(config.read_bytes()), "dtype": dtype}))
        _, model = open_model(str(directory), Runtime())
        given = prompt_conditions(model, ["big red full circle"])
        drawn.append(draw(model, given, [7], settings, Runtime())[0].tobytes())
    assert drawn[0] == drawn[1]
