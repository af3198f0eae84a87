"""Directories that this process owns: reached by handle, never through a link, with a list of what was made.

A run directory may come from others, and others may change it at any time. While this process owns it, it is
held open, and whatever lies below it is reached from there, folder by folder: a link below it is replaced and
never followed, and a directory that is no longer there is an error. What is made in it is noted in its list
(`WRITTEN_NAME`), so that --force knows what to remove. Elsewhere a path is the user's own.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from origcli.errors import StorageError

RUN_NAME = "run.json"
WRITTEN_NAME = ".written"
LOCK_NAMES = (".lock", ".lock.owner")
PARTIAL_SUFFIX = ".partial"
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PARTIAL = re.compile(r"\..*[0-9a-f]{8}\.partial")
_LONGEST_STEM = 40  # characters; file systems take 255 bytes, and a character may be four
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def partial_name(name: str) -> str:
    """The name that a file or directory has until it is whole."""
    return f".{name.lstrip('.')[:_LONGEST_STEM]}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}"


def is_partial(name: str) -> bool:
    """Whether `partial_name` made it."""
    return _PARTIAL.fullmatch(name) is not None


@dataclass(frozen=True)
class _Owned:
    """A directory that is held open while this process writes to it."""

    path: Path
    handle: int

    def check(self) -> None:
        """Makes sure that the path still leads here.

        Raises:
            StorageError: the directory was removed or moved, or another one has its name.
        """
        try:
            same = os.path.samestat(self.path.stat(), os.fstat(self.handle))
        except OSError:
            same = False
        if not same:
            raise StorageError(
                f"{self.path}: removed or moved while a run was writing to it",
                "run the command again, with another --out",
            )

    def note(self, path: Path, whole: bool) -> None:
        """Adds what is about to be made to the list, unless it is there already or is not whole yet."""
        inside = path.relative_to(self.path)
        known = os.path.lexists(path) and not path.is_symlink()
        if known or inside.name in LOCK_NAMES or any(map(is_partial, inside.parts)):
            return
        without_link(WRITTEN_NAME, self.handle)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(WRITTEN_NAME, flags, 0o666, dir_fd=self.handle)
        try:
            os.write(descriptor, _line(inside.as_posix() + ("/" if whole else "")))
        finally:
            os.close(descriptor)


_owned: list[_Owned] = []  # by this process, as their locks are


@contextmanager
def owned(directory: Path) -> Iterator[int]:
    """Makes a directory this process's own while the context is open, and gives its handle.

    Raises:
        OSError: it cannot be opened.
    """
    path = directory.absolute()
    with open_folder(path) as handle:
        owned = _Owned(path, handle)
        _owned.append(owned)
        try:
            yield handle
        finally:
            _owned.remove(owned)


def _owner(path: Path) -> _Owned | None:
    """The innermost owned directory that a path leads into, or is."""
    parents = {path, *path.parents}
    inside = [owned for owned in _owned if owned.path in parents]
    return max(inside, key=lambda owned: len(owned.path.parts), default=None)


def is_owned(path: Path) -> bool:
    """Whether a path is an owned directory or lies below one."""
    return _owner(path.absolute()) is not None


def note(path: Path, whole: bool = False) -> None:
    """Notes a file or folder that is about to be made below an owned directory.

    Args:
        whole: it is a folder, and whatever will be in it is ours.
    """
    path = path.absolute()
    owner = _owner(path.parent)
    if owner is not None:
        owner.note(path, whole)


@contextmanager
def open_folder(path: Path, make: bool = False) -> Iterator[int]:
    """A handle of a directory; from an owned directory on, no link is followed.

    Args:
        make: make what is missing of it.

    Raises:
        StorageError: the owned directory is no longer there.
        OSError: as opening it raises it.
    """
    path = path.absolute()
    owner = _owner(path)
    if owner is None:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, _FOLDER)
    else:
        owner.check()
        handle, at = os.dup(owner.handle), owner.path
        for name in path.relative_to(owner.path).parts:
            at /= name
            try:
                inner = _enter(handle, at, make)
            finally:
                os.close(handle)
            handle = inner
    try:
        yield handle
    finally:
        os.close(handle)


def _enter(handle: int, path: Path, make: bool) -> int:
    """Opens a folder of a directory by its name; a link in its place is replaced by a new folder."""
    flags = _FOLDER | os.O_NOFOLLOW
    try:
        return os.open(path.name, flags, dir_fd=handle)
    except OSError as error:
        if not is_link(path.name, handle) and not (make and error.errno == errno.ENOENT):
            raise
    note(path)
    without_link(path.name, handle)
    with contextlib.suppress(FileExistsError):  # another process may have made it
        os.mkdir(path.name, dir_fd=handle)
    return os.open(path.name, flags, dir_fd=handle)


def is_link(name: str, handle: int) -> bool:
    """Whether a directory has a link of this name."""
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode)
    except OSError:
        return False


def without_link(name: str, handle: int) -> None:
    """Removes a link of this name from a directory, so that the next write makes a file of its own."""
    if is_link(name, handle):
        os.unlink(name, dir_fd=handle)


def _line(name: str) -> bytes:
    return json.dumps(name).encode() + b"\n"


def read_written(handle: int) -> list[str]:
    """The names in a directory's list, sorted; those of folders that are ours as a whole end with a slash.

    The list may be another's: what leads out of the directory is left out.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    names = set()
    with contextlib.suppress(OSError), os.fdopen(os.open(WRITTEN_NAME, flags, dir_fd=handle), "rb") as file:
        for line in file:
            with contextlib.suppress(ValueError, RecursionError):  # the last line may be torn
                name = json.loads(line)
                if isinstance(name, str) and _leads_inside(name):
                    names.add(name)
    return sorted(names)


def _leads_inside(name: str) -> bool:
    parts = name.removesuffix("/").split("/")
    return not {"", ".", ".."} & {*parts} and "\0" not in name


def remove_written(handle: int) -> None:
    """Removes what a directory's list names, by handle; folders that others put something into stay.

    Raises:
        OSError: as removing raises it.
    """
    for name in reversed(read_written(handle)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            _remove(handle, name.removesuffix("/").split("/"), whole=name.endswith("/"))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(WRITTEN_NAME, dir_fd=handle)


def _remove(handle: int, parts: list[str], whole: bool) -> None:
    if len(parts) > 1:
        try:
            inner = os.open(parts[0], _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):  # a link: what it leads to is not ours
                return
            raise
        try:
            _remove(inner, parts[1:], whole)
        finally:
            os.close(inner)
    elif not stat.S_ISDIR(os.stat(parts[0], dir_fd=handle, follow_symlinks=False).st_mode):
        os.unlink(parts[0], dir_fd=handle)
    elif whole:
        shutil.rmtree(parts[0], dir_fd=handle)
    else:
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(parts[0], dir_fd=handle)


def settle_written(handle: int) -> None:
    """Rewrites a directory's list with what is still there, sorted, so that equal runs have equal lists."""
    known = read_written(handle)
    if not known:
        return
    whole = {name.removesuffix("/") for name in known if name.endswith("/")}
    partial = partial_name(WRITTEN_NAME)
    with os.fdopen(os.open(partial, NEW_FILE, 0o666, dir_fd=handle), "wb") as file:
        file.writelines(
            _line(name)
            for name in known
            if name not in whole and not whole & {*_above(name)} and _exists(name.removesuffix("/"), handle)
        )
    os.replace(partial, WRITTEN_NAME, src_dir_fd=handle, dst_dir_fd=handle)


def _above(name: str) -> list[str]:
    """The folders that a name leads through."""
    parts = name.removesuffix("/").split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _exists(name: str, handle: int) -> bool:
    try:
        os.stat(name, dir_fd=handle, follow_symlinks=False)
    except OSError:
        return False
    return True
