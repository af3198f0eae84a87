"""DreamSim in its true architecture with random weights: the original's numbers, from a release's files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from origcli.errors import ExitCode, ModelError, UsageError
from origcli.perception.dreamsim import DreamSim, load_dreamsim
from origcli.perception.dreamsim_towers import _architecture, load_towers, resize_positions
from origcli.runtime.context import Runtime
from origcli.runtime.progress import SilentProgress
from origcli.weights import downloads, dreamsim_release
from origcli.weights.downloads import RemoteFile
from origcli.weights.dreamsim_release import RELEASES, fetch_release, metric_name, verified
from tests.perception.releases import archive, write_release
from tests.serving import file_server

VARIANT = "clip_vitb32"  # the smallest branch: patches of 32 pixels, everything in the archive


def pictures(count: int) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [
        Image.fromarray(generator.integers(0, 256, (48 + 8 * index, 64, 3), dtype=np.uint8))
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("published") / VARIANT, VARIANT)


@pytest.fixture(scope="module")
def cache(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the release as `fetch` leaves it: fetched from a server on the loopback."""
    root = tmp_path_factory.mktemp("cache")
    body = archive(published, root / "published.zip").read_bytes()
    with pytest.MonkeyPatch.context() as patch, file_server() as files:
        files.content[f"/{RELEASES[VARIANT].archive.name}"] = body
        patch.setenv("ORIGCLI_CACHE", str(root))
        patch.setenv("ORIGCLI_MIRROR", files.url)
        fetch_release(VARIANT, SilentProgress())
        fetch_release(VARIANT, SilentProgress())
        assert files.paths.count(f"/{RELEASES[VARIANT].archive.name}") == 2  # one HEAD for the size, one GET
    return root


@pytest.fixture(scope="module")
def metric(cache: Path) -> DreamSim:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORIGCLI_CACHE", str(cache))
        return load_dreamsim(Runtime(offline=True), VARIANT)


def original(monkeypatch: pytest.MonkeyPatch, directory: Path, variant: str) -> tuple[Any, Any]:
    """The package's own model on the same files; torch.hub's place is taken by the same architecture."""
    import dreamsim

    def load(repository: str, name: str) -> nn.Module:
        if "dinov2" not in name:
            model = _architecture().vit_base(patch_size=16)
            model.load_state_dict(torch.load(directory / "dino_vitbase16_pretrain.pth", weights_only=True))
            return model
        import timm  # DINOv2's layer scale is not in the package: an architecture of another hand

        state = torch.load(directory / "dinov2_vitb14_pretrain.pth", weights_only=True)
        state.pop("mask_token")
        state["pos_embed"] = resize_positions(state["pos_embed"], 16)
        model = timm.create_model("vit_base_patch14_dinov2", img_size=224, num_classes=0)
        model.load_state_dict(state)
        return model

    monkeypatch.setattr(torch.hub, "load", load)
    monkeypatch.setattr(torch.hub, "set_dir", lambda path: None)
    if variant.startswith("dino_"):
        # The package reads a projection head from the archive's file; none of its distances uses it.
        head = {
            f"module.head.mlp.{index}.{kind}": torch.zeros(1)
            for index in (0, 2, 4)
            for kind in ("weight", "bias")
        }
        head["module.head.last_layer.weight"] = torch.zeros(1)
        torch.save({"student": head}, directory / "dino_vitb16_pretrain.pth")
    name = variant.removesuffix("_patch")
    patch = variant.endswith("_patch")
    return dreamsim.dreamsim(
        device="cpu", cache_dir=str(directory), dreamsim_type=name, use_patch_model=patch
    )


def same_as_original(monkeypatch: pytest.MonkeyPatch, directory: Path, variant: str, ours: DreamSim) -> None:
    model, preprocess = original(monkeypatch, directory, variant)
    first, second = pictures(2)
    with torch.no_grad():
        expected = float(model(preprocess(first), preprocess(second)))
    features = ours.features([first, second])
    assert expected > 1e-4
    assert ours.between(*features) == pytest.approx(expected, rel=1e-3, abs=2e-6)


def test_the_same_distance_as_the_original(
    published: Path, metric: DreamSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    same_as_original(monkeypatch, published, VARIANT, metric)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [name for name in RELEASES if name != VARIANT])
def test_the_same_distance_as_the_original_in_all_variants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    directory = write_release(tmp_path / variant, variant)
    if variant == "ensemble":
        (directory / "dino_vitb16_pretrain.pth").touch()
    *backbones, config, adapter = dreamsim_release.needed_files(variant, directory)
    ours = DreamSim(variant, "0" * 64, load_towers(backbones, adapter, config), Runtime())
    if variant == "ensemble":
        head = {
            f"module.head.mlp.{i}.{kind}": torch.zeros(1) for i in (0, 2, 4) for kind in ("weight", "bias")
        }
        torch.save(
            {"student": head | {"module.head.last_layer.weight": torch.zeros(1)}},
            directory / "dino_vitb16_pretrain.pth",
        )
    same_as_original(monkeypatch, directory, variant, ours)


def test_distances(metric: DreamSim) -> None:
    a, b, c = metric.features(pictures(3))
    assert metric.between(a, a) == pytest.approx(0, abs=1e-12) and metric.between(a, a) >= 0
    assert metric.between(a, b) == metric.between(b, a) > 0
    assert metric.between(a, -a) == pytest.approx(2)
    assert metric.between(a, c) != metric.between(a, b)


def test_the_batch_changes_nothing(metric: DreamSim) -> None:
    images = pictures(5)
    together = metric.features(images)
    metric._batch.size = 2
    for left, right in zip(together, metric.features(images), strict=True):
        assert np.allclose(left, right, atol=1e-6)
    metric._batch.size = 32
    assert metric.features([]) == []


def test_names_and_versions(metric: DreamSim, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGCLI_CACHE", str(cache))
    assert metric.name == "dreamsim:clip_vitb32" and metric_name("ensemble") == "dreamsim"
    assert verified(VARIANT)[1][:16] in metric.version
    with pytest.raises(UsageError, match="no variant"):
        load_dreamsim(Runtime(), "dino_vitb8")


def test_nothing_on_stdout_and_no_network(cache: Path) -> None:
    code = f"""
import socket
def refuse(*arguments): raise AssertionError("network")
socket.socket.connect = socket.create_connection = refuse
from PIL import Image
from origcli.perception.dreamsim import load_dreamsim
from origcli.runtime.context import Runtime
load_dreamsim(Runtime(), {VARIANT!r}).features([Image.new("RGB", (8, 8))])
import sys
assert not {{"peft", "open_clip", "timm", "dreamsim"}} & set(sys.modules), "slow imports"
"""
    result = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code],
        env={"ORIGCLI_CACHE": str(cache), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.fault(23, "the same for DreamSim")
def test_missing_weights_are_exit_4_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        load_dreamsim(Runtime(offline=True))
    assert caught.value.exit_code is ExitCode.MODEL and "origcli fetch dreamsim" in caught.value.hint


@pytest.fixture
def own_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cached release that a test may damage."""
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path))
    source, target = cache / "dreamsim" / VARIANT, tmp_path / "dreamsim" / VARIANT
    shutil.copytree(source, target, copy_function=lambda a, b: Path(b).hardlink_to(a))
    return target


def replace(path: Path, data: bytes) -> None:
    path.unlink()  # the other names of a hard link keep their content
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["clip_vitb32_pretrain.pth.tar", "clip_vitb32_single_lora/adapter_config.json"]
)
def test_a_changed_file_is_not_loaded(own_cache: Path, name: str) -> None:
    data = bytearray((own_cache / name).read_bytes())
    data[len(data) // 2] ^= 1
    replace(own_cache / name, bytes(data))
    with pytest.raises(ModelError, match="changed since"):
        load_dreamsim(Runtime(offline=True), VARIANT)
    (own_cache / name).unlink()
    with pytest.raises(ModelError, match="missing"):
        load_dreamsim(Runtime(offline=True), VARIANT)


def test_a_damaged_manifest_is_not_trusted(own_cache: Path) -> None:
    for text in ("{", "[]", '{"files": []}', '{"files": {"a": {}}}'):
        replace(own_cache / "manifest.json", text.encode())
        with pytest.raises(ModelError, match="damaged"):
            verified(VARIANT)


class _Marker:
    """A pickle that would leave a file behind if it ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.fault(18, "DreamSim's published files are tensors or refused")
def test_weights_are_tensors_or_refused(published: Path, tmp_path: Path) -> None:
    config = published / "clip_vitb32_single_lora" / "adapter_config.json"
    adapter = published / "clip_vitb32_single_lora" / "adapter_model.safetensors"
    good = published / "clip_vitb32_pretrain.pth.tar"
    state = torch.load(good, weights_only=True)["state_dict"]
    bad = tmp_path / good.name
    torch.save({"state_dict": {"norm.weight": _Marker(tmp_path / "ran")}}, bad)
    with pytest.raises(ModelError, match="plain weights"):
        load_towers([bad], adapter, config)
    assert not (tmp_path / "ran").exists()
    few = {name: value for name, value in state.items() if name != "norm.bias"}
    for content, words in (
        ({"state_dict": few}, "norm.bias"),
        ({"state_dict": state | {"extra": torch.zeros(1)}}, "extra"),
        ({"state_dict": {name: value for name, value in state.items() if name != "proj"}}, "projection"),
        ({}, "laid out"),
    ):
        torch.save(content, bad)
        with pytest.raises(ModelError, match=words):
            load_towers([bad], adapter, config)
    bad.write_bytes(good.read_bytes()[:1000])
    with pytest.raises(ModelError, match="plain weights"):
        load_towers([bad], adapter, config)


def test_lora_files_that_do_not_fit(published: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    source = published / "clip_vitb32_single_lora"
    backbone = published / "clip_vitb32_pretrain.pth.tar"
    weights = load_file(source / "adapter_model.safetensors")
    adapter, config = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    shutil.copy(source / "adapter_config.json", config)
    key = sorted(weights)[0]
    for content, words in (
        ({name: value for name, value in weights.items() if name != key}, "incomplete"),
        (weights | {"base_model.model.mlp.weight": torch.zeros(1)}, "unexpected"),
        ({name.replace("list.0", "list.1"): value for name, value in weights.items()}, "unexpected"),
        ({name.replace("qkv", "proj"): value for name, value in weights.items()}, "does not fit"),
    ):
        save_file(content, adapter)
        with pytest.raises(ModelError, match=words):
            load_towers([backbone], adapter, config)
    save_file(weights, adapter)
    values = json.loads(config.read_text())
    for change in ({"r": 8}, {"bias": "all"}, {"r": None}, {"fan_in_fan_out": True}):
        config.write_text(json.dumps(values | change))
        with pytest.raises(ModelError):
            load_towers([backbone], adapter, config)


def test_a_release_with_a_file_missing_is_not_kept(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    (small / "clip_vitb32_single_lora").mkdir(parents=True)
    (small / "clip_vitb32_single_lora" / "adapter_config.json").write_text("{}")
    body = archive(small, tmp_path / "small.zip").read_bytes()
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    with file_server({f"/{RELEASES[VARIANT].archive.name}": body}) as files:
        monkeypatch.setenv("ORIGCLI_MIRROR", files.url)
        for _ in range(2):  # also when the first try left its files
            with pytest.raises(ModelError, match="missing"):
                fetch_release(VARIANT, SilentProgress())
        files.content[f"/{RELEASES[VARIANT].archive.name}"] = body[:-10]
        (tmp_path / "cache" / "dreamsim" / f"{VARIANT}.zip").unlink(missing_ok=True)
        with pytest.raises(ModelError, match="damaged"):
            fetch_release(VARIANT, SilentProgress())
    assert not (tmp_path / "cache" / "dreamsim" / VARIANT / "manifest.json").exists()
    assert not (tmp_path / "cache" / "dreamsim" / f"{VARIANT}.zip").exists()


def dino_release(folder: Path) -> tuple[RemoteFile, RemoteFile, bytes]:
    """The archive of a branch whose backbone is a file beside it, that file, and what the archive holds."""
    release = RELEASES["dino_vitb16"]
    assert isinstance(release.extra, RemoteFile)
    (folder / "dino_vitb16_single_lora").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / "dino_vitb16_single_lora" / name).write_bytes(b"{}")
    return release.archive, release.extra, archive(folder, folder.parent / "dino.zip").read_bytes()


def test_the_extra_backbone_is_fetched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archived, extra, body = dino_release(tmp_path)
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    with file_server({f"/{archived.name}": body, f"/{extra.name}": b"weights"}) as files:
        monkeypatch.setenv("ORIGCLI_MIRROR", files.url)
        fetch_release("dino_vitb16", SilentProgress())
    directory, _ = verified("dino_vitb16")
    manifest = json.loads((directory / "manifest.json").read_text())
    assert (directory / extra.name).read_bytes() == b"weights"
    assert manifest["sources"]["backbone"]["url"] == extra.url
    assert {path.name for path in directory.parent.iterdir() if path.suffix != ".lock"} == {"dino_vitb16"}


def test_the_extra_backbone_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archived, extra, body), weights = dino_release(tmp_path), bytes(100_000)
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "LONGEST_WAIT_S", 0.0)
    with file_server({f"/{archived.name}": body, f"/{extra.name}": weights}) as files:
        monkeypatch.setenv("ORIGCLI_MIRROR", files.url)
        # Two questions for the sizes and the archive are answered; then the connection breaks for good.
        files.faults = [None, None, None, ("cut", 60_000), *[503] * (downloads.ATTEMPTS - 1)]
        with pytest.raises(ModelError, match="503"):
            fetch_release("dino_vitb16", SilentProgress())
        files.ranges.clear()
        fetch_release("dino_vitb16", SilentProgress())
    assert files.ranges == ["", "", "bytes=60000-"]  # the archive is not fetched again
    assert (verified("dino_vitb16")[0] / extra.name).read_bytes() == weights


@pytest.mark.weights
def test_the_true_weights_tell_alike_from_unlike() -> None:
    metric = load_dreamsim(Runtime())
    base = Image.effect_mandelbrot((256, 256), (-2, -1.5, 1, 1.5), 100).convert("RGB")
    noise = Image.effect_noise((256, 256), 80).convert("RGB")
    a, near, far = metric.features([base, base.resize((200, 200)).resize((256, 256)), noise])
    assert metric.between(a, near) < 0.1 < 0.4 < metric.between(a, far)
