"""The cache: results and features by the content that made them, under the user's cache directory."""

import atexit
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import platformdirs

from origcli.errors import StorageError
from origcli.files import expanded
from origcli.runtime.atomic import make_directory, sweep

SCORES = "score"
SECTIONS = {
    SCORES: "learned tokens, samples and constants of scores, by content",
    "features": "features of training images",
    "hub": "hashes of downloaded models",
    "ultralytics": "settings of ultralytics",
    "weights": "weights of YOLOv8",
}
_REMEDY = "set ORIGCLI_CACHE to a directory that you may write to"
_STALE = 24 * 3600.0  # seconds after which nobody still writes a file of the cache


def cache_root() -> Path:
    """`$ORIGCLI_CACHE`, else the platform's cache directory for origcli. Makes nothing.

    Raises:
        StorageError: there is no home directory, as for a user that the machine does not know.
    """
    root = os.environ.get("ORIGCLI_CACHE")
    if root:
        return Path(expanded(root))
    try:
        return Path(platformdirs.user_cache_dir("origcli"))
    except (RuntimeError, KeyError) as error:
        raise StorageError("no home directory for the cache", _REMEDY) from error


def cache_directory(name: str = "") -> Path:
    """A section of the cache, which can be written, rid of what killed processes left half-written there.

    Raises:
        StorageError: there is none: no home directory, a read-only one, a full disk.
    """
    try:
        section = make_directory(cache_root() / name)
    except StorageError as error:
        raise StorageError(error.message, _REMEDY) from error
    if name:
        sweep(section, older_than=_STALE)
    return section


def cache_path(name: str) -> Path:
    """Where a section of the cache is, or would be. It may be read-only, and nothing is made.

    Without a home directory it is a place of this process that is empty.
    """
    try:
        return cache_root() / name
    except StorageError:
        return _passing() / name


def find_cache(name: str, say: Callable[[str], None]) -> Path | None:
    """A section of the cache, for who can do without: `None` where there is none, which is said."""
    try:
        return cache_directory(name)
    except StorageError as error:
        say(f"no cache: {error.message}; results are not kept for later runs ({error.hint})")
        return None


def working_directory(name: str) -> Path:
    """A section of the cache, for what has to be written somewhere; else one that goes with this process."""
    try:
        return cache_directory(name)
    except StorageError:
        return make_directory(_passing() / name)


@cache
def _passing() -> Path:
    directory = TemporaryDirectory(prefix="origcli-")
    atexit.register(directory.cleanup)
    return Path(directory.name)
