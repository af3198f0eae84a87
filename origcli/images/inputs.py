"""Which pictures a command works on: files, directories, globs, lists, data sets and stdin.

Nothing is opened here but lists: an image that cannot be read is reported later, for itself.
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
from origcli.files import decoded, expanded, read_file, read_text
from origcli.images.formats import SUFFIXES, UNSUPPORTED
from origcli.runtime import interrupts
from origcli.runtime.paths import path_of

PATH_COLUMNS = ("path", "file_name", "file", "image")
CAPTION_COLUMNS = ("caption", "text")
STDIN = "-"
_NAME_LENGTH = 40
_ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_DELIMITERS = (",", ";", "\t")  # a semicolon is Excel's, where the comma is the decimal sign

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
            text = decoded(_read_stdin(stdin), "surrogateescape")
            entries = _from_text(text, Path(), group_column, "stdin")
        else:
            entries = _from_argument(argument, group_column, follow_links, say)
        if not entries:
            raise InputError(f"{argument}: no images found", f"supported: {', '.join(sorted(SUFFIXES))}")

        # Several folders on one command line are groups themselves: `score common original`.
        folder = path_of(expanded(argument))
        if len(arguments) > 1 and argument != STDIN and folder.is_dir():
            stem = folder.resolve().name
            entries = [(path, "/".join(filter(None, (stem, group)))) for path, group in entries]
        found.extend(entries)

    groups: dict[Path, str] = {}
    for path, group in found:
        groups.setdefault(path, group)
    if len(groups) < len(found):
        say(f"{len(found) - len(groups)} images given twice are used once")

    _require_one(list(groups))
    return list(_named(groups.items()))


def find_captioned(argument: str, say: Say = lambda message: None) -> list[tuple[Path, str]] | None:
    """Images with their captions, from an imagefolder's `metadata.jsonl` or a CSV list.

    The captions are the column `caption` or `text`.

    Returns:
        Paths and captions, those without a caption left out; `None` where the argument has no captions.

    Raises:
        InputError: the list cannot be read.
    """
    path = path_of(expanded(argument))
    for column in CAPTION_COLUMNS:
        if (path / "metadata.jsonl").is_file():
            found = _inside(_from_metadata(path, column), path, follow_links=False, say=say)
        elif path.suffix.lower() == ".csv" and path.is_file():
            text = read_text(path, errors="surrogateescape")
            if column not in _table(text)[0]:
                continue
            found = _from_text(text, path.parent, column, str(path))
        else:
            return None
        if captioned := [(image, caption) for image, caption in found if caption]:
            return captioned
    return None


def _require_one(paths: Sequence[Path]) -> None:
    """If not one of the images exists, this is the wrong command line: say so before any work."""
    if not any(os.path.lexists(path) for path in paths):
        more = f" (nor any of {len(paths) - 1} others)" if len(paths) > 1 else ""
        raise InputError(f"{paths[0]}: no such file{more}", "give images, directories or a list")


def _from_argument(
    argument: str, group_column: str | None, follow_links: bool, say: Say
) -> list[tuple[Path, str]]:
    if _ADDRESS.match(argument):
        raise InputError(f"{argument}: addresses are not read", "download the image first, and give the file")
    path = path_of(expanded(argument))
    if path.is_dir():
        if (path / "metadata.jsonl").is_file():
            return _inside(_from_metadata(path, group_column or "category"), path, follow_links, say)
        return _from_directory(path, follow_links, say)
    if path.suffix.lower() == ".csv" and path.is_file():
        text = read_text(path, errors="surrogateescape")
        return _from_text(text, path.parent, group_column, str(path))
    if glob.has_magic(argument) and not os.path.lexists(path):
        return _from_glob(str(path), say)
    return [(path, "")]


def _from_directory(root: Path, follow_links: bool, say: Say) -> list[tuple[Path, str]]:
    """All pictures under a directory by the order of their names; the folder of each is its group."""
    found: list[Path] = []
    others: list[Path] = []
    for path in _files(root, follow_links, say):
        (found if path.suffix.lower() in SUFFIXES else others).append(path)
    _say_left_out(root, others, say)
    return _inside([(path, _group_of(path, root)) for path in found], root, follow_links, say)


def _files(root: Path, follow_links: bool, say: Say) -> Iterator[Path]:
    """The files under a directory that are not hidden, folder by folder; each real folder once.

    Links that lead upwards, or to a folder that was searched before, would make a search without end.
    """
    searched: set[tuple[int, int]] = set()
    unreadable: list[OSError] = []
    again = unfollowed = 0
    for folder, folders, files in os.walk(root, followlinks=follow_links, onerror=unreadable.append):
        interrupts.check()
        try:
            status = Path(folder).stat()
        except OSError as error:  # it was taken away meanwhile
            unreadable.append(error)
            continue
        if (status.st_dev, status.st_ino) in searched:
            again += 1
            folders.clear()
            continue
        searched.add((status.st_dev, status.st_ino))

        folders[:] = sorted(name for name in folders if not name.startswith("."))
        unfollowed += 0 if follow_links else sum(_leads_out(Path(folder, name), root) for name in folders)
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))
    for problem in unreadable:
        say(f"{problem.filename}: left out, cannot be read: {problem.strerror}")
    if again:
        say(f"{root}: {again} links to folders that were searched already are skipped")
    if unfollowed:
        say(f"{root}: {unfollowed} links to folders outside are skipped (--follow-links includes them)")


def _leads_out(folder: Path, root: Path) -> bool:
    """Whether a folder is a link to one that the search of `root` does not come to."""
    return folder.is_symlink() and not _is_within(os.path.realpath(folder), os.path.realpath(root))


def _say_left_out(root: Path | str, others: Sequence[Path], say: Say) -> None:
    """Names what a folder holds beside its pictures: images of formats that are not read, and the rest."""
    formats = Counter(UNSUPPORTED.get(path.suffix.lower(), "") for path in others)
    rest = formats.pop("", 0)
    if formats:
        listed = ", ".join(f"{number} {name}" for name, number in sorted(formats.items()))
        say(f"{root}: left out, formats not supported: {listed} (convert them to PNG or JPEG)")
    if rest:
        kinds = sorted({path.suffix.lower() or "no suffix" for path in others} - UNSUPPORTED.keys())
        shown = ", ".join(kinds[:5]) + (", …" if len(kinds) > 5 else "")
        say(f"{root}: left out, not images by their names: {rest} files ({shown})")


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
        say(f"{root}: {skipped} links that lead out of it are skipped (--follow-links includes them)")
    return inside


def _is_within(path: str, root: str) -> bool:
    return os.path.commonpath([path, root]) == root


def _group_of(path: Path, root: Path) -> str:
    folder = path.parent.relative_to(root).as_posix()
    return "" if folder == "." else folder


def _from_glob(pattern: str, say: Say) -> list[tuple[Path, str]]:
    """Pictures that match; the folders below the part without wildcards are the groups."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    matches = sorted(root.glob(str(Path(*parts[fixed:]))))
    _say_left_out(
        pattern, [path for path in matches if path.suffix.lower() not in SUFFIXES and path.is_file()], say
    )
    return [(path, _group_of(path, root)) for path in matches if path.suffix.lower() in SUFFIXES]


def _from_metadata(root: Path, group_key: str) -> list[tuple[Path, str]]:
    """The pictures of a data set directory, as `datasets` calls an imagefolder."""
    path = root / "metadata.jsonl"
    try:
        rows = [json.loads(line) for line in read_file(path).splitlines() if line.strip()]
        for row in rows:
            if b"\0" in os.fsencode(row["file_name"]):
                raise ValueError("a NUL in a file name")
        return [(root / row["file_name"], _text(row.get(group_key))) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a data set's metadata: {error}") from error


def _read_stdin(stdin: BinaryIO | None) -> bytes:
    return (stdin or sys.stdin.buffer).read()


def _from_text(text: str, base: Path, group_column: str | None, name: str) -> list[tuple[Path, str]]:
    """A CSV list if the first line is a header that names a path column, else a path a line (or a NUL)."""
    if "\0" in text:
        return [(base / _listed(entry), "") for entry in text.split("\0") if entry.strip()]
    try:
        header, rows = _table(text)
    except csv.Error as error:
        raise InputError(f"{name}: not a CSV list: {error}") from error
    column = next((column for column in PATH_COLUMNS if column in header), None)
    if column is None:
        if name != "stdin":
            raise InputError(f"{name}: no column {PATH_COLUMNS[0]!r}", _header_hint(header))
        # Not splitlines: a name may hold what Unicode calls a line break, and spaces at its ends.
        lines = (line.removesuffix("\r") for line in text.split("\n"))
        return [(base / _listed(line), "") for line in lines if line.strip()]
    if group_column is not None and group_column not in header:
        raise InputError(f"{name}: no column {group_column!r}", f"it has {', '.join(header)}")
    group = group_column or "group"
    found = [(base / _listed(row[column]), _text(row.get(group))) for row in rows if row[column]]
    if not found:
        raise InputError(f"{name}: a list without images", f"write their paths under {column!r}, one a line")
    return found


def _table(text: str) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a CSV, separated by what makes a path column of the header.

    Spaces around the names of columns are not part of them, nor spaces after each separator where the
    header has them. Excel's first line `sep=;` says the separator.
    """
    said = re.match(r"sep=(.)\r?\n", text)
    delimiters = (said[1],) if said else _DELIMITERS
    text = text[said.end() :] if said else text
    header: list[str] = []
    for delimiter in delimiters:
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        spaced = any(name.startswith(" ") for name in first[1:])
        names = [name.strip() for name in first]
        if not header or any(column in names for column in PATH_COLUMNS):
            header = names
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=spaced)
        if any(column in names for column in PATH_COLUMNS):
            break
    if not any(column in header for column in PATH_COLUMNS):
        return header, []
    next(rows, None)
    return header, [dict(zip(header, [*row, *[""] * len(header)], strict=False)) for row in rows]


def _header_hint(header: Sequence[str]) -> str:
    """What to do about a list without a path column."""
    if header:
        return f"its first line has {', '.join(header)}; add a header line"
    return "the file is empty; write a header line and the paths of images"


def _listed(path: str) -> Path:
    return path_of(expanded(path))


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
