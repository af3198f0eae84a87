"""The hub: fetched once and checked, over a connection that breaks and lies; no network afterwards."""

import json
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from origcli.errors import ExitCode, Interrupted, ModelError, UsageError
from origcli.models.pipeline import load_pipeline
from origcli.runtime import interrupts
from origcli.runtime.context import Runtime
from origcli.runtime.progress import SilentProgress
from origcli.weights import downloads, hub_answers
from origcli.weights.hashing import hash_pipeline
from origcli.weights.hub import check_id, fetch, find, verify
from origcli.weights.registry import CLIP, COMPANIONS, HUB_MODELS
from origcli.weights.repository import HubModel
from tests.hub_server import COMMIT, Hub, Repository, hub_server, point_to

MODEL = HubModel("someone/tiny-diffusion")
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "vae": ["diffusers", "AutoencoderKL"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
}
FP16 = "unet/diffusion_pytorch_model.fp16.safetensors"


class Said(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str, always: bool = False) -> None:
        self.lines.append(message)


def pipeline_files() -> dict[str, bytes]:
    """A pipeline repository, with other formats and a safety checker as is usual; weights of noise."""
    noise = random.Random(0)
    files = {
        "model_index.json": json.dumps(INDEX).encode(),
        "scheduler/scheduler_config.json": b'{"_class_name": "PNDMScheduler"}',
        "tokenizer/tokenizer_config.json": b'{"model_max_length": 77}',
        "tokenizer/vocab.json": b'{"vocabulary": 0}',
        "tokenizer/merges.txt": b"#version: 0.2",
        "README.md": b"# tiny",
        "v1-5-pruned.ckpt": b"pickle",
        "v1-5-pruned.safetensors": b"x" * 1000,
        "unet/diffusion_pytorch_model.bin": b"pickle",
        "unet/diffusion_pytorch_model.non_ema.safetensors": b"x",
        "safety_checker/config.json": b"{}",
        "safety_checker/model.safetensors": b"x",
    }
    for part, stem in (
        ("vae", "diffusion_pytorch_model"),
        ("unet", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        width = {"unet": "cross_attention_dim", "text_encoder": "hidden_size"}.get(part, "sample_size")
        files[f"{part}/config.json"] = json.dumps({width: 768}).encode()
        files[f"{part}/{stem}.safetensors"] = noise.randbytes(200_000)
    return files


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    repository = Repository(pipeline_files())
    with hub_server({MODEL.id: repository}) as server:
        point_to(monkeypatch, server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(hub_answers, "FIRST_WAIT_S", 0.0)
        monkeypatch.setattr(downloads, "LONGEST_WAIT_S", 0.0)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
        yield server


def test_a_pipeline_is_fetched_without_what_is_not_needed(server: Hub) -> None:
    said = Said()
    assert find(MODEL, (None,)) is None
    snapshot = fetch(MODEL, (None,), said)
    names = {
        path.relative_to(snapshot.path).as_posix() for path in snapshot.path.rglob("*") if path.is_file()
    }
    assert WEIGHTS in names and "tokenizer/merges.txt" in names
    assert not [
        name for name in names if "safety" in name or "non_ema" in name or name.startswith(("v1", "READ"))
    ]
    assert not [name for name in names if name.endswith((".bin", ".ckpt"))]
    assert snapshot.revision == COMMIT and " GB" in said.lines[0]
    assert snapshot.weights_hash == hash_pipeline(snapshot.path)


def test_afterwards_no_network_is_asked(server: Hub) -> None:
    snapshot = fetch(MODEL, (None,), SilentProgress())
    server.requests.clear()
    assert find(MODEL, (None,)) == snapshot
    assert find(HubModel(MODEL.id, COMMIT), (None,)) == snapshot
    assert verify(snapshot) == "" and server.requests == []


@pytest.mark.parametrize("fault", [("cut", 1000), ("flip", 2000), 429, 503])
def test_a_broken_download_is_mended(server: Hub, fault: Any) -> None:
    server.only, server.faults = WEIGHTS, [fault]
    snapshot = fetch(MODEL, (None,), SilentProgress())
    original = server.repositories[MODEL.id].files[WEIGHTS]
    assert (snapshot.path / WEIGHTS).read_bytes() == original
    assert server.downloads(WEIGHTS) == 2 and not server.faults


def test_bytes_that_are_not_those_announced_are_not_kept(server: Hub) -> None:
    server.only, server.faults = WEIGHTS, [("flip", 2000)] * downloads.ATTEMPTS
    with pytest.raises(ModelError, match="sha256") as caught:
        fetch(MODEL, (None,), SilentProgress())
    assert caught.value.exit_code is ExitCode.MODEL
    assert find(MODEL, (None,)) is None
    snapshot = fetch(MODEL, (None,), SilentProgress())
    assert find(MODEL, (None,)) == snapshot


def test_the_next_run_goes_on_with_what_the_last_left(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGCLI_MIRROR", "http://127.0.0.1:9")  # is of other files
    monkeypatch.setenv("HF_TOKEN", "secret")
    server.only, server.faults = WEIGHTS, [("cut", 150_000), *[503] * (downloads.ATTEMPTS - 1)]
    with pytest.raises(ModelError, match="503") as caught:
        fetch(MODEL, (None,), SilentProgress())
    assert f"origcli fetch {MODEL.id}" in caught.value.hint
    server.requests.clear()
    snapshot = fetch(MODEL, (None,), SilentProgress())
    assert [request for request in server.requests if request.startswith("GET") and WEIGHTS in request] == [
        f"GET /{MODEL.id}/resolve/{COMMIT}/{WEIGHTS} bytes=150000- Bearer secret"
    ]
    assert server.downloads("vae/diffusion_pytorch_model.safetensors") == 0  # came whole the first time
    assert find(MODEL, (None,)) == snapshot


def test_a_signal_stops_a_large_file(server: Hub) -> None:
    with interrupts.handled():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            fetch(MODEL, (None,), SilentProgress())
    assert server.downloads("unet/config.json") == 1 and find(MODEL, (None,)) is None


def test_a_small_file_is_checked_too(server: Hub) -> None:
    server.only, server.faults = "model_index.json", [("flip", 20)]
    snapshot = fetch(MODEL, (None,), SilentProgress())
    assert (snapshot.path / "model_index.json").read_bytes() == server.repositories[MODEL.id].files[
        "model_index.json"
    ]


@pytest.mark.fault(24, "half a model is not taken for the model")
def test_an_unfinished_download_is_not_taken_for_the_model(server: Hub) -> None:
    server.only, server.faults = WEIGHTS, [404]
    with pytest.raises(ModelError):
        fetch(MODEL, (None,), SilentProgress())
    assert find(MODEL, (None,)) is None
    server.requests.clear()
    fetch(MODEL, (None,), SilentProgress())
    assert server.downloads("vae/diffusion_pytorch_model.safetensors") <= 1 and server.downloads(WEIGHTS) == 1


def test_a_hub_that_is_busy_for_good(server: Hub) -> None:
    server.faults = [503] * 50
    with pytest.raises(ModelError, match="tried") as caught:
        fetch(MODEL, (None,), SilentProgress())
    assert f"origcli fetch {MODEL.id}" in caught.value.hint


def test_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_to(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_answers, "FIRST_WAIT_S", 0.0)
    with pytest.raises(ModelError, match="cannot be downloaded"):
        fetch(MODEL, (None,), SilentProgress())


def test_gated_missing_and_other_refusals(server: Hub) -> None:
    with pytest.raises(ModelError, match="no such model"):
        fetch(HubModel("someone/else"), (None,), SilentProgress())
    with pytest.raises(ModelError, match="no revision 'v9'"):
        fetch(HubModel(MODEL.id, "v9"), (None,), SilentProgress())
    server.repositories[MODEL.id].gated = True
    with pytest.raises(ModelError, match="consent") as caught:
        fetch(MODEL, (None,), SilentProgress())
    assert f"{server.url}/{MODEL.id}" in caught.value.hint and "auth login" in caught.value.hint
    server.only, server.faults = "", [400]
    with pytest.raises(ModelError, match="400"):
        fetch(MODEL, (None,), SilentProgress())
    server.faults = [403]
    with pytest.raises(ModelError, match="credentials were rejected") as caught:
        fetch(MODEL, (None,), SilentProgress())
    assert "HF_TOKEN" in caught.value.hint


def test_the_remedy_is_a_command_that_fetches_it(server: Hub) -> None:
    for name, model in {**HUB_MODELS, **COMPANIONS, "clip": CLIP}.items():
        with pytest.raises(ModelError) as caught:
            fetch(model, (None,), SilentProgress())
        assert caught.value.hint.endswith(f"origcli fetch {name}")
    assert HubModel(MODEL.id, "v1").command == f"origcli fetch {MODEL.id}@v1"


def test_only_safetensors(server: Hub) -> None:
    del server.repositories[MODEL.id].files[WEIGHTS]
    with pytest.raises(ModelError, match=r"it has no unet/diffusion_pytorch_model.safetensors"):
        fetch(MODEL, (None, "fp16"), SilentProgress())
    del server.repositories[MODEL.id].files["model_index.json"]
    with pytest.raises(ModelError, match="no model_index"):
        fetch(MODEL, (None,), SilentProgress())


def test_variants(server: Hub) -> None:
    files = server.repositories[MODEL.id].files
    for name in [name for name in files if name.endswith(("model.safetensors",)) and "safety" not in name]:
        files[name.replace(".safetensors", ".fp16.safetensors")] = files[name]
    half = fetch(MODEL, ("fp16", None), SilentProgress())
    assert half.variant == "fp16" and (half.path / FP16).is_file() and not (half.path / WEIGHTS).exists()
    assert find(MODEL, (None, "fp16")) == half  # weights that are here serve, whatever is preferred
    assert find(MODEL, (None,)) is None
    full = fetch(MODEL, (None, "fp16"), SilentProgress())
    assert full.variant is None and full.path == half.path
    assert find(MODEL, (None, "fp16")) == full and find(MODEL, ("fp16", None)) == half
    assert verify(full) == verify(half) == ""


def test_changes_are_found(server: Hub) -> None:
    snapshot = fetch(MODEL, (None,), SilentProgress())
    blob = (snapshot.path / WEIGHTS).resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    assert verify(snapshot) == f"{WEIGHTS} has changed"
    assert verify(fetch(MODEL, (None,), SilentProgress())) == ""  # fetching again repairs it
    (snapshot.path / "vae/config.json").unlink()
    assert verify(snapshot) == "vae/config.json is missing"
    shutil.rmtree(Path(str(snapshot.path)).parents[3] / "cache" / "hub")
    assert "no hashes" in verify(snapshot)


def test_a_fetched_pipeline_is_loaded(server: Hub, tiny_clip_pipeline_dir: Path) -> None:
    server.repositories[MODEL.id] = Repository.of(tiny_clip_pipeline_dir)
    snapshot = fetch(MODEL, (None,), SilentProgress())
    model = load_pipeline(snapshot.path, Runtime(), weights_hash=snapshot.weights_hash)
    assert model.resolution == 64 and model.weights_hash == snapshot.weights_hash
    (snapshot.path / "tokenizer" / "tokenizer_config.json").write_text('{"model_max_length": 24}')
    with pytest.raises(ModelError, match="damaged"):
        load_pipeline(snapshot.path, Runtime(), weights_hash=snapshot.weights_hash)


def test_a_full_disk_is_said_as_such(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from origcli.errors import StorageError

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(StorageError):
        fetch(MODEL, (None,), SilentProgress())


def test_progress_counts_the_bytes(server: Hub) -> None:
    from contextlib import contextmanager

    class Counting(SilentProgress):
        done = 0
        total = 0

        @contextmanager
        def task(
            self, description: str, total: int | None, start: int = 0, phases: int = 0
        ) -> Iterator["Counting"]:
            self.total += total or 0
            yield self

        def advance(self, steps: int = 1, **fields: float | str) -> None:
            self.done += steps

    counting = Counting()
    fetch(MODEL, (None,), counting)
    assert counting.done == counting.total == 600_000


def test_companions_are_one_directory(server: Hub) -> None:
    bert = HubModel("someone/bert", files=COMPANIONS["bert"].files)
    names = ("config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json")
    others = ("pytorch_model.bin", "tf_model.h5", "coreml/x.mlmodel", "README.md")
    server.repositories[bert.id] = Repository({name: name.encode() for name in (*names, *others)})
    snapshot = fetch(bert, (None,), SilentProgress())
    assert {path.name for path in snapshot.path.iterdir()} == set(names) and find(bert, (None,)) == snapshot


@pytest.mark.parametrize(
    "text", ["../x", "a/b/c", "a", "", "a/", "/b", "a/b.git", "a b/c", "a/../b", "a--b/c", "a/b?"]
)
def test_what_cannot_be_an_id(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_id(text)
    assert caught.value.exit_code is ExitCode.USAGE


def test_fp16_is_a_dtype_of_its_own() -> None:
    from origcli.weights.registry import variants

    assert variants(torch.float16) == ("fp16", None)
    assert variants(torch.bfloat16) == variants(torch.float32) == (None, "fp16")
