"""WebDataset tars: each image of an archive, with its caption and group from the files beside it.

The archive is never unpacked. Its headers are read once, and an image is read from its place in the file when
it is wanted. So a name in it leads nowhere, and a damaged archive costs what is missing.
"""

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from origcli.errors import InputError
from origcli.files import open_file, read_file
from origcli.images.formats import SUFFIXES, UNSUPPORTED, is_image_name
from origcli.images.sources import CAPTION_COLUMNS, INSIDE, Found, Missing, Remarks, counted
from origcli.runtime import interrupts
from origcli.runtime.paths import path_text

SUFFIX = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
CAPTIONS = (".txt", ".caption", ".text")  # suffixes of the file with the caption

_LARGEST_TEXT = 1 << 20  # bytes of a caption or record
_SIDE = (*CAPTIONS, ".json")


@dataclass(frozen=True)
class TarMember:
    """An image in a tar.

    Attributes:
        tar: the archive.
        name: of the image in it.
        offset, size: where its bytes are.
    """

    tar: Path
    name: str
    offset: int
    size: int

    @property
    def where(self) -> str:
        """`shards/00000.tar::000012.png`."""
        return path_text(f"{self.tar}{INSIDE}{self.name}")

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            InputError: the archive is gone, or ends before them.
        """
        data = read_file(self.tar, offset=self.offset, size=self.size)
        if len(data) < self.size:
            raise InputError(
                f"{self.where}: truncated: the archive ends after {len(data)} of its {self.size} bytes",
                "download or copy the archive again",
            )
        return data


@dataclass
class _Contents:
    """What was found in an archive."""

    images: list[TarMember]
    side: dict[str, TarMember]  # captions and records by their names
    left_out: Counter[tuple[str, str]]  # by what one is called, and several
    problem: str = ""


def list_tar(path: Path, group_key: str | None, remarks: Remarks, captions: bool = False) -> list[Found]:
    """The images of a tar in their order; the folder of each is its group.

    An archive that is damaged gives the images up to there, and one entry that stands for the rest.

    Args:
        group_key: the key of the JSON file beside each image that holds its group, instead of its folder.
        captions: read those, too.

    Raises:
        InputError: it is no tar, is compressed, or holds no image.
    """
    contents = _contents(path)
    if contents.left_out:
        listed = ", ".join(counted(number, *words) for words, number in sorted(contents.left_out.items()))
        remarks.leave_out(path, listed)
    if not contents.images and not contents.problem:
        raise InputError(f"{path}: no images in this archive", f"supported: {', '.join(sorted(SUFFIXES))}")
    found = [_found(member, contents.side, group_key, captions) for member in contents.images]
    if contents.problem:
        problem = f"{path}: {contents.problem}; what follows the first {len(found)} images cannot be read"
        rest = Missing(path_text(path), problem, "download or copy the archive again")
        found.append(Found(rest, stem=f"{path.stem}-rest"))
    return found


def _contents(path: Path) -> _Contents:
    contents = _Contents([], {}, Counter())
    try:
        with open_file(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in _members(tar, contents):
                    _sort(path, member, contents)
                end = min(tar.offset, size)
            file.seek(end)
            if not contents.problem and any(file.read(tarfile.BLOCKSIZE)):
                contents.problem = f"damaged at byte {end}"  # something else than a header or the end
    except tarfile.TarError as error:
        raise InputError(f"{path}: not a tar archive: {error}", "give an uncompressed .tar") from error
    if contents.images and contents.images[-1].offset + contents.images[-1].size > size:
        contents.problem = ""  # this image says itself that it is truncated
    return contents


def _members(tar: tarfile.TarFile, contents: _Contents) -> Iterator[tarfile.TarInfo]:
    """The members one by one, none of them kept, up to where the archive is damaged."""
    while True:
        interrupts.check()
        try:
            member = tar.next()
        except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
            if tar.offset == 0:
                raise tarfile.ReadError(str(error)) from error
            contents.problem = f"truncated or damaged: {error}"
            return
        if member is None:
            return
        tar.members.clear()  # type: ignore[attr-defined]  # they would fill the memory
        yield member


def _sort(path: Path, member: tarfile.TarInfo, contents: _Contents) -> None:
    """Puts a member where it belongs."""
    name = PurePosixPath(member.name)
    suffix = name.suffix.lower()
    if member.isdir():
        return
    if name.name.startswith("."):
        if is_image_name(name):
            contents.left_out["hidden image", "hidden images"] += 1
    elif not member.isreg() or member.issparse():
        contents.left_out["link or special file", "links or special files"] += 1
    elif is_image_name(name):
        contents.images.append(TarMember(path, member.name, member.offset_data, member.size))
    elif suffix in _SIDE:
        contents.side[member.name] = TarMember(path, member.name, member.offset_data, member.size)
    elif suffix in UNSUPPORTED:
        contents.left_out[(f"{UNSUPPORTED[suffix]} (not supported)",) * 2] += 1
    else:
        name_of = suffix or "without a suffix"
        contents.left_out[f"{name_of} (not an image)", f"{name_of} (not images)"] += 1


def _found(member: TarMember, side: Mapping[str, TarMember], group_key: str | None, captions: bool) -> Found:
    """An image with what the files of its key say: all up to the first dot of its name."""
    name = PurePosixPath(member.name)
    key = str(name.with_name(name.name.partition(".")[0]))
    record = _record(side.get(f"{key}.json")) if captions or group_key is not None else {}
    caption = next(filter(None, _captions(key, side, record)), "") if captions else ""
    folder = "/".join(part for part in name.parent.parts if part not in ("/", "..", "."))
    group = folder if group_key is None else str(record.get(group_key) or "")
    return Found(member, group.strip().strip("/"), name.stem, caption)


def _captions(key: str, side: Mapping[str, TarMember], record: Mapping[str, Any]) -> Iterator[str]:
    yield from (_text(side[f"{key}{suffix}"]) for suffix in CAPTIONS if f"{key}{suffix}" in side)
    yield from (str(record[name]) for name in CAPTION_COLUMNS if record.get(name))


def _record(member: TarMember | None) -> dict[str, Any]:
    if member is None:
        return {}
    try:
        record = json.loads(_text(member))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _text(member: TarMember) -> str:
    """The text of a small file; empty where it is none."""
    if member.size > _LARGEST_TEXT:
        return ""
    try:
        return member.read().decode("utf-8", "replace").strip()
    except InputError:
        return ""
