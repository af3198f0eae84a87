"""LPIPS as a term of the VAE's loss: its weights are fetched, checked and read without a pickle."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision

from origcli.errors import ExitCode, ModelError
from origcli.models.vae import build_vae
from origcli.runtime.context import Runtime
from origcli.settings import Settings
from origcli.training import lpips
from origcli.training.vae import VaeObjective
from origcli.weights import downloads
from origcli.weights.downloads import RemoteFile
from tests.serving import Files, file_server


@pytest.fixture
def server() -> Iterator[Files]:
    with file_server() as server:
        yield server


@pytest.fixture
def random_vgg(server: Files, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """VGG-16's convolutions with random weights, as torchvision publishes it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = torchvision.models.vgg16(weights=None).features
    buffer = io.BytesIO()
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, buffer)
    content = buffer.getvalue()
    server.content["/vgg16.pth"] = content
    remote = RemoteFile(f"{server.url}/vgg16.pth", sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(lpips, "VGG16", remote)
    return content


def test_it_is_a_distance_without_dropout_that_teaches(
    random_vgg: bytes, server: Files, tiny_settings: Settings
) -> None:
    distance = lpips.load_lpips(Runtime())
    own = tiny_settings.vae.model_copy(update={"lpips_weight": 0.5})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = VaeObjective(build_vae(own, 32), own, distance).train()
    pictures = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    noise = torch.randn(2, 4, 16, 16)
    terms, again = objective(pictures, noise), objective(pictures, noise)
    assert terms["lpips"].shape == (2,) and (terms["lpips"] > 0).all()
    assert torch.equal(terms["lpips"], again["lpips"])
    plain = VaeObjective(objective.vae, own.model_copy(update={"lpips_weight": 0.0}))(pictures, noise)
    assert torch.allclose(terms["loss"], plain["loss"] + 0.5 * terms["lpips"])
    terms["lpips"].sum().backward()
    assert objective.vae.decoder.conv_out.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in distance.parameters())
    pixels = torch.rand(1, 3, 32, 32)
    assert float(distance(pixels, pixels)) == 0
    # The published weights of the five layers are all positive; random ones are not.
    assert all((layer.model[1].weight > 0).all() for layer in distance.lins)
    asked = len(server.paths)
    lpips.load_lpips(Runtime(offline=True))
    assert len(server.paths) == asked  # fetched once


def test_weights_that_are_not_those_published_are_not_used(
    random_vgg: bytes, server: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    server.content["/vgg16.pth"] = random_vgg[:-1] + b"x"
    with pytest.raises(ModelError, match="VGG-16"):
        lpips.load_lpips(Runtime())


@pytest.mark.parametrize("offline", [True, False])
def test_no_weights_are_exit_4_with_a_remedy(
    server: Files, monkeypatch: pytest.MonkeyPatch, offline: bool, tmp_path: Path
) -> None:
    monkeypatch.setattr(lpips, "VGG16", RemoteFile(f"{server.url}/vgg16.pth", sha256="0" * 64))  # a 404
    with pytest.raises(ModelError, match="VGG-16") as caught:
        lpips.load_lpips(Runtime(offline=offline))
    assert caught.value.exit_code is ExitCode.MODEL
    assert "--lpips-weight 0" in caught.value.hint and str(tmp_path / "cache/lpips") in caught.value.hint
