"""Checkpoints of training: tensors in safetensors, everything else in JSON, whole or not there.

A checkpoint is a directory `step-NNNNNNNN`. It is written under another name, flushed, and renamed;
only then are older ones removed. A run that is killed at any moment leaves the previous one whole.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from origcli.errors import InputError, ModelError
from origcli.runtime.atomic import atomic_directory, make_directory, write_bytes, write_json
from origcli.runtime.provenance import hash_file

_PREFIX = "step-"
_STATE, _TENSORS = "state.json", "tensors.safetensors"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes tensors to a safetensors file in one step. Equal contents give equal bytes."""
    ready = {
        name: tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    write_bytes(path, _with_metadata(save(ready), metadata or {}))


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with metadata in the order of their names; the library's order differs each time."""
    if not metadata:
        return data
    size = int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8 : 8 + size])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot read the weights: {error}") from error


def save_checkpoint(
    directory: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> Path:
    """Saves `tensors` and `state` (JSON) under `directory/step-N`, then drops all but the last two."""
    make_directory(directory)
    target = directory / f"{_PREFIX}{step:08d}"
    with atomic_directory(target) as partial:
        save_tensors(partial / _TENSORS, tensors)
        digest = hash_file(partial / _TENSORS)
        write_json(partial / _STATE, {**state, "step": step, "tensors_sha256": digest})
    for old in checkpoints(directory)[:-2]:
        shutil.rmtree(old)
    return target


def checkpoints(directory: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path for path in directory.glob(f"{_PREFIX}*") if (path / _STATE).is_file())


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and state of a checkpoint.

    Raises:
        ModelError: its weights are damaged (their hash is not the recorded one).
        InputError: its state is not JSON.
    """
    try:
        state = json.loads((path / _STATE).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path / _STATE}: cannot read: {error}") from error
    if not isinstance(state, dict):
        raise InputError(f"{path / _STATE}: not the state of a checkpoint")
    tensors = path / _TENSORS
    if not tensors.is_file() or hash_file(tensors) != state.get("tensors_sha256"):
        raise ModelError(f"{tensors}: damaged", f"remove {path} to resume from the previous checkpoint")
    return load_tensors(tensors), state


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments of Adam as named tensors, in the order of the parameters."""
    states = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{k}": torch.as_tensor(v) for i, s in states.items() for k, v in s.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`.

    Moments get their parameter's memory format: fused kernels read both as they lie in memory.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:
                moment = torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False)
                tensor = moment.copy_(tensor)
            states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
