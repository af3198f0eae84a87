"""A detector with fixed random weights, small enough to be built in every test."""

from pathlib import Path
from typing import Any

import torch

from origcli.detection import yolo
from origcli.detection.card import DetectorCard, save_detector
from origcli.scenes.elements import ALL_ELEMENTS

ARCHITECTURE: dict[str, Any] = {
    "nc": 60,
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "C2f", [16, True]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "SPPF", [32, 5]],
    ],
    "head": [[-1, 1, "C2f", [32]], [[4], 1, "Detect", ["nc"]]],
}


def class_bias(layer: torch.nn.Module) -> torch.Tensor:
    assert isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
    return layer.bias


def tiny_model(seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = yolo.build(ARCHITECTURE)
        for layer in yolo.class_layers(model):
            class_bias(layer).data.normal_(0, 2)  # so that some confidences are high
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model


def tiny_card(**changes: Any) -> DetectorCard:
    facts = {
        "architecture": ARCHITECTURE,
        "names": tuple(element.phrase for element in ALL_ELEMENTS),
        "input_size": 64,
        **changes,
    }
    return DetectorCard(**facts)


def write_tiny_detector(directory: Path, **changes: Any) -> Path:
    save_detector(directory, tiny_card(**changes), tiny_model().state_dict())
    return directory
