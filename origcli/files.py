"""Reading files that users name: regular files of a sensible size, and text from any editor."""

import codecs
import contextlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from origcli.errors import InputError

MAX_BYTES = 1 << 30
MAX_TEXT_BYTES = 1 << 26

# Not to wait for a writer, should a pipe take the file's place between the look at it and its opening.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_file(path: Path) -> BinaryIO:
    """Opens a regular file for reading bytes.

    Never waits: a pipe or a device, which could block for ever or have no end, is refused unopened.

    Raises:
        InputError: missing, a directory, not a regular file, or not readable.
    """
    try:
        _require_regular(path, path.stat())
        file = os.fdopen(os.open(path, _FLAGS), "rb")
        try:
            _require_regular(path, os.fstat(file.fileno()))
        except BaseException:
            file.close()
            raise
        return file
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(path, error) from error


def read_file(path: Path, limit: int = MAX_BYTES, *, offset: int = 0, size: int = -1) -> bytes:
    """The bytes of a regular file, or a part of them.

    Args:
        limit: the maximum number of bytes that are read.
        offset, size: the part to read; −1 reads to the end.

    Raises:
        InputError: as `open_file`; or larger than `limit`.
    """
    with open_file(path) as file:
        try:
            if (os.fstat(file.fileno()).st_size if size < 0 else size) > limit:
                raise _too_large(path, limit)
            file.seek(offset)
            data = file.read(limit + 1 if size < 0 else size)
        except (OSError, ValueError, OverflowError) as error:
            raise _unreadable(path, error) from error
    if len(data) > limit:  # it grew while it was read
        raise _too_large(path, limit)
    return data


def read_text(path: Path, *, errors: str = "strict") -> str:
    """A text file that a user wrote: UTF-8 with or without a byte order mark, or UTF-16 with one.

    It may be a pipe, as in `--config <(command)`.

    Args:
        errors: what to do with bytes that are not UTF-8, as `bytes.decode` takes it.

    Raises:
        InputError: missing, a directory, too large, not readable, or not text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if len(data) > MAX_TEXT_BYTES:
        raise _too_large(path, MAX_TEXT_BYTES)
    try:
        return decoded(data, errors)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text: {error.reason} at byte {error.start}", "save it as UTF-8"
        ) from error


def decoded(data: bytes, errors: str = "strict") -> str:
    """Text from bytes: UTF-8, or what a byte order mark says; the mark is left out.

    Raises:
        UnicodeDecodeError: they are neither.
    """
    if data.startswith(_UTF_16):
        return data.decode("utf-16", errors)
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors)


def expanded(path: str) -> str:
    """A path with `~` or `~user` at its beginning replaced by that home directory.

    A shell does this only for words of their own: not in `--out=~/o`, in a file, or in a variable.
    """
    if not path.startswith("~"):
        return path
    with contextlib.suppress(RuntimeError):  # there is no such user: it is a name like any other
        return str(Path(path).expanduser())
    return path


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: is a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is not a regular file")


def _too_large(path: Path, limit: int) -> InputError:
    return InputError(f"{path}: larger than {limit >> 20} MiB, refused")


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}")
