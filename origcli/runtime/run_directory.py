"""The directory of a run: one process owns it at a time, and --force removes from it only what runs wrote."""

import contextlib
import os
import platform
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import Timeout

from origcli.errors import LockedError, UsageError
from origcli.runtime.atomic import claim_directory, storage_error, sweep, write_json, write_text
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
from origcli.runtime.run_place import Existing, RunPlace
from origcli.runtime.run_record import now, read_run_record, run_record

_LOCK, _OWNER = LOCK_NAMES
_OWN = {*LOCK_NAMES, WRITTEN_NAME}


class RunDirectory:
    """A directory that one process owns while the context is open.

    Args:
        path: it is made where it is missing, with its parents. A `RunPlace` says the rest itself.
        existing: what to do with a directory that holds something. "use" resumes a run of ours,
            "refuse" is for a command that starts a run, "replace" first removes what a run of ours wrote.
        record: keep `run.json`: begun now, finished when the context is left without an error.

    Attributes:
        path: the whole path.
        given: the path as the user knows it.

    Raises:
        LockedError: another process owns it; names that process.
        StorageError: it cannot be made or written, or was removed while it was owned.
        UsageError: it holds something and `existing` says no; then nothing is touched.
    """

    def __init__(self, path: Path | RunPlace, existing: Existing = "use", record: bool = True) -> None:
        self._place = path if isinstance(path, RunPlace) else RunPlace(Path(path), existing)
        self._record = record
        self.given = self._place.path
        self.path = self.given.absolute()

    def __enter__(self) -> Self:
        self.given = self._place.take()
        self.path = self.given.absolute()
        self._is_new = self._place.is_numbered or not self.path.exists()
        self._began: float | None = None
        with ExitStack() as stack:
            stack.callback(self._remove_if_empty)
            self._refuse_others()
            claim_directory(self.path)
            self._handle = stack.enter_context(owned(self.path))
            without_link(_LOCK, self._handle)
            try:
                stack.enter_context(locked(self.path / _LOCK, timeout=0))
            except Timeout as error:
                raise LockedError(f"{self.path}: in use by {self._owner()}", self._remedy()) from error
            # The lock file goes while the lock is held: whoever opened it before that finds, with the
            # lock in hand, that it has no name any more, and starts over.
            stack.callback(self._remove_lock_files)
            self._settle_existing()
            write_text(self.path / _OWNER, f"process {os.getpid()} on {platform.node()}\n")
            if self._record:
                self.begin()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None and self._began is not None:
                seconds = time.monotonic() - self._began
                write_json(self / RUN_NAME, run_record(seconds, self._place.request, self._since))
            elif kind is not None and self._names() == {RUN_NAME}:
                # Nothing came of it: once the fault is fixed, the same command works.
                remove_written(self._handle)
            with contextlib.suppress(OSError):
                settle_written(self._handle)

    def begin(self) -> None:
        """Marks the directory as a run's."""
        self._began, self._since = time.monotonic(), now()
        write_json(self / RUN_NAME, run_record(None, self._place.request, self._since))

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def _names(self) -> set[str]:
        """What the directory holds, but for what every run has."""
        try:
            names = {entry.name for entry in self.path.iterdir()}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise storage_error(self.path, error) from error
        return {name for name in names - _OWN if not is_partial(name)}

    def _refuse_others(self) -> None:
        """Refuses a directory that is no run's before anything is written to it."""
        if self._names() and read_run_record(self.path) is None:
            raise UsageError(
                f"{self.path}: not empty, and no run of origcli made it",
                "choose another --out, or empty it yourself",
            )

    def _settle_existing(self) -> None:
        if not self._names():
            return
        if self._place.existing == "refuse":
            raise UsageError(
                f"{self.path}: not empty", "--resume resumes a stopped run, --force overwrites it"
            )
        if self._place.existing == "replace":
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

    def _remedy(self) -> str:
        """What to do about a lock. A marker file, which is not empty, may be of a dead process elsewhere."""
        lock = self.path / _LOCK
        is_marker = lock.is_file() and lock.stat().st_size > 0
        return "wait for it, or choose another --out" + (
            f"; if it no longer runs, remove {lock}" if is_marker else ""
        )

    def _remove_lock_files(self) -> None:
        for name in (_OWNER, _LOCK):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._handle)

    def _remove_if_empty(self) -> None:
        """Removes a directory that was made for this run and is empty."""
        if self._is_new:
            with contextlib.suppress(OSError):
                self.path.rmdir()
