"""What a checkpoint was made with, which a run that resumes it has to repeat."""

from pathlib import Path

from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_files


def computing(runtime: Runtime) -> dict[str, str]:
    """The part of an identity that is where and how it was computed: another one gives other digits."""
    return {"device": runtime.device.type, "dtype": str(runtime.dtype).removeprefix("torch.")}


def start_hash(init_from: Path | None) -> str | None:
    """The part of an identity that is the directory of weights that a training starts from."""
    return None if init_from is None else hash_files(init_from.rglob("*.safetensors"), init_from)
