"""Which pictures a command works on: files, directories, globs, lists, data sets and stdin.

Nothing is opened here but lists: that a picture cannot be read is told for that picture alone, later.
"""

import csv
import glob
import io
import json
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from origcli.errors import InputError
from origcli.runtime.paths import path_of

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"})
PATH_COLUMNS = ("path", "file_name", "file", "image")
STDIN = "-"
_NAME_LENGTH = 40

Say = Callable[[str], None]


@dataclass(frozen=True)
class Input:
    """One picture to work on.

    Attributes:
        path: where it is; no two of a list are the same.
        name: unique in its list; lower-case letters, digits and dashes, fit for file names and placeholders.
        group: the set that it belongs to, such as `common` or `houses/common`; empty for none.
    """

    path: Path
    name: str
    group: str = ""


def find_inputs(
    arguments: Sequence[str],
    *,
    group_column: str | None = None,
    follow_links: bool = False,
    say: Say = lambda message: None,
    stdin: BinaryIO | None = None,
) -> list[Input]:
    """Pictures named by a command's arguments, in a fixed order.

    An argument is a picture; a directory, searched in depth, with its folders as groups; a data set
    directory (one with `metadata.jsonl`), with `category` as group; a quoted glob; a `.csv` list with a
    column `path` and, if wanted, `group`; or `-`, which reads paths (a line or a NUL each) or such a
    list from stdin. Paths in a list are relative to the list.

    Args:
        arguments: as given on the command line.
        group_column: the column of lists, or the key of `metadata.jsonl`, that holds the group.
        follow_links: take pictures that a symbolic link brings in from outside of a directory.
        say: where remarks about skipped files go.
        stdin: bytes to read for `-`; the process's own when `None`.

    Raises:
        InputError: an argument leads to no picture, or a list cannot be read.
    """
    found: list[tuple[Path, str]] = []
    for argument in arguments:
        if argument == STDIN:
            entries = _from_text(_read_stdin(stdin), Path(), group_column, "stdin")
        else:
            entries = _from_argument(argument, group_column, follow_links, say)
        if not entries:
            raise InputError(f"{argument}: no pictures here", f"looked for {', '.join(sorted(SUFFIXES))}")
        # Several folders on one command line are groups themselves: `score common original`.
        if len(arguments) > 1 and argument != STDIN and Path(argument).is_dir():
            stem = Path(argument).resolve().name
            entries = [(path, "/".join(filter(None, (stem, group)))) for path, group in entries]
        found.extend(entries)
    groups: dict[Path, str] = {}
    for path, group in found:
        groups.setdefault(path, group)
    if len(groups) < len(found):
        say(f"{len(found) - len(groups)} pictures named twice are taken once")
    _require_one(list(groups))
    return list(_named(groups.items()))


def _require_one(paths: Sequence[Path]) -> None:
    """If not one of the pictures exists, this is the wrong command line: say so before any work."""
    if not any(os.path.lexists(path) for path in paths):
        more = f" (nor any of {len(paths) - 1} others)" if len(paths) > 1 else ""
        raise InputError(f"{paths[0]}: no such file{more}", "give pictures, directories or a list")


def _from_argument(
    argument: str, group_column: str | None, follow_links: bool, say: Say
) -> list[tuple[Path, str]]:
    path = path_of(argument)
    if path.is_dir():
        if (path / "metadata.jsonl").is_file():
            return _inside(_from_metadata(path, group_column or "category"), path, follow_links, say)
        return _from_directory(path, follow_links, say)
    if path.suffix.lower() == ".csv" and path.is_file():
        try:
            return _from_text(path.read_bytes(), path.parent, group_column, str(path))
        except OSError as error:
            raise InputError(f"{path}: cannot read: {error.strerror or error}") from error
    if glob.has_magic(argument) and not os.path.lexists(path):
        return _from_glob(argument)
    return [(path, "")]


def _from_directory(root: Path, follow_links: bool, say: Say) -> list[tuple[Path, str]]:
    """All pictures under a directory by the order of their names; the folder of each is its group."""
    found = []
    for folder, folders, files in os.walk(root, followlinks=follow_links):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix.lower() not in SUFFIXES or name.startswith("."):
                continue
            found.append((path, _group_of(path, root)))
    return _inside(found, root, follow_links, say)


def _inside(
    found: list[tuple[Path, str]], root: Path, follow_links: bool, say: Say
) -> list[tuple[Path, str]]:
    """Those pictures of a directory that neither a link nor their name leads out of it."""
    if follow_links:
        return found
    real = os.path.realpath(root)
    inside = [one for one in found if _is_within(os.path.realpath(one[0]), real)]
    if len(inside) < len(found):
        skipped = len(found) - len(inside)
        say(f"{root}: {skipped} links that lead out of it are skipped (--follow-links takes them)")
    return inside


def _is_within(path: str, root: str) -> bool:
    return os.path.commonpath([path, root]) == root


def _group_of(path: Path, root: Path) -> str:
    folder = path.parent.relative_to(root).as_posix()
    return "" if folder == "." else folder


def _from_glob(pattern: str) -> list[tuple[Path, str]]:
    """Pictures that match; the folders below the part without wildcards are the groups."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    matches = root.glob(str(Path(*parts[fixed:])))
    return [(path, _group_of(path, root)) for path in sorted(matches) if path.suffix.lower() in SUFFIXES]


def _from_metadata(root: Path, group_key: str) -> list[tuple[Path, str]]:
    """The pictures of a data set directory, as `datasets` calls an imagefolder."""
    path = root / "metadata.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
        for row in rows:
            if b"\0" in os.fsencode(row["file_name"]):
                raise ValueError("a NUL in a file name")
        return [(root / row["file_name"], _text(row.get(group_key))) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a data set's metadata: {error}") from error


def _read_stdin(stdin: BinaryIO | None) -> bytes:
    return (stdin or sys.stdin.buffer).read()


def _from_text(data: bytes, base: Path, group_column: str | None, name: str) -> list[tuple[Path, str]]:
    """A CSV list if the first line is a header that names a path column, else a path a line (or a NUL)."""
    text = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))
    if "\0" in text:
        return [(base / path_of(entry), "") for entry in text.split("\0") if entry.strip()]
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InputError(f"{name}: not a CSV list: {error}") from error
    header = [name for name in rows[0] if name is not None] if rows else []  # None: a row with more cells
    column = next((column for column in PATH_COLUMNS if column in header), None)
    if column is None:
        if name != "stdin":
            raise InputError(f"{name}: no column is called {PATH_COLUMNS[0]!r}", "add a header line")
        # Not splitlines: a name may hold what Unicode calls a line break, and spaces at its ends.
        lines = (line.removesuffix("\r") for line in text.split("\n"))
        return [(base / path_of(line), "") for line in lines if line.strip()]
    if group_column is not None and group_column not in header:
        raise InputError(f"{name}: no column is called {group_column!r}", f"it has {', '.join(header)}")
    group = group_column or "group"
    return [(base / path_of(row[column]), _text(row.get(group))) for row in rows if row[column]]


def _text(value: object) -> str:
    return "" if value is None else str(value).strip().strip("/")


def _named(found: Iterable[tuple[Path, str]]) -> Iterator[Input]:
    """Gives each picture a name from its file's, with a number where two would share it."""
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for path, group in found:
        name = stem = slug(path.stem)
        while name in taken:
            numbers[stem] += 1
            name = f"{stem}-{numbers[stem] + 1}"
        taken.add(name)
        yield Input(path, name, group)


def slug(text: str) -> str:
    """Text as lower-case ASCII letters, digits and dashes; `image` where nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:_NAME_LENGTH].strip("-") or "image"
