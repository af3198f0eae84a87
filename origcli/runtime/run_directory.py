"""Directories that a run owns: a lock, atomic writes, and a sweep of what a killed run left.

A write goes to a `.NAME.RANDOM.partial` file beside its target, is flushed to the disk, and takes
the target's name in one rename: a reader, and a run that is killed at any moment, sees the old
file or the new one.
"""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from filelock import FileLock, Timeout

from origcli.errors import InputError, LockedError, StorageError

LOCK_NAME = ".lock"
PARTIAL_SUFFIX = ".partial"


def storage_error(path: Path, error: OSError) -> StorageError:
    """Names the path and the remedy of an operating-system error."""
    hints = {
        28: "free some space or choose another --out",
        27: "the file would be larger than this process may write (ulimit -f)",
        13: "choose an --out that you may write to",
        30: "the file system is read-only; choose another --out",
    }
    return StorageError(f"{path}: cannot write: {error.strerror or error}", hints.get(error.errno or 0, ""))


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under `path` whole or not at all. A symlink's target is what is written.

    Raises:
        StorageError: the disk is full or the directory cannot be written; nothing is left behind.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise storage_error(path, error) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync_directory(path: Path) -> None:
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
        InputError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}") from error
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


def sweep(directory: Path) -> None:
    """Removes the partial files that a killed run left. Call it only while holding the lock."""
    for partial in directory.rglob(f".*{PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)


class RunDirectory:
    """A directory that one process owns while the context is open.

    Raises:
        LockedError: another process owns it; names that process.
        StorageError: it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = make_directory(Path(path).absolute())
        self._lock = FileLock(self.path / LOCK_NAME)

    def __enter__(self) -> Self:
        owner = self.path / f"{LOCK_NAME}.owner"
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            who = owner.read_text("utf-8").strip() if owner.exists() else "another process"
            raise LockedError(
                f"{self.path}: {who} is at work here", "wait for it, or choose another --out"
            ) from error
        sweep(self.path)
        write_text(owner, f"process {os.getpid()} on {os.uname().nodename}\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self.path / f"{LOCK_NAME}.owner").unlink(missing_ok=True)
        (self.path / LOCK_NAME).unlink(missing_ok=True)
        self._lock.release()

    def __truediv__(self, name: str) -> Path:
        return self.path / name
