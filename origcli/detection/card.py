"""A detector on disk: `detector.yaml` (architecture, classes, provenance) and `detector.safetensors`.

The yaml is an ultralytics model file with one more section, `origcli`, so `YOLO("detector.yaml")` builds
the same network. Nothing in a detector is a pickle, and nothing in it is run.
"""

from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors.torch import save
from torch import Tensor

from origcli.detection.architecture import problem
from origcli.errors import ModelError, UsageError
from origcli.models.checkpoints import load_tensors
from origcli.runtime.atomic import make_directory, write_bytes, write_text
from origcli.runtime.provenance import hash_file
from origcli.scenes.elements import Element

CARD, WEIGHTS = "detector.yaml", "detector.safetensors"
SCHEMA = "origcli.detector/1"
_SECTION = "origcli"
_MAX_BYTES = 1 << 18  # of a card
_MAX_DEPTH = 16  # of its lists and mappings; the time that a yaml scanner takes grows with the square of it

_STARTS = (
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
)
_ENDS = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)


class DetectorCard(BaseModel):
    """What a detector is, apart from its weights.

    Attributes:
        architecture: an ultralytics model file as a mapping, of layers that are read here.
        names: the phrase of each class, in the order of class numbers.
        input_size: side of the square that images are scaled to, in pixels.
        weights_sha256: of `detector.safetensors`.
        calibration: slope and offset that logits were mapped by after training; they are in the weights.
        trained_on: hashes of the data sets.
        metrics: on held-out images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    architecture: dict[str, Any]
    names: tuple[str, ...] = Field(min_length=1)
    input_size: int = Field(ge=32, le=4096)
    weights_sha256: str = ""
    calibration: tuple[float, float] = (1.0, 0.0)
    trained_on: tuple[str, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)

    @field_validator("architecture")
    @classmethod
    def _is_yolov8(cls, architecture: dict[str, Any]) -> dict[str, Any]:
        if reason := problem(architecture):
            raise ValueError(reason)
        return architecture

    @field_validator("names")
    @classmethod
    def _are_elements(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parsed = [Element.parse(name).phrase for name in names]
        except UsageError as error:
            raise ValueError(error.message) from error
        if len(set(parsed)) < len(parsed):
            raise ValueError("two classes are the same element")
        return tuple(parsed)

    @property
    def elements(self) -> tuple[Element, ...]:
        """The element of each class."""
        return tuple(Element.parse(name) for name in self.names)


def save_detector(directory: Path, card: DetectorCard, state: dict[str, Tensor]) -> DetectorCard:
    """Writes a detector; floating-point weights as fp16, which costs a detector nothing that can be measured.

    Returns:
        The card with the hash of the weights in it.
    """
    make_directory(directory)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    write_bytes(directory / WEIGHTS, save({name: value.cpu().contiguous() for name, value in halves.items()}))
    card = card.model_copy(update={"weights_sha256": hash_file(directory / WEIGHTS)})
    facts = card.model_dump(mode="json", exclude={"architecture"})
    text = yaml.safe_dump(
        {**card.architecture, _SECTION: {"schema": SCHEMA, **facts}}, sort_keys=False, default_flow_style=None
    )
    write_text(directory / CARD, text)
    return card


def read_card(directory: Path) -> DetectorCard:
    """The card of a detector.

    Raises:
        ModelError: there is no detector, or its card is damaged or of another kind.
    """
    path = directory / CARD
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path}: too large for a detector's card")
        whole = read_yaml(path)
        own = dict(whole.pop(_SECTION))
        if own.pop("schema") != SCHEMA:
            raise ModelError(f"{path}: not a detector of schema {SCHEMA}")
        return DetectorCard(architecture=whole, **own)
    except OSError as error:
        raise ModelError(
            f"{directory}: no detector here ({CARD}: {error.strerror or error})",
            "train one with: origcli train-detector DATASET --out DIR",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: not a detector's card: {error!r}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """A yaml file that is a mapping. Tags that would make Python objects are refused, as are aliases, with
    which a short file can grow without bounds, and deep nesting.

    Raises:
        ModelError: it is not yaml, or not a mapping.
    """
    text = path.read_bytes()
    try:
        _refuse_bombs(text, path)
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not valid yaml: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: not a yaml mapping")
    return value


def _refuse_bombs(text: bytes, path: Path) -> None:
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise ModelError(f"{path}: YAML aliases are not supported")
        depth += isinstance(token, _STARTS)
        depth -= isinstance(token, _ENDS)
        if depth > _MAX_DEPTH:
            raise ModelError(f"{path}: YAML that is nested this deep is not supported")


def read_weights(directory: Path, card: DetectorCard) -> dict[str, Tensor]:
    """The fp32 weights that belong to a card.

    Raises:
        ModelError: they are missing, damaged or not those that the card names.
    """
    path = directory / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{path}: the detector's weights are missing")
    if hash_file(path) != card.weights_sha256:
        raise ModelError(
            f"{path}: the weights are not those that {CARD} names (their sha256 differs)",
            "the file is damaged or was replaced: download or train the detector again",
        )
    return {
        name: value.to(torch.float32) if value.is_floating_point() else value
        for name, value in load_tensors(path).items()
    }
