"""Which images a command works on: files, directories, globs, lists, archives, data sets, addresses, stdin.

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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from origcli.errors import InputError
from origcli.files import decoded, expanded, read_file, read_text
from origcli.images import hub_datasets, tables, tars
from origcli.images.formats import HEIC, SUFFIXES, UNSUPPORTED, is_image_name
from origcli.images.sources import (
    CAPTION_COLUMNS,
    Found,
    Missing,
    Remarks,
    Say,
    Source,
    counted,
    where_is,
)
from origcli.images.web import WebImage, is_address
from origcli.reports.envelope import LeftOut
from origcli.runtime import interrupts
from origcli.runtime.paths import path_of

PATH_COLUMNS = ("path", "file_name", "file", "image", "url")
STDIN = "-"
_NAME_LENGTH = 40
_ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_DELIMITERS = (",", ";", "\t")  # a semicolon is Excel's, where the comma is the decimal sign


@dataclass(frozen=True)
class Input:
    """One image to work on.

    Attributes:
        source: its file, or what else gives its content; no two of a list are the same.
        name: unique in its list; lower-case letters, digits and dashes, fit for file names and placeholders.
        group: the set that it belongs to, such as `common` or `houses/common`; empty for none.
    """

    source: Path | Source
    name: str
    group: str = ""

    @property
    def where(self) -> str:
        """How reports and errors name it."""
        return where_is(self.source)

    @property
    def path(self) -> Path:
        """Its file, of an image that is one."""
        assert isinstance(self.source, Path), f"{self.where} is no file"
        return self.source


@dataclass(frozen=True)
class Reading:
    """How lists and data sets are read.

    Attributes:
        group_column: the column of lists and tables that holds the group, or the key of `metadata.jsonl` and
            of a tar's JSON files.
        image_column: the column of tables that holds the images, where there are several.
        follow_links: take images that a symbolic link brings in from outside of a directory.
        offline: load no data set from the network.
        captions: read captions, too.
    """

    group_column: str | None = None
    image_column: str | None = None
    follow_links: bool = False
    offline: bool = False
    captions: bool = False


def find_inputs(
    arguments: Sequence[str | Found],
    *,
    group_column: str | None = None,
    image_column: str | None = None,
    follow_links: bool = False,
    offline: bool = False,
    say: Say = lambda message: None,
    stdin: BinaryIO | None = None,
    left_out: list[LeftOut] | None = None,
) -> list[Input]:
    """Images named by a command's arguments, in a fixed order.

    An argument is an image; a directory, searched in depth, with its folders as groups; a data set
    directory (one with `metadata.jsonl`), with `category` as group; a quoted glob; a `.csv` list with a
    column `path` and, if wanted, `group`; a WebDataset `.tar`; a `.parquet` file; `hf:` and the name of a
    data set of `datasets`; an http or https address; or `-`, which reads paths (a line or a NUL each) or
    such a list from stdin. Paths in a list are relative to the list. An image that was found already is
    itself.

    Args:
        arguments: as given on the command line.
        group_column, image_column, follow_links, offline: as of `Reading`.
        say: where remarks about skipped files go.
        stdin: bytes to read for `-`; the process's own when `None`.
        left_out: takes what folders and archives hold beside the images.

    Raises:
        InputError: an argument leads to no image, or a list cannot be read.
    """
    how = Reading(group_column, image_column, follow_links, offline)
    remarks = Remarks(say)
    found: list[Found] = []
    for argument in arguments:
        if isinstance(argument, Found):
            found.append(argument)
            continue
        if argument == STDIN:
            text = decoded(_read_stdin(stdin), "surrogateescape")
            entries = _from_text(text, Path(), group_column, "stdin")
        else:
            entries = _from_argument(argument, how, remarks)
        if not entries:
            raise InputError(f"{argument}: no images found", f"supported: {', '.join(sorted(SUFFIXES))}")

        # Several folders on one command line are groups themselves: `score common original`.
        folder = path_of(expanded(argument))
        if len(arguments) > 1 and argument != STDIN and folder.is_dir():
            stem = folder.resolve().name
            entries = [image._replace(group="/".join(filter(None, (stem, image.group)))) for image in entries]
        found.extend(entries)

    images: dict[Path | str, Found] = {}
    for image in found:
        images.setdefault(_identity(image.source), image)
    if len(images) < len(found):
        again = len(found) - len(images)
        say(f"{counted(again, 'image')} given twice {'is' if again == 1 else 'are'} used once")
    if left_out is not None:
        left_out += remarks.left_out

    _require_one([image.source for image in images.values()])
    return list(_named(images.values()))


def _identity(source: Path | Source) -> Path | str:
    """What is equal for sources of the same image."""
    return source if isinstance(source, Path) else source.where


def find_captioned(
    argument: str,
    say: Say = lambda message: None,
    image_column: str | None = None,
    offline: bool = False,
    left_out: list[LeftOut] | None = None,
) -> list[tuple[Path | Source, str]] | None:
    """Images with their captions, of a list or a data set that has some.

    That is an imagefolder's `metadata.jsonl`, a CSV list, a tar, a Parquet file, a data set of `datasets`.
    The captions are the column `caption` or `text`; in a tar, the text file beside each image.

    Args:
        argument: as given on the command line.
        say, image_column, offline: as of `find_inputs`.
        left_out: takes what is held beside them, images without a caption too.

    Returns:
        Images and captions, and what is missing of an archive with an empty one; `None` where the argument
        has no captions.

    Raises:
        InputError: the list cannot be read.
    """
    path = path_of(expanded(argument))
    remarks = Remarks(say)
    found: list[Found] = []
    if _is_container(argument, path):
        how = Reading(image_column=image_column, offline=offline, captions=True)
        found = _from_argument(argument, how, remarks)
    elif (path / "metadata.jsonl").is_file():
        listed = _first_captioned(_from_metadata(path, column) for column in CAPTION_COLUMNS)
        if listed:
            found = _inside(listed, path, follow_links=False, remarks=remarks)
            _leave_out_unlisted(path, listed, remarks)
    elif path.suffix.lower() == ".csv" and path.is_file():
        text = read_text(path, errors="surrogateescape")
        columns = [column for column in CAPTION_COLUMNS if column in _table(text)[0]]
        found = _first_captioned(_from_text(text, path.parent, column, str(path)) for column in columns)
    if not any(image.caption for image in found):
        return None
    captioned = [
        (image.source, image.caption)
        for image in found
        if image.caption or isinstance(image.source, Missing)  # what was lost may have had one
    ]
    if bare := len(found) - len(captioned):
        remarks.leave_out(path, counted(bare, "image without a caption", "images without a caption"))
    if left_out is not None:
        left_out += remarks.left_out
    return captioned


def _first_captioned(lists: Iterable[list[Found]]) -> list[Found]:
    """The first list that has captions, which it was read with as its groups; empty where none has."""
    for listed in lists:
        if any(image.group for image in listed):
            return [image._replace(caption=image.group) for image in listed]
    return []


def _require_one(sources: Sequence[Path | Source]) -> None:
    """If not one of the images exists, this is the wrong command line: say so before any work."""
    files = [source for source in sources if isinstance(source, Path)]
    if len(files) == len(sources) and not any(os.path.lexists(path) for path in files):
        others = "the other one" if len(files) == 2 else f"any of the {len(files) - 1} others"
        more = f" (nor {others})" if len(files) > 1 else ""
        raise InputError(f"{files[0]}: no such file{more}", "give images, directories or a list")


def _is_container(argument: str, path: Path) -> bool:
    """Whether an argument is an archive, a table or a data set of `datasets`."""
    if argument.startswith(hub_datasets.PREFIX):
        return True
    if path.is_dir():
        return any((path / name).is_file() for name in hub_datasets.SAVED)
    return path.name.lower().endswith((tars.SUFFIX, tables.SUFFIX, *tars.COMPRESSED)) and path.is_file()


def _from_argument(argument: str, how: Reading, remarks: Remarks) -> list[Found]:
    if is_address(argument):
        return [_at(argument, typed=True)]
    if _ADDRESS.match(argument):
        raise InputError(
            f"{argument}: only http and https addresses are read",
            "download the image first, and give the file",
        )
    path = path_of(expanded(argument))
    if _is_container(argument, path):
        return _from_container(argument, path, how, remarks)
    if path.is_dir():
        if (path / "metadata.jsonl").is_file():
            found = _from_metadata(path, how.group_column or "category")
            inside = _inside(found, path, how.follow_links, remarks)
            _leave_out_unlisted(path, found, remarks)
            return inside
        return _from_directory(path, how.follow_links, remarks)
    if path.suffix.lower() == ".csv" and path.is_file():
        text = read_text(path, errors="surrogateescape")
        return _from_text(text, path.parent, how.group_column, str(path))
    if glob.has_magic(argument) and not os.path.lexists(path):
        return _from_glob(str(path), how, remarks)
    return [Found(path)]


def _from_container(argument: str, path: Path, how: Reading, remarks: Remarks) -> list[Found]:
    """The images of an archive, a table or a data set of `datasets`."""
    if argument.startswith(hub_datasets.PREFIX) or path.is_dir():
        words = argument.removeprefix(hub_datasets.PREFIX)
        return hub_datasets.list_dataset(
            words, how.group_column, how.image_column, remarks.say, how.offline, how.captions
        )
    if path.suffix.lower() == tables.SUFFIX:
        return tables.list_parquet(path, how.group_column, how.image_column, how.captions)
    if path.suffix.lower() == tars.SUFFIX:
        return tars.list_tar(path, how.group_column, remarks, how.captions)
    raise InputError(f"{path}: a compressed archive", "uncompress it: images gain nothing from it")


def _at(address: str, typed: bool) -> Found:
    image = WebImage(address, typed)
    return Found(image, stem=image.stem)


def _from_directory(root: Path, follow_links: bool, remarks: Remarks) -> list[Found]:
    """All images under a directory by the order of their names; the folder of each is its group."""
    images: list[Path] = []
    others: list[Path] = []
    for path in _files(root, follow_links, remarks):
        (images if is_image_name(path) else others).append(path)
    _leave_out_others(root, others, remarks)
    return _inside([Found(path, _group_of(path, root)) for path in images], root, follow_links, remarks)


def _files(root: Path, follow_links: bool, remarks: Remarks) -> Iterator[Path]:
    """The files under a directory that are not hidden, folder by folder; each real folder once.

    Links that lead upwards, or to a folder that was searched before, would make a search without end.
    """
    searched: set[tuple[int, int]] = set()
    unreadable: list[OSError] = []
    again = unfollowed = hidden = 0
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
        hidden += sum(name.startswith(".") and is_image_name(Path(name)) for name in files)
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))
    for problem in unreadable:
        remarks.leave_out(root, f"a folder that cannot be read: {problem.filename}: {problem.strerror}")
    if hidden:
        remarks.leave_out(root, counted(hidden, "image hidden by its name", "images hidden by their names"))
    if again:
        remarks.leave_out(
            root, counted(again, "link to a folder searched before", "links to folders searched before")
        )
    if unfollowed:
        links = counted(unfollowed, "link to a folder outside", "links to folders outside")
        remarks.leave_out(root, links, "--follow-links includes them")


def _leads_out(folder: Path, root: Path) -> bool:
    """Whether a folder is a link to one that the search of `root` does not come to."""
    return folder.is_symlink() and not _is_within(os.path.realpath(folder), os.path.realpath(root))


def _leave_out_others(root: Path, others: Sequence[Path], remarks: Remarks) -> None:
    """Names what a folder holds beside its images: formats that are not read, archives, and the rest."""
    held = [path for path in others if path.suffix.lower() in (tars.SUFFIX, tables.SUFFIX)]
    if held:
        archives = counted(len(held), "archive or table", "archives and tables")
        remarks.leave_out(root, archives, f"name them to read them: {held[0]}")
    others = [path for path in others if path not in held]
    formats = Counter(UNSUPPORTED.get(path.suffix.lower(), "") for path in others)
    rest = formats.pop("", 0)
    if formats:
        listed = ", ".join(f"{number} {name}" for name, number in sorted(formats.items()))
        extra = f"; HEIC: {HEIC.remedy}" if HEIC.name in formats else ""
        files = counted(
            sum(formats.values()), "file in an unsupported format", "files in unsupported formats"
        )
        remarks.leave_out(root, f"{files}: {listed}", f"convert them to PNG or JPEG{extra}")
    if rest:
        kinds = sorted({path.suffix.lower() or "no suffix" for path in others} - UNSUPPORTED.keys())
        shown = ", ".join(kinds[:5]) + (", …" if len(kinds) > 5 else "")
        files = counted(rest, "file that is not an image", "files that are not images")
        remarks.leave_out(root, f"{files}: {shown}")


def _leave_out_unlisted(root: Path, listed: Sequence[Found], remarks: Remarks) -> None:
    """Tells of images beside a `metadata.jsonl` that it does not name."""
    named = {image.source for image in listed}
    unlisted = [path for path in _files(root, False, remarks) if is_image_name(path) and path not in named]
    if unlisted:
        images = counted(len(unlisted), "image:", "images, the first")
        remarks.leave_out(root, f"{images} {unlisted[0].name}, not in metadata.jsonl")


def _inside(found: list[Found], root: Path, follow_links: bool, remarks: Remarks) -> list[Found]:
    """Those images of a directory that neither a link nor their name leads out of it."""
    if follow_links:
        return found
    real = os.path.realpath(root)
    inside = [image for image in found if _is_within(os.path.realpath(_file_of(image.source)), real)]
    if len(inside) < len(found):
        links = counted(len(found) - len(inside), "link that leads out of it", "links that lead out of it")
        remarks.leave_out(root, links, "--follow-links includes them")
    return inside


def _file_of(source: Path | Source) -> Path:
    """The file that an image of a directory is, or that holds it."""
    return source.tar if isinstance(source, tars.TarMember) else cast(Path, source)


def _is_within(path: str, root: str) -> bool:
    return os.path.commonpath([path, root]) == root


def _group_of(path: Path, root: Path) -> str:
    folder = path.parent.relative_to(root).as_posix()
    return "" if folder == "." else folder


def _from_glob(pattern: str, how: Reading, remarks: Remarks) -> list[Found]:
    """Images that match, and those in archives and tables that match; the folders below the part without
    wildcards are the groups."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    found: list[Found] = []
    others: list[Path] = []
    for path in sorted(root.glob(str(Path(*parts[fixed:])))):
        if is_image_name(path):
            found.append(Found(path, _group_of(path, root)))
        elif path.is_file() and _is_container(str(path), path):
            found += _from_container(str(path), path, how, remarks)
        elif path.is_file():
            others.append(path)
    _leave_out_others(Path(pattern), others, remarks)
    return found


def _from_metadata(root: Path, group_key: str) -> list[Found]:
    """The images of a data set directory, as `datasets` calls an imagefolder; of `origcli synth` in shards,
    too."""
    path = root / "metadata.jsonl"
    try:
        rows = [json.loads(line) for line in read_file(path).splitlines() if line.strip()]
        return [
            Found(_listed_file(root, row), _text(row.get(group_key)), PurePosixPath(row["file_name"]).stem)
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a data set's metadata: {error}") from error


def _listed_file(root: Path, row: dict[str, Any]) -> Path | Source:
    """The image of a line of metadata."""
    if b"\0" in os.fsencode(row["file_name"]):
        raise ValueError("a NUL in a file name")
    if "shard" not in row:
        return root / row["file_name"]
    return tars.TarMember(root / row["shard"], row["file_name"], int(row["offset"]), int(row["size"]))


def _read_stdin(stdin: BinaryIO | None) -> bytes:
    return (stdin or sys.stdin.buffer).read()


def _from_text(text: str, base: Path, group_column: str | None, name: str) -> list[Found]:
    """A CSV list if the first line is a header that names a path column, else a path a line (or a NUL)."""
    if "\0" in text:
        return [_listed(base, entry) for entry in text.split("\0") if entry.strip()]
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
        return [_listed(base, line) for line in lines if line.strip()]
    if group_column is not None and group_column not in header:
        raise InputError(f"{name}: no column {group_column!r}", f"it has {', '.join(header)}")
    group = group_column or "group"
    found = [_listed(base, row[column], _text(row.get(group))) for row in rows if row[column]]
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


def _listed(base: Path, entry: str, group: str = "") -> Found:
    """An entry of a list: an address, or a path relative to the list."""
    if is_address(entry):
        return _at(entry.strip(), typed=False)._replace(group=group)
    return Found(base / path_of(expanded(entry)), group)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip().strip("/")


def _named(found: Iterable[Found]) -> Iterator[Input]:
    """Gives each image a name from its file's, with a number where two would share it."""
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for source, group, called, _ in found:
        name = stem = slug(called or (source.stem if isinstance(source, Path) else ""))
        while name in taken:
            numbers[stem] += 1
            name = f"{stem}-{numbers[stem] + 1}"
        taken.add(name)
        yield Input(source, name, group)


def slug(text: str) -> str:
    """Text as lower-case ASCII letters, digits and dashes; `image` where nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:_NAME_LENGTH].strip("-") or "image"
