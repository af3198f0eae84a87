"""Which networks a model file may describe: YOLOv8's own, and nothing that fetches or fills the memory."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from origcli.detection import yolo
from origcli.detection.architecture import problem
from origcli.detection.card import CARD, read_card
from origcli.errors import ModelError
from tests.detection.tiny import ARCHITECTURE

NAMES = ["yolov8-shapes", *(f"yolov8{size}{tail}" for size in "nsmlx" for tail in ("", "-p2", "-p6"))]


@pytest.mark.parametrize("name", NAMES)
def test_every_published_yolov8_is_read(name: str) -> None:
    assert problem(yolo.read_architecture(name, 60)) == ""


def with_layer(layer: Any) -> dict[str, Any]:
    return {**ARCHITECTURE, "backbone": [layer, *ARCHITECTURE["backbone"][1:]]}


LAYERS = [
    ([-1, 1, "TorchVision", [512, "convnext_tiny", "DEFAULT"]], "'TorchVision' is not a layer"),
    ([-1, 1, "torchvision.ops.DeformConv2d", [16, 3]], "is not a layer"),
    ([-1, 1, "nn.Embedding", [10**9, 10**3]], "is not a layer"),
    ([-1, 1, ["Conv"], [16, 3, 2]], "is not a layer"),
    ([-1, 10**9, "Conv", [16, 3, 2]], "1000000000 repeats"),
    ([-1, True, "Conv", [16, 3, 2]], "repeats"),
    ([-1, 1, "Conv", [10**9, 3, 2]], "not an argument"),
    ([-1, 1, "Conv", [16, 10**6, 2]], "not an argument"),
    ([-1, 1, "Conv", ["[0] * 10**9", 3, 2]], "not an argument"),
    ([-1, 1, "Conv", [16.5, 3, 2]], "not an argument"),
    ([-1, 1, "Conv", [16, 3, 2, None, 1, 1, "act"]], "not its arguments"),
    ([-1, 1, "Conv", []], "not its arguments"),
    ([-1, 1, "nn.Upsample", ["None", 10**6, "nearest"]], "not an argument"),
    ([[], 1, "Concat", [1]], "not a place"),
    (["d", 1, "Conv", [16, 3, 2]], "not a place"),
    ([-1, 1, "Conv"], "is not [from, repeats, layer, arguments]"),
    ([-1, 64, "C2f", [4096, True]], "parameters"),
]
SIZES: list[tuple[dict[str, Any], str]] = [
    ({"nc": 10**9}, "classes"),
    ({"nc": "nc"}, "classes"),
    ({"width_multiple": 1e9}, "factor"),
    ({"scales": {"n": [0.33, float("nan"), 1024]}}, "factor"),
    ({"scales": {"n": [0.33, 0.25, 10**9]}}, "channels"),
    ({"scales": [1, 2, 3]}, "scales"),
    ({"scale": "z"}, "no scale"),
    ({"scale": ["z"]}, "no scale"),
    ({"activation": "nn.Softmax2d()"}, "activation"),
    ({"activation": 3}, "activation"),
    ({"kpt_shape": [10**6, 3]}, "'kpt_shape' is not read"),
    ({"backbone": ARCHITECTURE["backbone"] * 40}, "at most 128"),
    ({"head": []}, "no head"),
]


@pytest.mark.fault(41, "its layers, arguments and sizes are those of YOLOv8, or it is refused")
@pytest.mark.parametrize(
    ("architecture", "words"),
    [(with_layer(layer), words) for layer, words in LAYERS]
    + [({**ARCHITECTURE, **change}, words) for change, words in SIZES],
)
def test_what_is_no_yolov8_is_refused_and_named(architecture: dict[str, Any], words: str) -> None:
    assert words in problem(architecture)
    with pytest.raises(ModelError, match="not a detector's architecture"):
        yolo.build(architecture)


@pytest.mark.fault(41, "a layer that would fetch weights fetches nothing")
def test_a_card_fetches_nothing(
    tiny_detector_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *words, **_: asked.append(words))
    detector = Path(shutil.copytree(tiny_detector_dir, tmp_path / "detector"))
    whole = yaml.safe_load((detector / CARD).read_text())
    whole["backbone"][0] = [-1, 1, "TorchVision", [512, "convnext_tiny", "DEFAULT", True, 2]]
    (detector / CARD).write_text(yaml.safe_dump(whole))
    with pytest.raises(ModelError, match=r"detector\.yaml: architecture: .*TorchVision"):
        yolo.load_model(detector, read_card(detector))
    assert not asked


def test_the_quarantine_has_no_network(tmp_path: Path) -> None:
    with yolo._quarantine(), pytest.raises(OSError, match="the network is off"):
        torch.hub.load_state_dict_from_url("http://127.0.0.1:9/weights.pth", model_dir=str(tmp_path))
