"""What a machine has, and whether a score could run on it: the checks of `origcli doctor`."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from origcli.errors import StorageError
from origcli.runtime.cache import cache_directory
from origcli.runtime.device import backends, select_device
from origcli.runtime.machine import device_facts, free_disk
from origcli.scoring.readiness import Check, check_fetched, check_score, chosen_model, in_one_line
from origcli.settings import Settings

_ENOUGH_DISK = 10e9
_ENOUGH_MEMORY = 4e9


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at.

    Attributes:
        model: that a score would take.
        device: that a score would run on.
        summary: a sentence for everybody.
        checks: one for each thing.
    """

    model: str
    device: str
    summary: str
    checks: tuple[Check, ...]

    @property
    def missing(self) -> tuple[Check, ...]:
        """What a score needs and does not have."""
        return tuple(check for check in self.checks if check.state == "missing")

    @property
    def ready(self) -> bool:
        """Whether a score could run now, also without a network."""
        return not self.missing

    def _repr_html_(self) -> str:
        """The checks as a table, for notebooks."""
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in vars(check).values())}</tr>"
            for check in self.checks
        )
        return f"<p>{escape(self.summary)}</p><table>{rows}</table>"


def diagnose(settings: Settings) -> Diagnosis:
    """Looks at Python, torch, devices, memory, caches, and the model and metric of the settings.

    Raises:
        UsageError: not a model's or a metric's name.
        DeviceError: there is no such device.
    """
    chosen = select_device(settings.runtime.device)
    with backends(chosen, settings.runtime.deterministic, settings.runtime.threads):
        needed = check_score(settings, chosen.type)
        summary = in_one_line(settings, chosen.type, needed)
    return Diagnosis(
        model=chosen_model(settings.score.model, chosen.type),
        device=str(chosen),
        summary=summary,
        checks=(*_machine(str(chosen)), *_caches(), check_fetched(), *needed),
    )


def _machine(chosen: str) -> Sequence[Check]:
    """Python, torch, devices and memory."""
    import torch

    version = ".".join(map(str, sys.version_info[:3]))
    cuda = f", built for CUDA {torch.version.cuda}" if torch.version.cuda else ", built without CUDA"
    checks = [Check("python", "ok", version), Check("torch", "ok", f"{torch.__version__}{cuda}")]
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        checks.append(
            Check(
                "cuda",
                "warning",
                "there is an NVIDIA driver, but this torch sees no device",
                "install torch for CUDA",
            )
        )
    for facts in device_facts():
        free, total = facts["memory_available"] / 1e9, facts["memory_total"] / 1e9
        detail = f"{facts['name']}, {free:.1f} of {total:.1f} GB free, {'/'.join(facts['dtypes'])}"
        label = f"device {facts['device']}" + (" (chosen)" if facts["device"] == chosen else "")
        if facts["memory_available"] < _ENOUGH_MEMORY:
            checks.append(Check(label, "warning", detail, "free some memory"))
        else:
            checks.append(Check(label, "ok", detail))
    return checks


def _caches() -> Sequence[Check]:
    """Where things are kept, and how much room there is."""
    from huggingface_hub import constants

    checks, paths = [], {"hub cache": Path(constants.HF_HUB_CACHE)}
    try:
        paths = {"cache": cache_directory(), **paths}
    except StorageError as error:
        checks.append(Check("cache", "warning", f"none: {error.message}", error.hint))
    for label, path in paths.items():
        free = free_disk(path)
        detail = f"{path}, {free / 1e9:.1f} GB free"
        if free < _ENOUGH_DISK:
            checks.append(
                Check(label, "warning", detail, "free some space, or set ORIGCLI_CACHE and HF_HOME")
            )
        else:
            checks.append(Check(label, "ok", detail))
    return checks
