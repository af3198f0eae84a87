"""Names, directories and hub ids; what is known of a model; and that no other model is ever taken instead."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import ExitCode, ModelError, OrigError, UsageError
from origcli.models.opening import open_model
from origcli.runtime.context import Runtime
from origcli.runtime.progress import SilentProgress, open_progress
from origcli.weights import hub, hub_answers, registry
from origcli.weights.hub import Snapshot
from origcli.weights.pipelines import pipeline_name
from origcli.weights.registry import (
    CLIP,
    HUB_MODELS,
    Calibration,
    RegistryValues,
    companion_directory,
    hub_model,
    read_registry,
    resolve,
    write_registry,
)
from origcli.weights.repository import HubModel
from tests.hub_server import point_to

OFFLINE = Runtime(offline=True)
CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    point_to(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pipeline(tiny_clip_pipeline_dir: Path, tmp_path: Path) -> Path:
    """A pipeline directory to change."""
    return Path(shutil.copytree(tiny_clip_pipeline_dir, tmp_path / "mine"))


@pytest.mark.fault(19, "exit 2")
@pytest.mark.parametrize(
    "name", ["../x", "a/b/c", "sd16", "SD15", "", "a b/c", "owner/../name", "o/n@../main", "o/n@-x"]
)
def test_what_is_no_name_is_exit_2(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(name, OFFLINE)
    assert caught.value.exit_code is ExitCode.USAGE


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(UsageError) as caught:
        resolve("sd51", OFFLINE)
    assert "sd15" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        resolve("midjourney", OFFLINE)
    assert "shapes" in caught.value.hint


@given(st.text(max_size=40).filter(lambda text: text not in HUB_MODELS))
def test_any_text_is_an_error_that_is_told(text: str) -> None:
    with pytest.raises(OrigError):
        hub_model(text) if "/" not in text else resolve(f"../{text}", OFFLINE)


@pytest.mark.fault(23, "exit 4 at once, with the command that fetches it")
@pytest.mark.parametrize("name", ["sd15", "sd14", "owner/name", "owner/name@v1", "sd15@main"])
def test_offline_and_not_here_is_exit_4_with_the_command(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(name, OFFLINE)
    assert caught.value.exit_code is ExitCode.MODEL and caught.value.hint.endswith(f"origcli fetch {name}")
    with pytest.raises(ModelError) as caught:
        companion_directory(CLIP, OFFLINE)
    assert "origcli fetch clip" in caught.value.hint


def test_revisions_are_pinned_and_can_be_chosen() -> None:
    for name in HUB_MODELS:
        assert len(hub_model(name).revision) == 40
    assert hub_model("sd15", "main").revision == "main"
    assert hub_model("sd15", "main").id == hub_model("sd15").id
    assert hub_model("owner/name", "refs/pr/7") == HubModel("owner/name", "refs/pr/7")


def test_a_directory(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = resolve(str(pipeline), OFFLINE)
    assert (entry.name, entry.path, entry.source) == ("mine", pipeline, str(pipeline))
    assert (entry.metric, entry.guidance, entry.detector, entry.variant) == (None, None, None, None)
    assert entry.scales == () and entry.psnr_limit is None and entry.weights_hash is None
    monkeypatch.chdir(pipeline.parent)
    assert resolve("mine", OFFLINE).name == "mine"
    with pytest.raises(ModelError, match="no model_index"):
        resolve(str(pipeline / "unet"), OFFLINE)
    with pytest.raises(ModelError, match="no such directory"):
        resolve(str(pipeline / "gone"), OFFLINE)


def test_a_directory_called_pipeline_has_its_parents_name(pipeline: Path) -> None:
    tuned = pipeline.parent / "tuned" / "pipeline"
    shutil.copytree(pipeline, tuned)
    entry, model = open_model(str(tuned), OFFLINE)
    assert entry.name == model.name == "tuned"
    assert pipeline_name(Path("/pipeline")) == "pipeline"


def test_a_directory_of_half_weights(pipeline: Path) -> None:
    whole = list(pipeline.rglob("*model.safetensors"))
    for path in whole:
        shutil.copy(path, path.with_suffix(".fp16.safetensors"))
    assert resolve(str(pipeline), OFFLINE).variant is None
    for path in whole:
        path.unlink()
    assert resolve(str(pipeline), OFFLINE).variant == "fp16"


def values() -> RegistryValues:
    scale = Calibration(
        metric="elements",
        metric_version="1",
        weights_hash="ab",
        draw={"steps": 50, "scheduler": "ddim", "guidance": 2.0},
        ceiling=0.9,
        ceiling_images=64,
        threshold=0.4,
        threshold_how="90th percentile of d(query, own caption)",
    )
    return RegistryValues(
        metric="elements", guidance=2.0, weights_hash="ab", psnr_limit=27.5, scales=(scale,)
    )


def test_what_is_known_is_read_back(pipeline: Path) -> None:
    (pipeline / "detector").mkdir()
    assert resolve(str(pipeline), OFFLINE).detector == pipeline / "detector"  # though nothing is recorded
    write_registry(pipeline, values())
    entry = resolve(str(pipeline), OFFLINE)
    assert entry.values == values() == read_registry(pipeline)
    assert (entry.metric, entry.guidance, entry.psnr_limit) == ("elements", 2.0, 27.5)
    assert entry.detector == pipeline / "detector" and entry.weights_hash == "ab"
    assert entry.scales[0].threshold == 0.4


@pytest.mark.parametrize(
    "change",
    [{"guidance": -1}, {"metrics": "x"}, {"schema": "origcli/registry/9"}, {"scales": [{"metric": "x"}]}],
)
def test_a_damaged_registry_file_is_named(pipeline: Path, change: dict[str, Any]) -> None:
    write_registry(pipeline, values())
    path = pipeline / "registry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match="registry"):
        resolve(str(pipeline), OFFLINE)
    path.write_text("{")
    with pytest.raises(ModelError, match="registry"):
        resolve(str(pipeline), OFFLINE)


class Said(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str, always: bool = False) -> None:
        self.lines.append(message)


def test_auto_is_the_bundled_model_without_a_gpu(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "bundled_directory", lambda: pipeline)
    said = Said()
    entry = resolve("auto", Runtime(progress=said))
    assert (entry.name, entry.source, entry.path) == ("shapes", "package", pipeline)
    assert said.lines == [entry.note]
    assert (
        entry.note == "no GPU found: using the bundled demo model 'shapes', which knows colored shapes only"
    )
    stderr = io.StringIO()
    resolve("auto", Runtime(progress=open_progress(quiet=True, stream=stderr)))
    assert stderr.getvalue() == f"{entry.note}\n"  # --quiet or not


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_auto_is_sd15_on_a_gpu(pipeline: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    asked: list[tuple[HubModel, Any]] = []

    def find(model: HubModel, variants: Any) -> Snapshot:
        asked.append((model, variants))
        return Snapshot(pipeline, "c" * 40, None, "hash")

    monkeypatch.setattr(hub, "find", find)
    entry = resolve("auto", Runtime(device=torch.device(device), dtype=torch.float16))
    assert entry.name == "sd15" and entry.source == f"hub:{HUB_MODELS['sd15'].id}@{'c' * 40}"
    assert entry.weights_hash == "hash" and f"a {device} device" in entry.note
    assert asked == [(HUB_MODELS["sd15"], ("fp16", None))]


@pytest.mark.fault(23, "no other model is taken instead")
def test_auto_never_falls_back_when_fetching_fails(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "bundled_directory", lambda: pipeline)
    monkeypatch.setattr(hub_answers, "FIRST_WAIT_S", 0.0)
    for runtime in (Runtime(device=CUDA), Runtime(device=CUDA, offline=True)):
        with pytest.raises(ModelError) as caught:
            resolve("auto", runtime)
        assert caught.value.exit_code is ExitCode.MODEL and "origcli fetch" in caught.value.hint


def test_hf_hub_offline_counts_as_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE") as caught:
        resolve("sd15", Runtime())
    assert "origcli fetch" in caught.value.hint


def test_a_missing_bundle_is_an_incomplete_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "bundled_directory", lambda: tmp_path)
    with pytest.raises(ModelError) as caught:
        resolve("shapes", OFFLINE)
    assert "installation" in caught.value.message and "install origcli again" in caught.value.hint
