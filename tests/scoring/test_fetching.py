"""What can be fetched, what is here, what is sound; without torch."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from origcli.errors import ModelError, UsageError
from origcli.runtime.progress import SilentProgress
from origcli.scoring import fetching
from origcli.scoring.fetching import fetch, names, state
from origcli.weights import downloads, dreamsim_release
from origcli.weights.downloads import RemoteFile
from origcli.weights.fetchable import State
from origcli.weights.registry import COMPANIONS, HUB_MODELS
from tests.hub_server import Repository, hub_server, point_to
from tests.serving import Files, file_server

YOLO = b"yolo weights"


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    remote = RemoteFile("https://example.invalid/yolov8n.pt", len(YOLO), hashlib.sha256(YOLO).hexdigest())
    monkeypatch.setitem(fetching.WEIGHT_FILES, "yolov8n", remote)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> "object":
    with file_server({"/yolov8n.pt": YOLO}) as files:
        monkeypatch.setenv("ORIGCLI_MIRROR", files.url)
        monkeypatch.setattr(downloads, "LONGEST_WAIT_S", 0.0)
        yield files


def test_everything_that_is_promised_has_a_name() -> None:
    assert {"sd15", "sd14", "bert", "clip", "dreamsim", "dreamsim:dino_vitb16", "yolov8n"} <= set(names())
    for name in names():
        found = state(name)
        absent = State(name, found.what, found.source, None, terms=found.terms, download=found.download)
        assert found == absent and found.what and not found.ready


@pytest.mark.parametrize("name", ["sd16", "../x", "a/b/c", "dreamsim:vit", "shapes"])
def test_other_names_are_exit_2(name: str) -> None:
    with pytest.raises(UsageError):
        state(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dreamsin", "'dreamsim'"), ("yolov8", "'yolov8n'"), ("sd51", "'sd15'"), ("auto", "sd14")],
)
def test_the_nearest_name_that_can_be_fetched_is_suggested(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        state(name)
    assert hint in caught.value.hint and "shapes" not in caught.value.hint


def test_what_is_in_the_package_is_not_fetched() -> None:
    with pytest.raises(UsageError, match="part of the package"):
        state("shapes")


def test_a_weight_file(mirror: Files) -> None:
    found = fetch("yolov8n", SilentProgress())
    assert found.ready and found.bytes == len(YOLO) and found.path is not None
    assert state("yolov8n", verify=True) == found
    found.path.write_bytes(b"changed")
    assert "changed" in state("yolov8n", verify=True).problem and state("yolov8n").ready
    assert fetch("yolov8n", SilentProgress()).path == found.path  # repairs it
    assert state("yolov8n", verify=True).ready
    mirror.content["/yolov8n.pt"] = b"something else"
    found.path.unlink()
    with pytest.raises(ModelError):
        fetch("yolov8n", SilentProgress())


def test_a_release(mirror: Files, tmp_path: Path) -> None:
    import zipfile

    release = dreamsim_release.RELEASES["clip_vitb32"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in (*release.backbones, f"{release.adapter}/adapter_config.json"):
            file.writestr(name, name)
        file.writestr(f"{release.adapter}/adapter_model.bin", "old format")
    mirror.content[f"/{release.archive.name}"] = (tmp_path / "a.zip").read_bytes()
    found = fetch("dreamsim:clip_vitb32", SilentProgress())
    assert found.ready and state("dreamsim:clip_vitb32", verify=True).ready and found.path is not None
    (found.path / release.backbones[0]).write_bytes(b"changed")
    assert "changed" in state("dreamsim:clip_vitb32", verify=True).problem
    assert fetch("dreamsim:clip_vitb32", SilentProgress()).ready  # fetches it again
    assert state("dreamsim:clip_vitb32", verify=True).ready


def test_a_model_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    bert = COMPANIONS["bert"]
    names = ("config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt")
    files = {name: name.encode() for name in names}
    with hub_server({bert.id: Repository(files, commit=bert.revision)}) as server:
        point_to(monkeypatch, server.url)
        found = fetch("bert", SilentProgress())
    assert found.ready and found.source == f"{bert.id}@{bert.revision}"
    assert found.bytes == sum(map(len, files.values()))
    assert state("bert", verify=True) == found


def test_a_variant_is_told_from_the_full_files(
    monkeypatch: pytest.MonkeyPatch, tiny_clip_pipeline_dir: Path
) -> None:
    sd15 = HUB_MODELS["sd15"]
    repository = Repository.of(tiny_clip_pipeline_dir, commit=sd15.revision)
    for name in [name for name in repository.files if name.endswith(".safetensors")]:
        half = name.replace(".safetensors", ".fp16.safetensors")
        repository.files[half] = repository.files[name]
    with hub_server({sd15.id: repository}) as server:
        point_to(monkeypatch, server.url)
        assert fetch("sd15", SilentProgress()).variant is None
        assert state("sd15", variant="fp16").path is None
        half_state = fetch("sd15", SilentProgress(), variant="fp16")
    assert half_state.variant == "fp16" and half_state.ready
    assert state("sd15", variant="fp16", verify=True) == half_state
    assert state("sd15").variant is None
    assert half_state.path is not None
    weights = half_state.path / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    weights.unlink()
    assert state("sd15", variant="fp16").path is None and state("sd15").ready


def test_listing_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from origcli.scoring import fetching; [fetching.state(n) for n in fetching.names()];"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    environment = {"ORIGCLI_CACHE": str(tmp_path), "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
