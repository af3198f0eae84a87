"""Which networks a detector's model file may describe: the layers of YOLOv8, in sizes that fit a machine.

ultralytics looks up the names in a model file among all its layers and torch's. Some of them fetch weights or
take any amount of memory. So a file is compared with the lists here before ultralytics reads it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_LAYERS = 128
MAX_REPEATS = 64
MAX_PARAMETERS = 1 << 29  # YOLOv8x-p6, the largest, has 97 million
_MAX_CHANNELS, _MAX_KERNEL, _MAX_CLASSES, _MAX_SCALE = 4096, 16, 1000, 4

_KEYS = {"nc", "scale", "scales", "backbone", "head", "activation", "depth_multiple", "width_multiple"}
_ACTIVATION = re.compile(
    r"(torch\.)?nn\.(SiLU|ReLU|ReLU6|LeakyReLU|GELU|Hardswish|Mish|Identity)\((0?\.\d{1,4})?\)"
)
_CHANNELS, _KERNEL = range(1, _MAX_CHANNELS + 1), range(1, _MAX_KERNEL + 1)
_FLAG = (True, False, "True", "False")
_NOTHING = (None, "None")

# What each layer's arguments may be, in order; all but the first may be left out.
_ARGUMENTS: dict[str, tuple[Sequence[Any], ...]] = {
    "Conv": (_CHANNELS, _KERNEL, _KERNEL),
    "C2": (_CHANNELS, _FLAG),
    "C2f": (_CHANNELS, _FLAG),
    "SPPF": (_CHANNELS, _KERNEL),
    "Concat": (range(4),),
    "nn.Upsample": (_NOTHING, range(1, 9), ("nearest", "bilinear")),
    "Detect": (("nc", *range(1, _MAX_CLASSES + 1)),),
}


def problem(architecture: Mapping[str, Any]) -> str:
    """Why a model file is not read; empty where it is.

    Args:
        architecture: an ultralytics model file as a mapping.
    """
    if unknown := sorted(map(str, architecture.keys() - _KEYS)):
        return f"{unknown[0]!r} is not read here"
    layers = [architecture.get("backbone"), architecture.get("head")]
    if not all(isinstance(part, list) and part for part in layers):
        return "it has no backbone or no head"
    whole = [layer for part in layers if isinstance(part, list) for layer in part]
    if len(whole) > MAX_LAYERS:
        return f"{len(whole)} layers; at most {MAX_LAYERS} are read here"
    reason = _problem_of_sizes(architecture) or next(filter(None, map(_problem_of_layer, whole)), "")
    if not reason and (size := _parameters(architecture, whole)) > MAX_PARAMETERS:
        reason = f"about {size:.0e} parameters; at most {MAX_PARAMETERS:.0e} are read here"
    return reason


def _problem_of_sizes(architecture: Mapping[str, Any]) -> str:
    scales = architecture.get("scales") or {}
    rows: list[Any] = list(scales.values()) if isinstance(scales, dict) else [None]
    if not all(isinstance(row, list) and len(row) == 3 for row in rows):
        return "its scales are not [depth, width, channels]"
    factors = [architecture.get("depth_multiple", 1), architecture.get("width_multiple", 1)]
    factors += [value for depth, width, _ in rows for value in (depth, width)]
    if not all(_is_number(value) and 0 < value <= _MAX_SCALE for value in factors):
        return f"a factor of its depth or width is not in (0, {_MAX_SCALE}]"
    if not all(_is_among(row[2], _CHANNELS) for row in rows):
        return f"its scales have channels that are not in 1…{_MAX_CHANNELS}"
    scale = architecture.get("scale")
    if scale is not None and not (isinstance(scale, str) and scale in scales):
        return f"it has no scale {str(scale)[:80]!r}"
    if not _is_among(architecture.get("nc"), range(1, _MAX_CLASSES + 1)):
        return f"its classes (nc) are not 1…{_MAX_CLASSES}"
    activation = architecture.get("activation")
    if activation is not None and not (isinstance(activation, str) and _ACTIVATION.fullmatch(activation)):
        return f"the activation {str(activation)[:80]!r} is not read here"
    return ""


def _problem_of_layer(layer: Any) -> str:
    if not isinstance(layer, list) or len(layer) != 4:
        return f"{str(layer)[:80]!r} is not [from, repeats, layer, arguments]"
    sources, repeats, name, arguments = layer
    allowed = _ARGUMENTS.get(name) if isinstance(name, str) else None
    if allowed is None:
        return f"{str(name)[:80]!r} is not a layer that is read here; these are {', '.join(_ARGUMENTS)}"
    places = sources if isinstance(sources, list) else [sources]
    if not places or not all(_is_among(place, range(-MAX_LAYERS, MAX_LAYERS)) for place in places):
        return f"{name}: {str(sources)[:80]!r} is not a place that it could read from"
    if not _is_among(repeats, range(1, MAX_REPEATS + 1)):
        return f"{name}: {str(repeats)[:80]} repeats; 1 to {MAX_REPEATS} are read here"
    if not isinstance(arguments, list) or not 1 <= len(arguments) <= len(allowed):
        return f"{name}: {str(arguments)[:80]} are not its arguments"
    for value, values in zip(arguments, allowed, strict=False):
        if not _is_among(value, values):
            return f"{name}: {str(value)[:80]!r} is not an argument that is read here"
    return ""


def _parameters(architecture: Mapping[str, Any], layers: Sequence[Sequence[Any]]) -> float:
    """About how many weights the layers have; for YOLOv8 it comes to between 1.5 and 2.3 times as many."""
    scales = architecture.get("scales") or {}
    named = architecture.get("scale") or next(iter(scales), None)
    depth, width, most = scales.get(
        named, (architecture.get("depth_multiple", 1), architecture.get("width_multiple", 1), _MAX_CHANNELS)
    )
    total, before = 0.0, 3.0
    for _, repeats, name, arguments in layers:
        if name not in ("Conv", "C2", "C2f", "SPPF"):
            continue
        channels = min(arguments[0], most) * width
        kernel = arguments[1] if name == "Conv" and len(arguments) > 1 else 3
        again = max(repeats * depth, 1) - 1 if name in ("Conv", "SPPF") else max(repeats * depth, 1)
        total += before * channels * kernel**2 + again * channels**2 * kernel**2
        before = channels
    return total


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_among(value: object, values: Sequence[Any]) -> bool:
    """Whether a value is one of some, of the same type: `True` is no 1."""
    if isinstance(values, range):
        return type(value) is int and value in values
    return any(type(value) is type(allowed) and value == allowed for allowed in values)
