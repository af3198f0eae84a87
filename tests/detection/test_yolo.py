import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from origcli.detection import reporting, yolo
from origcli.detection.card import read_card
from origcli.detection.detector import Detection
from origcli.errors import InputError, ModelError, UsageError
from origcli.runtime.context import Runtime
from origcli.runtime.memory import BatchSize
from origcli.scenes.mixtures import Recipe, Sampler
from origcli.scenes.rendering import render
from origcli.settings import DetectSettings, resolve
from tests.detection.tiny import class_bias, tiny_card, tiny_model

SETTINGS = DetectSettings(confidence=0.1, iou=0.7, batch_size=4)


def pictures(count: int, size: Any = (64, 64), seed: int = 0) -> Any:
    """Scenes of the shapes world in the middle of pictures of a size."""
    settings, _ = resolve(
        {"synth": {"sizes": ("big", "small"), "textures": ("full", "empty"), "resolution": 64}},
        environment={},
    )
    sampler = Sampler(Recipe(settings.synth, seed))
    found = []
    for number in range(count):
        picture = Image.new("RGB", size, "white")
        scene = Image.fromarray(render(sampler.scene(number), 64))
        picture.paste(scene, ((size[0] - 64) // 2, (size[1] - 64) // 2))
        found.append(picture)
    return found


@pytest.fixture(scope="module")
def detector() -> Any:
    return yolo.load_yolo(reporting.detector_directory("shapes"), Runtime(), SETTINGS)


def near(found: Any, wanted: Any) -> Any:
    """Whether two lists of detections are the same but for rounding, which may swap equal confidences."""

    def alike(a: Any, b: Any) -> Any:
        return (
            a.element == b.element
            and a.confidence == pytest.approx(b.confidence, abs=1e-4)
            and a.box == pytest.approx(b.box, abs=1e-2)
        )

    assert len(found) == len(wanted)
    return all(any(alike(a, b) for b in wanted) for a in found)


def grainy(picture: Any) -> Any:
    """The picture with a little noise: on plain white, many places of the network tie in confidence."""
    noise = np.random.default_rng(0).integers(-6, 7, (picture.height, picture.width, 3))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def clear_threshold(output: Any, confidence: float) -> Any:
    """An overlap near 0.7 that no two candidate boxes come close to, so that rounding decides nothing.

    Args:
        output: (n, 4 + classes, places), of the network: center, size, confidences.
    """
    overlaps = [torch.tensor([0.65, 0.75])]
    for rows in output.transpose(1, 2):
        rows = rows[rows[:, 4:].amax(1) > confidence]
        corners = torch.cat([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1)
        overlaps.append(box_iou(corners, corners).flatten())
    values = torch.cat(overlaps)
    values = values[(values >= 0.65) & (values <= 0.75)].sort().values
    widest = values.diff().argmax()
    assert values.diff()[widest] > 1e-4
    return float(values[widest : widest + 2].mean())


def test_pictures_do_not_depend_on_their_neighbors(detector: Any) -> None:
    mixed = [
        *pictures(5),
        *pictures(2, (100, 40), 1),
        *pictures(1, (20, 30), 2),
        *pictures(3, seed=3),
        *pictures(1, (100, 40), 4),
    ]
    together = detector.detect(mixed)
    assert sum(map(len, together)) > 5
    for picture, found in zip(mixed, together, strict=True):
        assert near(detector.detect([picture])[0], found)


def test_detections_reach_the_threshold_and_fall(detector: Any) -> None:
    for found in detector.detect(pictures(6)):
        confidences = [d.confidence for d in found]
        assert confidences == sorted(confidences, reverse=True)
        assert all(SETTINGS.confidence <= c <= 1 for c in confidences)


def test_boxes_are_inside_their_pictures(detector: Any) -> None:
    for size in ((64, 64), (200, 50), (31, 77)):
        for found in detector.detect(pictures(3, size)):
            for x0, y0, x1, y1 in (d.box for d in found):
                assert 0 <= x0 <= x1 <= size[0]
                assert 0 <= y0 <= y1 <= size[1]


def test_no_pictures_and_no_pixels(detector: Any) -> None:
    assert detector.detect([]) == []
    with pytest.raises(InputError, match="no pixels"):
        detector.detect([Image.new("RGB", (0, 5))])


def test_folding_the_normalisation_changes_nothing(tiny_detector_dir: Path) -> None:
    model = yolo.load_model(tiny_detector_dir, read_card(tiny_detector_dir)).eval()
    x = torch.rand(2, 3, 64, 64)
    before = model(x)[0]
    yolo.fuse(model)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    assert torch.allclose(model(x)[0], before, atol=1e-3)


def test_memory_that_runs_out_halves_the_batch(detector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "_batch", BatchSize(4))
    wanted = detector.detect(pictures(6))
    infer, sizes = detector._infer, []

    def short_of_memory(array: Any) -> Any:
        sizes.append(len(array))
        if len(array) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return infer(array)

    monkeypatch.setattr(detector, "_infer", short_of_memory)
    found = detector.detect(pictures(6))
    assert sizes == [4, 2, 2, 2]
    for a, b in zip(found, wanted, strict=True):
        assert near(a, b)


@pytest.mark.parametrize("architecture", ["shapes", "yolov8n"])
def test_boxes_and_confidences_are_those_of_ultralytics(architecture: str) -> None:
    """Against the network's own output and ultralytics' suppression, on pictures of the input's size."""
    if architecture == "yolov8n":
        torch.manual_seed(0)
        model = yolo.build(yolo.read_architecture("yolov8n", 60)).eval()
        for layer in yolo.class_layers(model):
            class_bias(layer).data.normal_(0, 2)
        card = tiny_card()
    else:
        directory = reporting.detector_directory("shapes")
        card = read_card(directory)
        model = yolo.load_model(directory, card).eval()
    seen = [grainy(picture) for picture in pictures(4)]
    with torch.no_grad(), yolo._quarantine():
        from ultralytics.utils.nms import non_max_suppression

        pixels = torch.stack([yolo.to_pixels(torch.from_numpy(np.array(p))[None])[0] for p in seen])
        output = model(pixels)[0]
        iou = clear_threshold(output, 0.3)
        wanted = non_max_suppression(output, 0.3, iou, agnostic=True)
    settings = DetectSettings(confidence=0.3, iou=iou, batch_size=4)
    detector = yolo.YoloDetector(model, card, settings, torch.device("cpu"))
    for found, rows in zip(detector.detect(seen), wanted, strict=True):
        theirs = [
            Detection(card.elements[int(row[5])], float(row[4]), tuple(row[:4].clamp(0, 64).tolist()))
            for row in rows
            if (row[2:4].clamp(0, 64) > row[:2].clamp(0, 64)).all()
        ]
        assert near(found, theirs)


def test_a_picture_of_another_size_is_scaled_onto_white() -> None:
    pixels = torch.zeros(1, 3, 20, 40)
    fitted = yolo.fit(pixels, 64)
    assert fitted.shape == (1, 3, 64, 64)
    assert (fitted[..., :32, :] == 0).all()
    assert (fitted[..., 32:, :] == 1).all()
    same = torch.rand(1, 3, 64, 64)
    assert yolo.fit(same, 64) is same


def test_pixels_are_fractions_in_channel_order() -> None:
    picture = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    picture[0, 0, 1] = torch.tensor([255, 51, 0])
    pixels = yolo.to_pixels(picture)
    assert pixels[0, :, 0, 1].tolist() == pytest.approx([1.0, 0.2, 0.0])


@pytest.mark.parametrize(
    "name, strides", [("yolov8-shapes", [4]), ("yolov8n", [8, 16, 32]), ("yolov8n-p2", [4, 8, 16, 32])]
)
def test_architectures_by_name(name: str, strides: Any) -> None:
    architecture = yolo.read_architecture(name, 60)
    model = yolo.build(architecture)
    assert isinstance(model.stride, torch.Tensor) and model.stride.tolist() == strides
    assert {layer.out_channels for layer in yolo.class_layers(model)} == {60}


def test_ours_is_small() -> None:
    model = yolo.build(yolo.read_architecture("yolov8-shapes", 60))
    assert 2 * sum(value.numel() for value in model.state_dict().values()) < 7_000_000


@pytest.mark.parametrize(
    "name", ["yolov9c", "resnet", "yolov8", "yolov8q", "yolov8n-x", "../x", "nowhere.yaml"]
)
def test_unknown_architectures_are_named(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        yolo.build(yolo.read_architecture(name, 60))
    assert name in caught.value.message


def test_a_model_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "nc: 3\nbackbone:\n- [-1, 1, Conv, [16, 3, 2]]\n"
        "head:\n- [-1, 1, Conv, [16, 3, 2]]\n- [[1], 1, Detect, [nc]]\n"
    )
    assert yolo.class_layers(yolo.build(yolo.read_architecture(str(path), 60)))[0].out_channels == 60
    path.write_text("nc: 3\nbackbone:\n- [-1, 1, Conv, [16, 3, 2]]\nhead:\n- [-1, 1, Conv, [16, 3, 2]]\n")
    with pytest.raises(ModelError, match="Detect"):
        yolo.build(yolo.read_architecture(str(path), 60))


class Touch:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


def write_checkpoint(path: Path, model: Any) -> None:
    torch.save({"model": model, "ema": None, "train_args": {}}, path)


def test_a_checkpoint_of_ultralytics_is_read(tmp_path: Path) -> None:
    model = tiny_model()
    write_checkpoint(tmp_path / "good.pt", model)
    state = yolo.published_weights(tmp_path / "good.pt")
    other = tiny_model(seed=1)
    assert yolo.load_matching(other, state) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value.float() if value.is_floating_point() else value)


@pytest.mark.fault(18, "a YOLO checkpoint is read as tensors or refused")
def test_a_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    write_checkpoint(tmp_path / "torch.pt", Touch(marker))
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Touch(marker)))
    pickle.loads(pickle.dumps(Touch(marker)))  # noqa: S301 - it would
    assert marker.exists()
    marker.unlink()
    for name in ("torch.pt", "pickle.pt"):
        with pytest.raises(ModelError, match="without running its code"):
            yolo.published_weights(tmp_path / name)
        assert not marker.exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x89PNG"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.pt").write_bytes(data)
    with pytest.raises(ModelError, match=r"bad\.pt"):
        yolo.published_weights(tmp_path / "bad.pt")


def test_a_missing_checkpoint_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no such checkpoint"):
        yolo.published_weights(Path("yolov8n.pt"))
    assert not list(tmp_path.iterdir())


def test_weights_of_another_shape_stay_out() -> None:
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert (
        yolo.load_matching(model, {"model.0.conv.weight": torch.zeros(1), "other": torch.zeros(2)}) == set()
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
