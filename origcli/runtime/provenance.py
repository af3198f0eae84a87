"""What made a result: versions, device, hashes of weights. What differs between equal runs is kept apart."""

import datetime
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import origcli
from origcli.errors import without_secrets
from origcli.runtime.paths import path_text

RUN_SCHEMA = "origcli.run/1"
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


def run_facts(seconds: float | None, request: str | None = None) -> dict[str, Any]:
    """What differs between two equal runs, for `run.json`: when, where, how long, which words.

    Args:
        seconds: what the run took; `None` while it is under way or after it was stopped.
        request: hash of what was asked for.
    """
    return {
        "schema": RUN_SCHEMA,
        "request": request,
        "state": "begun" if seconds is None else "finished",
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": None if seconds is None else round(seconds, 3),
        "host": platform.node(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "command": [without_secrets(path_text(word)) for word in sys.argv],
    }
