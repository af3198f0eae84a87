"""The header of a safetensors file: what it holds, read before any weight is.

Files of other formats are refused by name: most are pickles, which can run code when they are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from origcli.errors import ModelError

SUFFIX = ".safetensors"
REFUSED = {
    **dict.fromkeys((".ckpt", ".pt", ".pth", ".bin", ".pkl"), "a pickle, which can run code when it is read"),
    ".gguf": "quantized, and gradients do not pass through quantized weights",
    ".onnx": "a compiled graph without trainable weights",
}
CONVERT = (
    "look for the same model as .safetensors, or convert the file on a machine that may run its code "
    "(docs/models.md says how)"
)
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
_STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Header:
    """What a safetensors file holds.

    Attributes:
        path: the file.
        shapes: of its tensors, by name.
        types: of its tensors as the format calls them, e.g. `F16`.
        metadata: texts that its writer left.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def starting(self, *prefixes: str) -> list[str]:
        """Names of tensors that start with one of some prefixes."""
        return [name for name in self.shapes if name.startswith(prefixes)]

    def width(self, name: str) -> int | None:
        """The size of a tensor's second axis; `None` where there is no such tensor or axis."""
        shape = self.shapes.get(name, ())
        return shape[1] if len(shape) > 1 else None

    def dtype(self) -> torch.dtype:
        """The type that holds most of the weights; fp16 for types that cannot be computed with."""
        sizes: dict[str, int] = {}
        for name, shape in self.shapes.items():
            kind = self.types.get(name, "F32")
            sizes[kind] = sizes.get(kind, 0) + torch.Size(shape).numel()
        most = max(sizes, key=lambda kind: sizes[kind], default="F32")
        return _STORED.get(most, torch.float32 if most == "F64" else torch.float16)

    def frames(self) -> dict[str, Tensor]:
        """Its tensors without their values, on the meta device."""
        return {name: torch.empty(shape, device="meta") for name, shape in self.shapes.items()}


def check_format(path: Path) -> None:
    """Makes sure that a file is called a safetensors file and is there.

    Raises:
        ModelError: it is not; says why, and what to do with a file of that format.
    """
    suffix = path.suffix.lower()
    if suffix in REFUSED:
        raise ModelError(f"{path}: a {suffix} file is {REFUSED[suffix]}", CONVERT)
    if suffix != SUFFIX:
        raise ModelError(f"{path}: not a {SUFFIX} file", CONVERT)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")


def read_header(path: Path) -> Header:
    """Reads what a safetensors file holds, without its weights.

    Raises:
        ModelError: it is missing, damaged or of another format, or its weights are quantized.
    """
    check_format(path)
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            types = {name: str(part.get_dtype()) for name, part in slices.items()}
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot read the weights: {error}", "download the file again") from error
    if not shapes:
        raise ModelError(f"{path}: holds no tensors")
    header = Header(path, shapes, types, metadata)
    quantized = [name for name, kind in types.items() if name.endswith("weight") and kind not in _FLOATS]
    if quantized:
        raise ModelError(
            f"{path}: its weights are quantized ({quantized[0]} is {types[quantized[0]]})",
            "use the file with fp16, bf16 or fp32 weights",
        )
    return header


def read_tensors(header: Header) -> dict[str, Tensor]:
    """The tensors of a file. They stay on the disk until they are used.

    Raises:
        ModelError: the file is damaged.
    """
    from safetensors.torch import load_file

    try:
        return load_file(header.path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{header.path}: cannot read the weights: {error}") from error
