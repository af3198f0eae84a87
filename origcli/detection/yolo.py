"""YOLOv8: the one module that imports ultralytics, always in the quarantine.

Only parts of ultralytics are used: the network that a model file describes, its training loss, and its
metrics. Its trainer and predictor are not: they write where they like, read pickles, and cost several
times the network's own time on small images.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from origcli.detection.architecture import problem
from origcli.detection.card import DetectorCard, read_card, read_weights, read_yaml
from origcli.detection.detector import Detection
from origcli.detection.quarantine import quarantine
from origcli.detection.suppression import keep_one_each
from origcli.errors import InputError, ModelError, UsageError
from origcli.runtime.cache import working_directory
from origcli.runtime.context import Runtime
from origcli.runtime.device import memory_format
from origcli.runtime.memory import BatchSize, slices
from origcli.settings import DetectSettings

OURS = "yolov8-shapes"
_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}  # ultralytics' own


def _quarantine() -> AbstractContextManager[None]:
    return quarantine(working_directory("ultralytics"))


@cache
def _ultralytics() -> SimpleNamespace:
    """The parts of ultralytics that are used here, imported once.

    Raises:
        ModelError: it cannot be imported.
    """
    try:
        with _quarantine():
            from ultralytics.engine.validator import BaseValidator
            from ultralytics.nn.tasks import DetectionModel, torch_safe_load, yaml_model_load
            from ultralytics.utils import IterableSimpleNamespace
            from ultralytics.utils.loss import v8DetectionLoss
            from ultralytics.utils.metrics import ConfusionMatrix, DetMetrics
    except ImportError as error:
        raise ModelError(
            f"ultralytics, which the detector needs, cannot be imported: {error}",
            "pip install --force-reinstall ultralytics-opencv-headless",
        ) from error
    return SimpleNamespace(
        BaseValidator=BaseValidator,
        ConfusionMatrix=ConfusionMatrix,
        DetectionModel=DetectionModel,
        DetMetrics=DetMetrics,
        IterableSimpleNamespace=IterableSimpleNamespace,
        torch_safe_load=torch_safe_load,
        v8DetectionLoss=v8DetectionLoss,
        yaml_model_load=yaml_model_load,
    )


def read_architecture(name: str, classes: int) -> dict[str, Any]:
    """A model file as a mapping, for a number of classes.

    Args:
        name: `yolov8-shapes` (ours), one of ultralytics' YOLOv8 such as `yolov8n`, or a path to a `.yaml`.

    Raises:
        UsageError: there is no such model file.
        ModelError: the file is not yaml.
    """
    if name == OURS:
        with resources.as_file(resources.files("origcli.detection").joinpath(f"{OURS}.yaml")) as path:
            architecture = read_yaml(path)
    elif name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UsageError(f"{name}: no such model file")
        architecture = read_yaml(Path(name))
    else:
        architecture = _published_architecture(name)
    return {**architecture, "nc": classes}


def _published_architecture(name: str) -> dict[str, Any]:
    wanted = "a name is yolov8-shapes, yolov8n, s, m, l or x, one of those with -p2 or -p6, or a .yaml file"
    if not name.startswith("yolov8") or not name.replace("-", "").isalnum():
        raise UsageError(f"unknown architecture {name!r}", wanted)
    with _quarantine():
        try:
            whole = dict(_ultralytics().yaml_model_load(f"{name}.yaml"))
        except (OSError, ValueError) as error:
            raise UsageError(f"unknown architecture {name!r}", wanted) from error
    scale = whole.pop("scale")
    if not scale:
        raise UsageError(f"unknown architecture {name!r}", wanted)
    whole.pop("yaml_file")
    # One scale alone, so that a card says which it is, to ultralytics, too.
    return {**whole, "scales": {scale: whole["scales"][scale]}, "scale": scale}


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """The network of a model file, with random weights from torch's generator.

    Raises:
        ModelError: the file does not describe one, or names something that is no known layer.
    """
    if reason := problem(architecture):
        raise ModelError(f"not a detector's architecture: {reason}")
    parts = _ultralytics()
    with _quarantine():
        try:
            model = parts.DetectionModel(copy.deepcopy(dict(architecture)), ch=3, verbose=False)
        except Exception as error:  # whatever the words of a model file lead its parser to
            raise ModelError(f"not a detector's architecture: {' '.join(str(error).split())}") from error
    layers: Any = getattr(model, "model", None)
    if not isinstance(model, nn.Module) or not hasattr(layers[-1], "cv3"):
        raise ModelError("not a detector's architecture: its last layer is not Detect")
    model.args = parts.IterableSimpleNamespace(**_GAINS)
    return model


def published_weights(path: Path) -> dict[str, Tensor]:
    """The fp32 weights of an ultralytics checkpoint, through its restricted loader alone.

    Raises:
        ModelError: the file is missing, or holds anything but a known network.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such checkpoint", "give a file; nothing is downloaded")
    with _quarantine():
        try:
            checkpoint, _ = _ultralytics().torch_safe_load(str(path), safe_only=True)
            model = checkpoint.get("ema") or checkpoint["model"]
            state = model.float().state_dict()
        except Exception as error:  # the unpickler of a hostile file raises anything
            raise ModelError(
                f"{path}: not a checkpoint that can be loaded without running its code",
                "use the weights that ultralytics publishes, or leave out --init",
            ) from error
    return dict(state)


def load_matching(model: nn.Module, state: Mapping[str, Tensor]) -> set[str]:
    """Loads those weights that fit by name and shape; the names that did."""
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    return set(fitting)


def load_published(model: nn.Module, path: Path) -> str:
    """Loads an ultralytics checkpoint, but for its classes where it has others; says how much that was.

    Raises:
        ModelError: the file is missing, or holds anything but a known network.
        UsageError: it is of another architecture. Some layers of any two have one shape, so a few that fit
            are no sign that it is the same.
    """
    loaded, size = load_matching(model, published_weights(path)), len(model.state_dict())
    missing = names_without_classes(model) - loaded
    if missing:
        raise UsageError(
            f"{path}: another architecture: {len(loaded)} of {size} tensors fit, and {min(missing)} does not",
            "name the one it has: --architecture yolov8n goes with yolov8n.pt",
        )
    return f"{len(loaded)} of {size} tensors loaded from {path.name}"


def names_without_classes(model: Any) -> set[str]:
    """The names of all weights but those of the class branch, which are of other shapes for other classes."""
    branch = f"model.{len(model.model) - 1}.cv3."
    return {name for name in model.state_dict() if not name.startswith(branch)}


def training_loss(model: nn.Module) -> Callable[[Any, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]:
    """YOLOv8's loss: (predictions, batch) -> (box, cls, dfl) terms times the batch size, and each by name."""
    loss: Callable[[Any, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
    loss = _ultralytics().v8DetectionLoss(model)
    return loss


def metrics_parts() -> SimpleNamespace:
    """ultralytics' `DetMetrics`, `ConfusionMatrix` and `BaseValidator` (for its `match_predictions`)."""
    return _ultralytics()


def class_layers(model: Any) -> list[nn.Conv2d]:
    """The last convolution of the class branch at each stride: its outputs are the logits."""
    return [branch[-1] for branch in model.model[-1].cv3]


class YoloDetector:
    """A trained network that finds elements in images.

    An image of another size is scaled until its longer side is the input size, and stands at the upper
    left on white, which is the background of every scene.
    """

    def __init__(
        self,
        model: nn.Module,
        card: DetectorCard,
        settings: DetectSettings,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model = model.to(device, dtype, memory_format=memory_format(device)).eval()  # type: ignore[call-overload]
        # In training the head gives what it predicts, else boxes of all places, of which few are wanted.
        self.model.model[-1].training = True
        self.elements = card.elements
        self.input_size = card.input_size
        self.weights_hash = card.weights_sha256
        self.confidence, self.iou = settings.confidence, settings.iou
        self.device, self.dtype = device, dtype
        self._batch = BatchSize(settings.batch_size)

    def detect(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        """The detections of each image, the most confident first.

        Raises:
            InputError: an image has no pixels.
            DeviceError: memory runs out with one image at a time.
        """
        detections: list[list[Detection]] = [[] for _ in images]
        sizes: dict[tuple[int, int], list[int]] = {}
        for number, image in enumerate(images):
            if 0 in image.size:
                raise InputError(f"picture {number} has no pixels")
            sizes.setdefault(image.size, []).append(number)
        for numbers in sizes.values():
            done = 0
            while done < len(numbers):
                part = numbers[done : done + self._batch.size]
                array = np.stack([np.asarray(images[number].convert("RGB")) for number in part])
                rows = self._batch.attempt(lambda size, array=array: self._detect_in(array, size))  # type: ignore[misc]
                for picture, detection in rows:
                    detections[part[picture]].append(detection)
                done += len(part)
        return detections

    def _detect_in(self, array: np.ndarray[Any, Any], size: int) -> list[tuple[int, Detection]]:
        """(number of the image, detection) of images uint8 (n, h, w, 3), `size` at a time."""
        height, width = array.shape[1:3]
        scale = self.input_size / max(height, width)
        rows: list[tuple[int, Detection]] = []
        for part in slices(len(array), size):
            pictures, boxes, confidences, classes = self._infer(array[part])
            boxes = (boxes / scale).clamp(min=0)
            boxes[:, 0::2].clamp_(max=width)
            boxes[:, 1::2].clamp_(max=height)
            inside = (boxes[:, 2:] > boxes[:, :2]).all(1)  # the others lie in what was added to the image
            columns = [values[inside] for values in (pictures + part.start, boxes, confidences, classes)]
            for picture, box, confidence, kind in zip(*(values.tolist() for values in columns), strict=True):
                rows.append((picture, Detection(self.elements[kind], confidence, tuple(box))))
        return rows

    @torch.inference_mode()
    def _infer(self, array: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image (k,), box (k, 4) in pixels of the input, confidence (k,) and class (k,), on the CPU."""
        pixels = fit(to_pixels(torch.from_numpy(array).to(self.device), self.dtype), self.input_size)
        output = self.model(pixels)
        logits, classes = output["scores"].float().max(1)  # (n, places)
        confidences = logits.sigmoid()
        picture, place = (confidences >= self.confidence).nonzero(as_tuple=True)
        boxes = self._boxes(output, picture, place)
        columns = (picture, boxes, confidences[picture, place], classes[picture, place])
        picture, boxes, chosen, kinds = (values.cpu() for values in columns)
        kept = keep_one_each(boxes, chosen, picture, self.iou)
        return picture[kept], boxes[kept], chosen[kept], kinds[kept]

    def _boxes(self, output: Mapping[str, Any], picture: Tensor, place: Tensor) -> Tensor:
        """Boxes (k, 4) at the places that count alone: means of the distributions that the head predicts."""
        head: Any = self.model.model[-1]
        chosen = output["boxes"].float()[picture, :, place].view(len(picture), 4, head.reg_max)
        bins = torch.arange(chosen.shape[-1], device=chosen.device, dtype=torch.float32)
        left_top, right_bottom = (chosen.softmax(2) @ bins).chunk(2, 1)  # in strides, from the place
        points, strides = _places(output["feats"], head.stride)
        return torch.cat([points[place] - left_top, points[place] + right_bottom], 1) * strides[place]


def _places(features: Sequence[Tensor], strides: Tensor) -> tuple[Tensor, Tensor]:
    """The middle (places, 2) of every place in units of its stride, and the strides (places, 1)."""
    points, scales = [], []
    for feature, stride in zip(features, strides.tolist(), strict=True):
        height, width = feature.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        points.append(torch.stack([x, y], -1).view(-1, 2).float() + 0.5)
        scales.append(torch.full((height * width, 1), stride))
    device = features[0].device
    return torch.cat(points).to(device), torch.cat(scales).to(device)


def to_pixels(pictures: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 (n, h, w, 3) as (n, 3, h, w) in [0, 1], channels last in memory, as they came."""
    return pictures.permute(0, 3, 1, 2).to(dtype) / 255


def fit(pixels: Tensor, size: int) -> Tensor:
    """Images as the network wants them.

    Args:
        pixels: (n, 3, h, w) in [0, 1].
        size: side of the input in pixels.

    Returns:
        (n, 3, size, size), white where the image does not reach.
    """
    height, width = pixels.shape[2:]
    if (height, width) == (size, size):
        return pixels
    scale = size / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    scaled = F.interpolate(pixels, size=(h, w), mode="bilinear", antialias=scale < 1)
    return F.pad(scaled, (0, size - w, 0, size - h), value=1.0)


def load_yolo(directory: Path, runtime: Runtime, settings: DetectSettings) -> YoloDetector:
    """Opens a detector that `train-detector` wrote.

    Raises:
        ModelError: it is missing or damaged, or its weights do not fit its architecture.
    """
    card = read_card(directory)
    model = load_model(directory, card)
    fuse(model)
    dtype = runtime.dtype if runtime.device.type == "cuda" else torch.float32
    detector = YoloDetector(model, card, settings, runtime.device, dtype)
    if runtime.compile:
        detector.model.compile()
    return detector


def load_model(directory: Path, card: DetectorCard) -> nn.Module:
    """The network of a card with its weights."""
    state = read_weights(directory, card)
    model = build(card.architecture)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{directory}: the weights do not fit the architecture: {error}") from error
    if class_layers(model)[0].out_channels != len(card.names):
        raise ModelError(f"{directory}: the network has not the {len(card.names)} classes that are named")
    return model


def fuse(model: Any) -> None:
    """Folds batch normalization into the convolutions, and lets activations overwrite their input: the same
    function in fewer passes over the memory.
    """
    with _quarantine():
        model.eval().fuse(verbose=False)
    for module in model.modules():
        if isinstance(module, nn.SiLU):
            module.inplace = True
