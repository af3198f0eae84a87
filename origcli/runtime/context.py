"""The runtime that every command that computes opens: device, dtype, seed, progress, directory."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from origcli.runtime import interrupts
from origcli.runtime.device import backends, compiling, require_compiler, select_device, select_dtype
from origcli.runtime.distributed import is_main, wait_for_all
from origcli.runtime.network import no_network
from origcli.runtime.progress import Progress, SilentProgress
from origcli.runtime.run_directory import RunDirectory
from origcli.runtime.run_place import Existing, RunPlace
from origcli.settings import RuntimeSettings


@dataclass(frozen=True)
class Runtime:
    """Where and how to compute. Handed down to all that computes; there is no global state.

    Attributes:
        device: where models and batches live.
        dtype: of frozen models' forward passes; what is learned stays fp32.
        seed: the run's; every sample derives its own (`seeding.derive_seed`).
        progress: where progress and remarks go.
        directory: the locked run directory, or `None` for a command that writes none.
        offline: no network.
        compile: compile the hot modules.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    seed: int = 0
    progress: Progress = field(default_factory=SilentProgress)
    directory: RunDirectory | None = None
    offline: bool = False
    compile: bool = False

    @property
    def out(self) -> Path:
        """The run directory's path."""
        assert self.directory is not None, "this command was opened without a run directory"
        return self.directory.path

    @property
    def given(self) -> Path:
        """The run directory's path as the user knows it."""
        assert self.directory is not None, "this command was opened without a run directory"
        return self.directory.given


@contextmanager
def open_runtime(
    settings: RuntimeSettings,
    out: Path | RunPlace | None = None,
    progress: Progress | None = None,
    existing: Existing = "use",
) -> Iterator[Runtime]:
    """Opens the device and the run directory, handles signals, and keeps `run.json`.

    Args:
        settings: device, dtype, seed and their kin.
        out: the run directory; `None` for a command that writes none.
        progress: where progress and remarks go.
        existing: what to do with an `out` that holds something (`RunDirectory`); a `RunPlace` says it itself.

    Raises:
        DeviceError: no such device here, or no compiler where models are to be compiled.
        LockedError: another run owns `out`.
        StorageError: `out` cannot be written; found before any model is loaded.
        UsageError: `out` holds something and `existing` says no.
    """
    device = select_device(settings.device)
    if settings.compile:
        require_compiler(device)
    with ExitStack() as stack:
        directory = None if out is None else stack.enter_context(_directory(out, existing, device))
        if settings.offline:
            stack.enter_context(no_network())
        stack.enter_context(interrupts.handled())
        stack.enter_context(compiling())
        stack.enter_context(backends(device, settings.deterministic, settings.threads, settings.compile))
        yield Runtime(
            device=device,
            dtype=select_dtype(device, settings.dtype),
            seed=settings.seed,
            progress=progress if progress is not None and is_main() else SilentProgress(),
            directory=directory,
            offline=settings.offline,
            compile=settings.compile,
        )


@contextmanager
def _directory(out: Path | RunPlace, existing: Existing, device: torch.device) -> Iterator[RunDirectory]:
    """The run's directory, owned and marked by the first process of a launch; the others then use it."""
    directory = RunDirectory(out, existing)
    if not is_main():
        wait_for_all(device)
        yield directory
        return
    with directory:
        wait_for_all(device)
        yield directory
