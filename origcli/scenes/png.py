"""PNG files of flat images, written and read faster than Pillow does: no filter, and ISA-L for zlib.

Pillow tries five filters a row, and zlib takes six times as long as ISA-L for files of the same size. The
bytes of a file may differ between kinds of processors, which ISA-L tells apart; its pixels never do.
"""

import struct
import zlib
from functools import cache

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from origcli.errors import InputError

Pixels = npt.NDArray[np.uint8]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB8 = bytes((8, 2, 0, 0, 0))  # 8 bits, RGB, and the only compression, filtering and order there is
# A file of a small image fills no block of a disk anyway; larger ones become a third smaller.
_SMALL = 128
_LEVEL_OF_SMALL, _LEVEL = 0, 1
_MOST_PIXELS = 1 << 26  # a larger one, which a header can merely claim, is left to who looks closer
_DATA = 41  # where the first byte of IDAT is, right after signature, IHDR and IDAT's own head
_TAIL = 16  # IDAT's checksum and the whole of IEND


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def _head(width: int, height: int) -> bytes:
    return _SIGNATURE + _chunk(b"IHDR", struct.pack(">II", width, height) + _RGB8)


_END = _chunk(b"IEND", b"")


def blank_lines(count: int, resolution: int) -> Pixels:
    """White square images as PNG holds them, each line after the number of its filter: 0, none.

    Returns:
        uint8 (n, h, 1 + 3 w).
    """
    lines = np.full((count, resolution, 1 + 3 * resolution), 255, dtype=np.uint8)
    lines[:, :, 0] = 0
    return lines


def encode_lines(lines: Pixels) -> bytes:
    """The PNG file of lines without a filter, uint8 (h, 1 + 3 w), contiguous."""
    height, width = lines.shape[0], (lines.shape[1] - 1) // 3
    body = isal_zlib.compress(lines, _LEVEL_OF_SMALL if width <= _SMALL else _LEVEL)
    return _head(width, height) + _chunk(b"IDAT", body) + _END


def encode_png(pixels: Pixels) -> bytes:
    """The PNG file of an image, uint8 (h, w, 3), RGB."""
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    lines[:, 1:] = pixels.reshape(height, 3 * width)
    return encode_lines(lines)


def png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a PNG file claims; `None` where it is no PNG."""
    if not data.startswith(_SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def decode_png(data: bytes) -> Pixels:
    """The image in a PNG file: uint8 (h, w, 3), RGB.

    Files that `encode_png` did not write are read as the images of users are.

    Raises:
        OSError: the file is damaged, no PNG, or claims an enormous size.
    """
    if png_size(data) is None:
        raise OSError("not a PNG file")
    if data[12:16] == b"IHDR" and data[24:29] == _RGB8 and data[37:41] == b"IDAT":
        width, height, length = struct.unpack(">II9xI", data[16:37])
        if _DATA + length + _TAIL == len(data) and width * height <= _MOST_PIXELS:
            pixels = _decode_plainly(data, width, height)
            if pixels is not None:
                return pixels
    from origcli.images.reading import decode_picture  # rarely needed, and slow to import

    try:
        return np.array(decode_picture(data, "PNG")[0])
    except InputError as problem:
        raise OSError(problem.message) from problem


def _decode_plainly(data: bytes, width: int, height: int) -> Pixels | None:
    """The image in a file of one IDAT; `None` where its lines are filtered."""
    body = data[_DATA:-_TAIL]
    if struct.unpack(">I", data[-_TAIL : 4 - _TAIL])[0] != zlib.crc32(body, zlib.crc32(b"IDAT")):
        raise OSError("the checksum of the pixels is wrong")  # Pillow would not look
    size = height * (1 + 3 * width)
    try:
        pixels = zlib.decompressobj().decompress(body, size + 1)
    except zlib.error as error:
        raise OSError(f"the pixels are damaged: {error}") from error
    if len(pixels) != size:
        return None
    lines = np.frombuffer(pixels, dtype=np.uint8).reshape(height, 1 + 3 * width)
    return None if lines[:, 0].any() else lines[:, 1:].copy().reshape(height, width, 3)
