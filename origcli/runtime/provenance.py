"""What made a result: versions, device, hashes of weights. What differs between equal runs is kept apart."""

import hashlib
import json
import platform
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import origcli

_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "dreamsim", "ultralytics", "numpy", "pillow")
_DISTRIBUTIONS = {"ultralytics": "ultralytics-opencv-headless"}  # where a package comes under another name


@cache
def package_versions() -> dict[str, str]:
    """Versions of origcli and of what computes its results."""
    versions = {"origcli": origcli.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(_DISTRIBUTIONS.get(name, name))
        except metadata.PackageNotFoundError:
            continue
    return versions


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path], root: Path) -> str:
    """One sha256 over the names (relative to `root`) and bytes of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(root).as_posix()} {hash_file(path)}\n".encode())
    return digest.hexdigest()


def hash_value(value: Any) -> str:
    """sha256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
