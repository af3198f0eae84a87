"""Directories that a run owns: a lock, atomic writes, and a sweep of what a killed run left.

A write goes to a `.NAME.RANDOM.partial` file beside its target, is flushed to the disk, and takes
the target's name in one rename: a reader, and a run that is killed at any moment, sees the old
file or the new one.
"""

import contextlib
import errno
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from filelock import FileLock, Timeout

from origcli.errors import InputError, LockedError, StorageError, UsageError
from origcli.files import read_file

LOCK_NAME = ".lock"
OWNER_NAME = ".lock.owner"
RUN_NAME = "run.json"
PARTIAL_SUFFIX = ".partial"
_PARTIAL = re.compile(r"\..*[0-9a-f]{8}\.partial")
_LONGEST_STEM = 40  # characters; file systems take 255 bytes, and a character may be four

Existing = Literal["use", "refuse", "replace"]

_HINTS = {
    errno.ENOSPC: "free some space or choose another --out",
    errno.EDQUOT: "your quota is used up; free some space or choose another --out",
    errno.EFBIG: "the file would be larger than this process may write (ulimit -f)",
    errno.EACCES: "choose an --out that you may write to",
    errno.EPERM: "choose an --out that you may write to",
    errno.EROFS: "the file system is read-only; choose another --out",
    errno.ENOTDIR: "a part of the path is a file; choose another --out",
    errno.EEXIST: "there is a file of that name; choose another --out",
}


def existing(resume: bool, force: bool) -> Existing:
    """What a run does with a directory that holds something."""
    return "use" if resume else "replace" if force else "refuse"


def storage_error(path: Path, error: OSError) -> StorageError:
    """Names the path and the remedy of an operating-system error."""
    return StorageError(f"{path}: cannot write: {error.strerror or error}", _HINTS.get(error.errno or 0, ""))


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under `path` whole or not at all. A symlink's target is what is written.

    Raises:
        StorageError: the disk is full or the directory cannot be written; nothing is left behind.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name[:_LONGEST_STEM]}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_directory(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise storage_error(path, error) from error
        raise


def _sync_directory(path: Path) -> None:
    """Makes a rename last through a power cut; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file in one step."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON (no NaN) with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: the file is missing, a pipe or a device, or not JSON.
    """
    data = read_file(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error


def make_directory(path: Path) -> Path:
    """Makes a directory and its parents, and proves that it can be written.

    Raises:
        StorageError: before any work is done, where it cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{secrets.token_hex(4)}{PARTIAL_SUFFIX}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise storage_error(path, error) from error
    return path


def sweep(directory: Path, older_than: float = 0.0) -> None:
    """Removes the partial files that a killed run left.

    Args:
        older_than: seconds that a file must have been left alone. 0 is for who holds the lock; in a directory
            that several processes write at once, a younger file may be at work.
    """
    latest = time.time() - older_than
    for path in directory.rglob(f".*{PARTIAL_SUFFIX}"):
        if _PARTIAL.fullmatch(path.name):
            with contextlib.suppress(OSError):  # another process may have swept it
                if not older_than or path.stat().st_mtime < latest:
                    path.unlink()


class RunDirectory:
    """A directory that one process owns while the context is open.

    Args:
        path: it is made where it is missing, with its parents.
        existing: what to do with a directory that holds something. "use" leaves it as it is,
            "refuse" is for a command that starts a run, "replace" empties it first, if a run of
            ours made it.

    Raises:
        LockedError: another process owns it; names that process.
        StorageError: it cannot be made or written.
        UsageError: it holds something and `existing` says no.
    """

    def __init__(self, path: Path, existing: Existing = "use") -> None:
        self.path = make_directory(Path(path).absolute())
        self._existing = existing
        self._lock = FileLock(self.path / LOCK_NAME)

    def __enter__(self) -> Self:
        owner = self.path / OWNER_NAME
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LockedError(
                f"{self.path}: {_read_owner(owner)} is at work here", "wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise storage_error(self.path / LOCK_NAME, error) from error
        try:
            sweep(self.path)
            self._settle_existing()
            write_text(owner, f"process {os.getpid()} on {platform.node()}\n")
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()

    def forget_if_nothing_came(self) -> None:
        """Leaves nothing of a run that failed before it wrote anything: mended, the same words work."""
        found = {entry.name for entry in self.path.iterdir()} - {LOCK_NAME, OWNER_NAME}
        if found == {RUN_NAME}:
            (self / RUN_NAME).unlink()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def _let_go(self) -> None:
        # The lock file goes while the lock is held: whoever opened it before that finds, with the
        # lock in hand, that it has no name any more, and starts over.
        for name in (OWNER_NAME, LOCK_NAME):
            with contextlib.suppress(OSError):
                (self.path / name).unlink(missing_ok=True)
        self._lock.release()

    def _settle_existing(self) -> None:
        found = [entry for entry in self.path.iterdir() if entry.name not in (LOCK_NAME, OWNER_NAME)]
        if not found or self._existing == "use":
            return
        if self._existing == "refuse":
            raise UsageError(
                f"{self.path}: not empty",
                "--force starts over; --resume, where a command has it, goes on with a stopped run",
            )
        if not (self.path / RUN_NAME).exists():
            raise UsageError(
                f"{self.path}: not empty, and no run of origcli made it",
                "choose another --out, or empty it yourself",
            )
        for entry in found:
            _remove(entry)


def _read_owner(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip() or "another process"
    except OSError:
        return "another process"


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise storage_error(path, error) from error
