"""Results by the content that made them, so that no run computes what another has.

A key is a hash over everything that changes the result: pixels, weights, settings, seeds, versions.
A record is one safetensors file: facts as JSON in its header, arrays and encoded images as tensors. A
checksum over key and content is in it: a flipped bit, or a record of another key, counts as absent.

What was computed in one batch is kept as a whole or not at all: had a kill left a part of it, the rest
would be computed in another batch, and its last digits would differ from those of an unbroken run.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from origcli.reports.saved_images import DRAWING, encoded
from origcli.runtime.atomic import make_directory, write_bytes
from origcli.runtime.provenance import hash_value

_SUFFIX = ".safetensors"
_FACTS = "facts"
_CHECKSUM = "sha256"
_PICTURE = "picture-"
_PENDING = "pending-"
_KEY = re.compile("[0-9a-f]{64}")  # another would name a place elsewhere


@dataclass(frozen=True)
class Entry:
    """What is kept under one key.

    Attributes:
        facts: JSON values.
        arrays: by name.
        pictures: encoded image files, as `reports.saved_images.encoded` makes them.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    pictures: Sequence[bytes] = ()

    @property
    def images(self) -> list[Image.Image]:
        """The images decoded."""
        return [decoded(data) for data in self.pictures]


def content_key(kind: str, **parts: Any) -> str:
    """The key of a result of a kind, from JSON values that determine it."""
    return hash_value({"kind": kind, **parts})


def preview(image: Image.Image) -> bytes:
    """A sample as the bytes that are kept of it: to look at, and exact where it is small."""
    return encoded(image, DRAWING)[1]


def decoded(data: bytes) -> Image.Image:
    """The image of encoded bytes, in memory."""

    image = Image.open(io.BytesIO(data), formats=("PNG", "WEBP"))
    return image.convert("RGB")


class Store:
    """A directory of entries. What is damaged there counts as absent.

    Args:
        root: the directory; it is made when something is first kept.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}{_SUFFIX}"

    def get(self, key: str) -> Entry | None:
        """What is kept under a key, if anything whole is."""
        self._catch_up()
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            if metadata[_CHECKSUM] != _checksum(key, metadata[_FACTS], tensors):
                return None
            facts = json.loads(metadata[_FACTS])
        except (OSError, SafetensorError, TypeError, KeyError, ValueError):
            return None
        pictures = [tensor.tobytes() for name, tensor in tensors.items() if name.startswith(_PICTURE)]
        arrays = {name: tensor for name, tensor in tensors.items() if not name.startswith(_PICTURE)}
        return Entry(facts, arrays, pictures)

    def put(self, key: str, entry: Entry) -> None:
        """Keeps an entry under a key.

        Raises:
            StorageError: the disk is full or the directory cannot be written.
        """
        _write(self._path(key), _packed(key, entry))

    def put_all(self, entries: Mapping[str, Entry]) -> None:
        """Keeps entries by their keys: all of them, or none where the process is killed before they are safe.

        They are written to one file first. Whoever looks into the store next takes what it holds from there.

        Raises:
            StorageError: the disk is full or the directory cannot be written.
        """
        packed = {key: _packed(key, entry) for key, entry in entries.items()}
        pending = self.root / f"{_PENDING}{hash_value(sorted(packed))}{_SUFFIX}"
        _write(pending, save({key: np.frombuffer(data, np.uint8) for key, data in packed.items()}))
        self._settle(pending, packed)

    def _settle(self, pending: Path, packed: Mapping[str, bytes]) -> None:
        for key, data in packed.items():
            _write(self._path(key), data)
        pending.unlink(missing_ok=True)

    def _catch_up(self) -> None:
        """Brings what a killed process left in one file to its places."""
        for pending in self.root.glob(f"{_PENDING}*{_SUFFIX}"):
            try:
                entries = load_file(pending)
            except (OSError, SafetensorError):  # damaged, or another process was faster
                entries = {}
            self._settle(
                pending, {key: data.tobytes() for key, data in entries.items() if _KEY.fullmatch(key)}
            )


def _packed(key: str, entry: Entry) -> bytes:
    tensors: dict[str, np.ndarray[Any, Any]] = {
        f"{_PICTURE}{i:04d}": np.frombuffer(data, np.uint8) for i, data in enumerate(entry.pictures)
    }
    facts = json.dumps(dict(entry.facts), sort_keys=True, allow_nan=False)
    tensors |= entry.arrays
    return save(tensors, {_FACTS: facts, _CHECKSUM: _checksum(key, facts, tensors)})


def _checksum(key: str, facts: str, tensors: Mapping[str, np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256(f"{key} {facts}".encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    make_directory(path.parent)
    write_bytes(path, data)
