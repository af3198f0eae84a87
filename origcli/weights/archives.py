"""Zip archives from the network, unpacked into a directory that appears whole or not at all."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from origcli.errors import ModelError, StorageError
from origcli.runtime.atomic import atomic_directory, make_directory

MAX_FILES = 10_000
MAX_BYTES = 16 << 30
MAX_RATIO = 100  # weights hardly compress; a bomb does by thousands

_CHUNK = 1 << 20


def unpack(archive: Path, directory: Path) -> None:
    """Unpacks a zip of plain files.

    Args:
        archive: the zip.
        directory: takes the archive's files; must not exist yet.

    Raises:
        ModelError: not a zip, damaged, a member that would land elsewhere, is a link or is encrypted, or an
            archive that unpacks to more than weights could.
        StorageError: no room.
    """
    make_directory(directory.parent)
    with atomic_directory(directory) as staging:
        _extract(archive, staging)


def _extract(archive: Path, staging: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            _check(archive, members)
            _check_room(staging.parent, sum(member.file_size for member in members))
            for member in members:
                _write(file, member, staging / member.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, IndexError) as error:
        # NotImplementedError is zipfile's, for a compression that it does not know.
        raise ModelError(f"{archive}: damaged archive: {error}", "download it again") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise ModelError(
            f"{archive}: damaged archive: a file is also a directory", "download it again"
        ) from error


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Looks at the table of contents alone, before a byte is unpacked."""
    names = [member.filename for member in members]
    total = sum(member.file_size for member in members)
    reason = ""
    if not members:
        reason = "is empty"
    elif len(members) > MAX_FILES:
        reason = f"holds {len(members):,} files"
    elif total > min(MAX_BYTES, MAX_RATIO * archive.stat().st_size):
        reason = f"would unpack to {total:,} bytes"
    elif len(set(names)) < len(names):
        reason = "names a file twice"
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
            reason = f"names a place outside of itself: {member.filename!r}"
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            reason = f"holds something that is no plain file: {member.filename!r}"
        elif member.flag_bits & 1:
            reason = f"is encrypted: {member.filename!r}"
    if reason:
        raise ModelError(f"{archive}: refused: the archive {reason}")


def _check_room(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise StorageError(
            f"{directory}: {needed:,} bytes are needed to unpack and {free:,} are free",
            "free some space, or set ORIGCLI_CACHE to another disk",
        )


def _write(file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Copies one member; never more bytes than its entry declares, whatever the stream holds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with file.open(member) as source, target.open("xb") as sink:
        left = member.file_size
        while chunk := source.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise zipfile.BadZipFile(f"{member.filename!r} is longer than it says")
            sink.write(chunk)
    if left:
        raise zipfile.BadZipFile(f"{member.filename!r} is shorter than it says")
