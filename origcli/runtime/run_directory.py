"""The directory of a run: one process owns it at a time, and --force removes from it only what runs wrote."""

import contextlib
import os
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from filelock import Timeout

from origcli.errors import InputError, LockedError, UsageError
from origcli.runtime.atomic import claim_directory, read_json, storage_error, sweep, write_json, write_text
from origcli.runtime.locks import locked
from origcli.runtime.owned import (
    LOCK_NAMES,
    RUN_NAME,
    WRITTEN_NAME,
    is_partial,
    owned,
    remove_written,
    settle_written,
    without_link,
)
from origcli.runtime.provenance import RUN_SCHEMA, run_facts

Existing = Literal["use", "refuse", "replace"]
_LOCK, _OWNER = LOCK_NAMES
_OWN = {*LOCK_NAMES, WRITTEN_NAME}


def existing(resume: bool, force: bool) -> Existing:
    """What a command does with an --out that holds something."""
    return "use" if resume else "replace" if force else "refuse"


def run_path(command: str, out: Path | None, names: Sequence[str], again: bool) -> Path:
    """The run directory of a command over images: the one asked for, else a new one under runs/.

    Args:
        command: its name.
        out: as given.
        names: of the images.
        again: resume, or overwrite, the latest such run instead of making a new directory.
    """
    if out is not None:
        return out
    what = names[0] if len(names) == 1 else f"{len(names)}-images"
    numbered = [Path("runs") / f"{command}-{what}"]
    while numbered[-1].exists():
        numbered.append(numbered[0].with_name(f"{numbered[0].name}-{len(numbered) + 1}"))
    return numbered[-2] if again and len(numbered) > 1 else numbered[-1]


def run_record(directory: Path) -> dict[str, Any] | None:
    """The `run.json` of a directory, if it is one of origcli's."""
    try:
        record = read_json(directory / RUN_NAME)
    except InputError:
        return None
    return record if isinstance(record, dict) and record.get("schema") == RUN_SCHEMA else None


class RunDirectory:
    """A directory that one process owns while the context is open.

    Args:
        path: it is made where it is missing, with its parents.
        existing: what to do with a directory that holds something. "use" goes on with a run of ours,
            "refuse" is for a command that starts a run, "replace" first removes what a run of ours wrote.

    Raises:
        LockedError: another process owns it; names that process.
        StorageError: it cannot be made or written, or was removed while it was owned.
        UsageError: it holds something and `existing` says no; then nothing is touched.
    """

    def __init__(self, path: Path, existing: Existing = "use") -> None:
        self.path = Path(path).absolute()
        self._existing = existing
        self._began: float | None = None
        self._request: str | None = None

    def __enter__(self) -> Self:
        self._refuse_others()
        self._is_new = not self.path.exists()
        claim_directory(self.path)
        with ExitStack() as stack:
            stack.callback(self._forget_if_nothing_came)
            self._handle = stack.enter_context(owned(self.path))
            without_link(_LOCK, self._handle)
            try:
                stack.enter_context(locked(self.path / _LOCK, timeout=0))
            except Timeout as error:
                raise LockedError(
                    f"{self.path}: in use by {self._owner()}", "wait for it, or choose another --out"
                ) from error
            # The lock file goes while the lock is held: whoever opened it before that finds, with the
            # lock in hand, that it has no name any more, and starts over.
            stack.callback(self._remove_lock_files)
            self._settle_existing()
            write_text(self.path / _OWNER, f"process {os.getpid()} on {platform.node()}\n")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None and self._began is not None:
                write_json(self / RUN_NAME, run_facts(time.monotonic() - self._began, self._request))
            elif self._names() == {RUN_NAME}:
                # Nothing came of it: once the fault is mended, the same words work.
                remove_written(self._handle)
            with contextlib.suppress(OSError):
                settle_written(self._handle)

    def begin(self, request: str | None = None) -> None:
        """Marks the directory as a run's; when the context is left without an error, the run is finished.

        Args:
            request: hash of what was asked for, by which a run is found again.
        """
        self._began, self._request = time.monotonic(), request
        write_json(self / RUN_NAME, run_facts(None, request))

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def _names(self) -> set[str]:
        """What the directory holds, but for what every run has."""
        try:
            found = {entry.name for entry in self.path.iterdir()}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise storage_error(self.path, error) from error
        return {name for name in found - _OWN if not is_partial(name)}

    def _refuse_others(self) -> None:
        """Refuses a directory that is no run's before anything is written to it."""
        if self._names() and run_record(self.path) is None:
            raise UsageError(
                f"{self.path}: not empty, and no run of origcli made it",
                "choose another --out, or empty it yourself",
            )

    def _settle_existing(self) -> None:
        if not self._names():
            return
        if self._existing == "refuse":
            raise UsageError(
                f"{self.path}: not empty", "--resume goes on with a stopped run, --force starts over"
            )
        if self._existing == "replace":
            try:
                remove_written(self._handle)
            except OSError as error:
                raise storage_error(self.path, error) from error
            sweep(self.path)

    def _owner(self) -> str:
        try:
            return (self.path / _OWNER).read_text("utf-8").strip() or "another process"
        except OSError:
            return "another process"

    def _remove_lock_files(self) -> None:
        for name in (_OWNER, _LOCK):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._handle)

    def _forget_if_nothing_came(self) -> None:
        """Removes a directory that was made for this run and is empty."""
        if self._is_new:
            with contextlib.suppress(OSError):
                self.path.rmdir()
