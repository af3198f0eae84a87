"""What a checkpoint was made with, and whether a run that resumes it asks for the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from origcli.errors import UsageError
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_files


def computing(runtime: Runtime) -> dict[str, str]:
    """The part of an identity that is where and how it was computed: another one gives other digits."""
    return {"device": runtime.device.type, "dtype": str(runtime.dtype).removeprefix("torch.")}


def start_hash(init_from: Path | None) -> str | None:
    """The part of an identity that is the directory of weights that a training starts from."""
    return None if init_from is None else hash_files(init_from.rglob("*.safetensors"), init_from)


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], free: frozenset[str]) -> None:
    """Compares what a checkpoint was made with and what this run was asked for.

    Args:
        free: the settings that may differ.

    Raises:
        UsageError: they differ; the message lists each difference.
    """
    was, wanted = _flat(before), _flat(json.loads(json.dumps(now)))
    changed = sorted(
        key for key in {*was, *wanted} if was.get(key) != wanted.get(key) and key.split(".")[-1] not in free
    )
    if changed:
        lines = [f"{key}: was {was.get(key)!r}, now {wanted.get(key)!r}" for key in changed]
        raise UsageError(
            "cannot resume with other settings: " + "; ".join(lines),
            "repeat the first run's options, or start over with --force",
        )


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Groups of settings opened up: `settings.batch_size`."""
    flat: dict[str, Any] = {}
    for key, value in identity.items():
        inner = value if isinstance(value, dict) else {"": value}
        flat |= {f"{key}.{name}".rstrip("."): each for name, each in inner.items()}
    return flat
