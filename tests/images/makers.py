"""Archives, tables and images for the tests of what images are read from."""

import io
import struct
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

COLORS = ("red", "green", "blue", "white")


def png(color: str = "red", size: int = 8) -> bytes:
    """A PNG file of one color."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), color).save(buffer, "PNG")
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tar(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """A tar of files, and of other members as they are."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def parquet(path: Path, columns: Mapping[str, Any], rows_a_group: int = 1000) -> Path:
    """A Parquet file of columns of Python values."""
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.table(dict(columns)), path, row_group_size=rows_a_group)
    return path


def embedded(*images: bytes | None) -> list[dict[str, Any] | None]:
    """A column of images as `datasets` embeds them."""
    return [None if data is None else {"bytes": data, "path": None} for data in images]
