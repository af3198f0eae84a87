"""Metrics by name: what is known of them unopened, and those of the hub's networks, tiny and random here."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BitImageProcessorPil, CLIPImageProcessorPil, CLIPModel, Dinov2Model

from origcli.errors import ModelError, UsageError
from origcli.perception import metrics
from origcli.perception.distance import EDIT, PLACEMENT
from origcli.perception.elements import ElementsDistance
from origcli.perception.metrics import Metric, Opening, default_metric, find, known, names, open_metric
from origcli.runtime.context import Runtime
from origcli.scoring import fetching
from origcli.settings import resolve
from tests.hub_server import Hub, Repository, hub_server, point_to
from tests.perception.towers import write_clip, write_dinov2

HUB_METRICS = ("clip", "dinov2")


def open_by_name(name: str, runtime: Runtime | None = None, detector: Path | None = None) -> Any:
    return open_metric(
        name, runtime or Runtime(), detector=detector, settings=resolve(environment={})[0].detect
    )


def test_every_metric_says_what_the_program_asks() -> None:
    assert names() == ("clip", "dinov2", "dreamsim", "elements")
    for metric in known():
        assert metric.name in names() and "" in metric.variants
        assert find(metric.name) == (metric, "")
        for needs in metric.variants.values():
            assert {thing.name for thing in needs} <= set(fetching.names())
    for has_detector in (False, True):
        assert [metric.default_for(has_detector) for metric in known()].count(True) == 1


def test_auto_is_the_metric_that_fits() -> None:
    assert (default_metric(has_detector=False), default_metric(has_detector=True)) == ("dreamsim", "elements")


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("dinov3", "unknown metric", "'dinov2'"),
        ("clip:big", "no variant", "none"),
        ("elements:x", "no variant", "none"),
        ("dreamsim:x", "no variant", "dino_vitb16"),
    ],
)
def test_another_name_is_exit_2(name: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        find(name)
    assert hint in caught.value.hint


def test_the_ensemble_may_be_named() -> None:
    assert find("dreamsim:ensemble")[1] == "" and find("dreamsim:clip_vitb32")[1] == "clip_vitb32"


def test_a_metric_that_needs_a_detector_is_refused_without() -> None:
    with pytest.raises(ModelError, match="needs a detector"):
        open_by_name("elements")


def test_a_registered_metric_is_known_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Opening] = []

    def grey(opening: Opening) -> Any:
        opened.append(opening)
        return "grey"

    monkeypatch.setattr(metrics, "_registered", dict(metrics._registered))
    metrics.register(Metric("grey", open=grey, variants={"": (), "dark": ()}, shapes_only=True))
    assert "grey" in names() and open_by_name("grey:dark") == "grey"
    assert opened[0].variant == "dark"
    assert metrics.sees_shapes_only("grey:dark") and not metrics.sees_shapes_only("gray")


def test_names_cost_no_import_of_a_metric() -> None:
    code = (
        "import sys; from origcli.perception import metrics; assert 'dinov2' in metrics.names();"
        "heavy = ('torch', 'numpy', 'pydantic', 'PIL', 'origcli.perception.metrics.dinov2');"
        "print(*[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of tiny random networks, laid out as their repositories are, by metric."""
    root = tmp_path_factory.mktemp("towers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        write_clip(root / "clip")
        write_dinov2(root / "dinov2")
    return {name: root / name for name in HUB_METRICS}


@pytest.fixture
def hub(towers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has them at their pinned commits, and nothing fetched."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    repositories = {}
    for name, directory in towers.items():
        model = fetching.thing(name).model  # type: ignore[attr-defined]
        assert len(model.revision) == 40
        repositories[model.id] = Repository.of(directory, commit=model.revision)
    with hub_server(repositories) as server:
        point_to(monkeypatch, server.url)
        yield server


def pictures(count: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (48, 48, 3), np.uint8)) for _ in range(count)]


def expected_embeddings(name: str, directory: Path, images: list[Image.Image]) -> torch.Tensor:
    with torch.no_grad():
        if name == "clip":
            pixels = CLIPImageProcessorPil.from_pretrained(directory)(images, return_tensors="pt")
            features = CLIPModel.from_pretrained(directory).eval().get_image_features(**pixels)
            return getattr(features, "pooler_output", features)
        pixels = BitImageProcessorPil.from_pretrained(directory)(images, return_tensors="pt")
        return Dinov2Model.from_pretrained(directory).eval()(**pixels).last_hidden_state[:, 0]


@pytest.mark.parametrize("name", HUB_METRICS)
def test_distances_are_cosines_of_the_networks_embeddings(
    name: str, hub: Hub, towers: dict[str, Path]
) -> None:
    metric = open_by_name(name)
    images = pictures(3)
    features = metric.features(images)
    a, b, c = expected_embeddings(name, towers[name], images)
    for other, expected in ((features[1], b), (features[2], c)):
        cosine = torch.nn.functional.cosine_similarity(a, expected, dim=0)
        assert metric.between(features[0], other) == pytest.approx(1 - float(cosine), abs=1e-5)
    assert metric.between(features[0], features[0]) == pytest.approx(0, abs=1e-12)
    assert (metric.name, metric.test, metric.facts_of(features)) == (name, EDIT, {})
    alone = open_by_name(name, Runtime(offline=True))  # all is here now
    assert alone.version == metric.version
    assert np.allclose(alone.features(images[:1])[0], features[0], atol=1e-6)


@pytest.mark.parametrize("name", HUB_METRICS)
def test_without_a_network_it_says_what_to_fetch(name: str, hub: Hub) -> None:
    with pytest.raises(ModelError) as caught:
        open_by_name(name, Runtime(offline=True))
    assert f"origcli fetch {name}" in caught.value.hint and not hub.requests


@pytest.mark.parametrize("name", HUB_METRICS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.popitem(), "missing"),
        (lambda weights: weights.update(other=torch.zeros(2)), "unknown: other"),
    ],
)
def test_weights_of_another_network_are_refused(
    name: str, change: Any, message: str, hub: Hub, tmp_path: Path
) -> None:
    (repository,) = [one for id, one in hub.repositories.items() if name in id]
    path = tmp_path / "model.safetensors"
    path.write_bytes(repository.files[path.name])
    weights = dict(sorted(load_file(path).items()))  # the last is one of the network's that is read
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})
    repository.files[path.name] = path.read_bytes()
    with pytest.raises(ModelError, match=message) as caught:
        open_by_name(name)
    assert f"origcli fetch {name}" in caught.value.hint


def test_other_weights_are_another_version(hub: Hub, towers: dict[str, Path], tmp_path: Path) -> None:
    before = open_by_name("dinov2").version
    (path,) = Path(constants.HF_HUB_CACHE).rglob("model.safetensors")
    weights = load_file(path)
    weights["layernorm.bias"] += 1
    path.unlink()
    save_file(weights, path, metadata={"format": "pt"})
    assert open_by_name("dinov2").version != before


def test_each_metric_names_its_test() -> None:
    assert ElementsDistance.test == PLACEMENT
