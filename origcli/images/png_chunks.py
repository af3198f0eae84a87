"""PNG files before Pillow sees them: texts of any size, large color profiles, and the transparent color.

Pillow refuses a whole image for a compressed text or a color profile of more than a megabyte, and compares
the transparent color with pixels that it has scaled. Large texts are common (workflows, edit histories)
and say nothing about the pixels.
"""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE = 1 << 26
_MAX_TEXT = 1 << 20  # of one chunk, and of all that are kept
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_GRAY, _RGB = 0, 2  # color types


def is_png(data: bytes) -> bool:
    """Whether these are the bytes of a PNG file."""
    return data.startswith(SIGNATURE)


def lightened(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG file without the texts that Pillow would refuse it for, and its color profile if that is large.

    Returns:
        The file, itself where nothing is to be left out; the unpacked profile that was taken out of it, empty
        if it is larger than `MAX_PROFILE`; `None` where it stays in the file or there is none.
    """
    out: list[tuple[int, int]] = []
    profile: bytes | None = None
    room = _MAX_TEXT
    for kind, start, end in _chunks(data):
        body = data[start + 8 : end - 4] if kind in (*_TEXTS, b"iCCP") else b""
        if kind in _TEXTS:
            room -= len(_unpacked_text(kind, body, _MAX_TEXT + 1))
            if room < 0:
                out.append((start, end))
        elif kind == b"iCCP":
            large = _unpacked(body.partition(b"\0")[2][1:], MAX_PROFILE + 1)
            if len(large) > _MAX_TEXT:
                out.append((start, end))
                profile = large if len(large) <= MAX_PROFILE else b""
    return _without(data, out), profile


def transparent_color(data: bytes) -> int | tuple[int, int, int] | None:
    """The color that is transparent, on the scale of the pixels that Pillow gives.

    Pillow gives 1-, 2- and 4-bit gray as 0 to 255 and 16-bit RGB as its high bytes, but the color as stored.

    Returns:
        A gray value or RGB; `None` where Pillow's own is right, or nothing is transparent so.
    """
    if not is_png(data) or len(data) < 26:
        return None
    depth, color = data[24], data[25]
    if not ((color == _GRAY and depth < 8) or (color == _RGB and depth == 16)):
        return None
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            return None
        if kind == b"tRNS":
            body = data[start + 8 : end - 4]
            if color == _GRAY and len(body) == 2:
                return int.from_bytes(body, "big") * 255 // ((1 << depth) - 1)
            if color == _RGB and len(body) == 6:
                return body[0], body[2], body[4]
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte and end of each whole chunk."""
    start = len(SIGNATURE)
    while is_png(data) and start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            return
        yield kind, start, end
        start = end


def _unpacked_text(kind: bytes, body: bytes, limit: int) -> bytes:
    """A text as it is in memory, up to `limit` bytes."""
    if kind == b"zTXt":
        return _unpacked(body.partition(b"\0")[2][1:], limit)
    compressed = body.partition(b"\0")[2][:1] == b"\1"
    if kind == b"iTXt" and compressed:
        return _unpacked(body.partition(b"\0")[2][2:].split(b"\0", 2)[-1], limit)
    return body[:limit]


def _unpacked(data: bytes, limit: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, limit)
    except zlib.error:  # Pillow passes over what is damaged
        return b""


def _without(data: bytes, parts: list[tuple[int, int]]) -> bytes:
    kept, at = [], 0
    for start, end in parts:
        kept.append(data[at:start])
        at = end
    return b"".join([*kept, data[at:]]) if parts else data
