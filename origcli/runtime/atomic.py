"""Files and directories that appear whole or not at all, and writes that follow no link.

A write goes to a `.NAME.RANDOM.partial` beside its target, is flushed to the disk, and takes the target's
name in one rename: a reader, and a run that is killed at any moment, sees the old file or the new one. A
link of the target's name is replaced; see `owned` for what lies between it and the run's directory.
"""

import contextlib
import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from origcli.errors import InputError, StorageError
from origcli.files import read_file
from origcli.runtime.owned import (
    LOCK_NAMES,
    NEW_FILE,
    RUN_NAME,
    is_owned,
    is_partial,
    note,
    open_folder,
    partial_name,
    without_link,
)

# What CIFS, VirtualBox and some FUSE file systems answer to fsync, of directories above all.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}

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


def storage_error(path: Path, error: OSError) -> StorageError:
    """Names the path and the remedy of an operating-system error."""
    return StorageError(f"{path}: cannot write: {error.strerror or error}", _HINTS.get(error.errno or 0, ""))


def make_directory(path: Path) -> Path:
    """Makes a directory and its parents, and proves that it can be written.

    Raises:
        StorageError: before any work is done, where it cannot.
    """
    try:
        with open_folder(path, make=True) as folder:
            if not is_owned(path):
                probe = partial_name("")
                os.close(os.open(probe, NEW_FILE, 0o666, dir_fd=folder))
                os.unlink(probe, dir_fd=folder)
    except OSError as error:
        raise storage_error(path, error) from error
    return path


def claim_directory(path: Path) -> Path:
    """Makes a directory whose whole content will be ours: files in it are not noted one by one.

    Raises:
        StorageError: it cannot be made.
    """
    note(path, whole=True)
    return make_directory(path)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under `path` whole or not at all. A link of that name is replaced.

    Raises:
        StorageError: the disk is full or the directory cannot be written; nothing is left behind.
    """
    try:
        with open_folder(path.parent) as folder:
            partial = partial_name(path.name)
            try:
                with os.fdopen(os.open(partial, NEW_FILE, 0o666, dir_fd=folder), "wb") as file:
                    yield file
                    file.flush()
                    _sync(file.fileno())
                note(path)
                os.replace(partial, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=folder)
                raise
            _sync(folder)
    except OSError as error:
        raise storage_error(path, error) from error


def _sync(descriptor: int) -> None:
    """Makes what was written or renamed last through a power cut, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


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


def write_unsynced(path: Path, data: bytes) -> None:
    """Writes a file in place: for the many small ones that are written again after a kill.

    Raises:
        StorageError: the disk is full or the directory cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open_folder(path.parent) as folder:
            without_link(path.name, folder)
            with os.fdopen(os.open(path.name, flags, 0o666, dir_fd=folder), "wb") as file:
                file.write(data)
    except OSError as error:
        raise storage_error(path, error) from error


def append_line(path: Path, line: bytes, start: int) -> None:
    """Writes a line at a place in a file, as its end, and waits until it is on the disk.

    What stood from that place on, a line that a kill has torn, is cut off.

    Raises:
        StorageError: the disk is full or the directory cannot be written; the file ends at `start`.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open_folder(path.parent) as folder:
            note(path)
            without_link(path.name, folder)
            with os.fdopen(os.open(path.name, flags, 0o666, dir_fd=folder), "r+b") as file:
                if os.fstat(file.fileno()).st_size < start:
                    raise OSError(errno.ESTALE, "shorter than what was written to it")
                file.truncate(start)
                try:
                    file.seek(start)
                    file.write(line)
                    file.flush()
                    _sync(file.fileno())
                except OSError:
                    os.truncate(file.fileno(), start)
                    raise
    except OSError as error:
        raise storage_error(path, error) from error


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


# -- directories ---------------------------------------------------------------------------------


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """A directory to write into that appears under `target` whole or not at all, in place of an older one.

    Its files get the permissions that every other file gets here, whichever library wrote them.

    Raises:
        StorageError: the disk is full or the directory cannot be written; nothing is left behind.
    """
    from safetensors import SafetensorError  # what its writer raises where the disk is full

    try:
        with open_folder(target.parent) as folder:
            partial = partial_name(target.name)
            os.mkdir(partial, dir_fd=folder)
            try:
                yield target.with_name(partial)
                _settle(target.with_name(partial))
                _publish(partial, target, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True, dir_fd=folder)
    except OSError as error:
        raise storage_error(target, error) from error
    except SafetensorError as error:
        raise StorageError(f"{target}: cannot write: {error}", "free some space and --resume") from error


def _settle(directory: Path) -> None:
    """Gives the files of a library the usual permissions, and flushes them to the disk."""
    probe = directory / partial_name("")
    probe.touch()
    usual = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for root, _, names in os.walk(directory):
        for name in names:
            with Path(root, name).open("rb") as file:
                with contextlib.suppress(PermissionError):  # a file system that has none
                    os.fchmod(file.fileno(), usual)
                _sync(file.fileno())


def _publish(partial: str, target: Path, folder: int) -> None:
    """Gives a finished directory its name; one of an earlier run makes way."""
    name, old = target.name, partial_name(target.name)
    note(target, whole=True)
    without_link(name, folder)
    try:
        os.rename(name, old, src_dir_fd=folder, dst_dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.EXDEV:  # overlayfs does not rename a directory of a lower layer
            raise
        shutil.rmtree(name, dir_fd=folder)
    os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    _sync(folder)
    shutil.rmtree(old, ignore_errors=True, dir_fd=folder)


def sweep(directory: Path, older_than: float = 0.0) -> None:
    """Removes what a killed run left half-written, but nothing of other runs that lie below the directory.

    Args:
        older_than: seconds that it must have been left alone. 0 is for who holds the lock; in a directory
            that several processes write at once, a younger file may be at work.
    """
    latest = time.time() - older_than
    for root, folders, names in os.walk(directory):
        if Path(root) != directory and {RUN_NAME, *LOCK_NAMES} & {*names}:
            folders.clear()
            continue
        for name in filter(is_partial, [*names, *folders]):
            path = Path(root, name)
            with contextlib.suppress(OSError):  # another process may have swept it
                if not older_than or path.lstat().st_mtime < latest:
                    remove(path)
        folders[:] = [name for name in folders if not is_partial(name)]


def remove(path: Path) -> None:
    """Removes a file, a link (not what it leads to), or a directory with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
