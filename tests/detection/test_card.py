import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from origcli.detection import yolo
from origcli.detection.card import CARD, WEIGHTS, read_card, read_weights, save_detector
from origcli.errors import ModelError
from tests.detection.tiny import ARCHITECTURE, tiny_card, tiny_model


@pytest.fixture
def detector(tiny_detector_dir: Path, tmp_path: Path) -> Any:
    return shutil.copytree(tiny_detector_dir, tmp_path / "detector")


def change(detector: Any, **own: Any) -> None:
    """Changes keys of the card's own section."""
    whole = yaml.safe_load((detector / CARD).read_text())
    whole["origcli"].update(own)
    (detector / CARD).write_text(yaml.safe_dump(whole))


def test_a_detector_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    model = tiny_model()
    card = tiny_card(calibration=(1.5, -0.25), trained_on=("abc",), metrics={"map50": 0.5})
    saved = save_detector(tmp_path, card, model.state_dict())
    read = read_card(tmp_path)
    assert read == saved
    assert read.model_copy(update={"weights_sha256": ""}) == card
    weights = read_weights(tmp_path, read)
    for name, value in model.state_dict().items():
        assert torch.equal(weights[name], value.half().float() if value.is_floating_point() else value)


def test_two_files_and_no_pickle(detector: Any) -> None:
    assert (
        sorted(path.name for path in detector.iterdir()) == [WEIGHTS, CARD]
        or sorted(path.name for path in detector.iterdir()) == [WEIGHTS, CARD][::-1]
    )
    floats = [v for v in load_file(detector / WEIGHTS).values() if v.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float16}


def test_ultralytics_builds_the_same_network_from_the_card(detector: Any) -> None:
    parts = yolo._ultralytics()
    with yolo._quarantine():
        theirs = parts.DetectionModel(str(detector / CARD), verbose=False)
    theirs.load_state_dict(read_weights(detector, read_card(detector)), strict=True)
    ours = yolo.load_model(detector, read_card(detector)).eval()
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(theirs.eval()(x)[0], ours(x)[0])


@pytest.mark.fault(22, "one flipped byte of a detector is found")
@pytest.mark.parametrize("place", [9, 5000, -9])
def test_a_flipped_byte_is_found(detector: Any, place: int) -> None:
    data = bytearray((detector / WEIGHTS).read_bytes())
    data[place] ^= 1
    (detector / WEIGHTS).write_bytes(bytes(data))
    with pytest.raises(ModelError, match="sha256 differs") as caught:
        read_weights(detector, read_card(detector))
    assert str(detector / WEIGHTS) in caught.value.message


def test_a_cut_or_missing_file_is_found(detector: Any) -> None:
    (detector / WEIGHTS).write_bytes((detector / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(ModelError, match="sha256 differs"):
        read_weights(detector, read_card(detector))
    (detector / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="weights are missing"):
        read_weights(detector, read_card(detector))
    (detector / CARD).unlink()
    with pytest.raises(ModelError, match="no detector here"):
        read_card(detector)


def test_weights_that_are_no_safetensors_are_refused(detector: Any) -> None:
    (detector / WEIGHTS).write_bytes(b"\x80\x04pickle")
    change(detector, weights_sha256=hashlib.sha256(b"\x80\x04pickle").hexdigest())
    with pytest.raises(ModelError, match="cannot read the weights"):
        read_weights(detector, read_card(detector))


@pytest.mark.parametrize("how", ["missing", "extra", "shape"])
def test_weights_of_another_network_are_refused(detector: Any, how: str) -> None:
    weights = load_file(detector / WEIGHTS)
    name = "model.0.conv.weight"
    if how == "missing":
        del weights[name]
    elif how == "extra":
        weights["model.99.weight"] = torch.zeros(3)
    else:
        weights[name] = torch.zeros(1, 2, 3)
    save_file(weights, detector / WEIGHTS)
    change(detector, weights_sha256=hashlib.sha256((detector / WEIGHTS).read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="do not fit the architecture"):
        yolo.load_model(detector, read_card(detector))


@pytest.mark.parametrize(
    "own, words",
    [
        ({"schema": "origcli.detector/99"}, "not a detector of schema"),
        ({"names": ["big red full circle", "purple cow"]}, "names"),
        ({"names": ["big red full circle", "red big full circle"]}, "same element"),
        ({"names": []}, "names"),
        ({"input_size": 1}, "input_size"),
        ({"input_size": 10**9}, "input_size"),
        ({"surprise": 1}, "surprise"),
        ({"calibration": [1.0, float("nan")]}, "calibration"),
    ],
)
def test_a_damaged_card_is_refused_and_named(detector: Any, own: Any, words: str) -> None:
    change(detector, **own)
    with pytest.raises(ModelError, match=words) as caught:
        read_card(detector)
    assert str(detector / CARD) in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"- a\n- list\n",
        b"a: [",
        b"\xff\xfe\x00",
        b"origcli: 3\n",
        b"backbone: []\n",
        b"a: &a [x]\nb: [*a, *a, *a]\norigcli: {}\n",
        b"a: " + b"[" * 100_000,
    ],
)
def test_what_is_no_card_is_refused(detector: Any, text: Any) -> None:
    (detector / CARD).write_bytes(text)
    with pytest.raises(ModelError):
        read_card(detector)


def test_a_huge_card_is_not_even_read(detector: Any) -> None:
    (detector / CARD).write_bytes(b"a: 1\n" * 300_000)
    with pytest.raises(ModelError, match="too large"):
        read_card(detector)


@pytest.mark.fault(18, "a detector's YAML makes plain values alone")
def test_a_card_makes_no_python_objects(detector: Any, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (detector / CARD).write_text(f"origcli: !!python/object/apply:pathlib.Path.touch [{marker}]\n")
    with pytest.raises(ModelError, match="not valid yaml"):
        read_card(detector)
    assert not marker.exists()


@pytest.mark.parametrize("field", ["activation", "layer", "argument"])
def test_an_architecture_runs_nothing(tmp_path: Path, field: str) -> None:
    marker = tmp_path / "marker"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    architecture = {**ARCHITECTURE, "backbone": [list(layer) for layer in ARCHITECTURE["backbone"]]}
    if field == "activation":
        architecture["activation"] = code
    elif field == "layer":
        architecture["backbone"][0][2] = code
    else:
        architecture["backbone"][0][3] = [code, 3, 2]
    with pytest.raises(ModelError, match="not a detector's architecture"):
        yolo.build(architecture)
    assert not marker.exists()
