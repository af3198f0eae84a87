"""PNG files of ours against Pillow's, both ways."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from origcli.scenes.png import decode_png, encode_png
from origcli.scenes.rendering import render
from tests.scenes.test_rendering import scene

pictures = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))


def pillow_bytes(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


@settings(deadline=None)
@given(pictures)
def test_pillow_reads_what_we_write(pixels: np.ndarray) -> None:
    data = encode_png(pixels)
    with Image.open(BytesIO(data)) as picture:
        picture.verify()
    with Image.open(BytesIO(data)) as picture:
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), pixels)
    assert np.array_equal(decode_png(data), pixels)


@settings(deadline=None)
@given(pictures)
def test_we_read_what_pillow_writes(pixels: np.ndarray) -> None:
    assert np.array_equal(decode_png(pillow_bytes(pixels)), pixels)
    assert np.array_equal(decode_png(pillow_bytes(pixels, compress_level=0)), pixels)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damage_is_found_or_harmless(data: st.DataObject) -> None:
    """A cut or a flipped bit never gives another picture: Pillow and zlib check all that decides it."""
    pixels = render(scene(("big red full star", 0.4, 0.5)), 32)
    whole = encode_png(pixels)
    cut = data.draw(st.integers(0, len(whole) - 13))
    at, bit = data.draw(st.integers(33, len(whole) - 17)), data.draw(st.integers(0, 7))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << bit
    for damaged in (whole[:cut], bytes(flipped)):
        try:
            found = decode_png(damaged)
        except (OSError, SyntaxError, ValueError):
            continue
        assert np.array_equal(found, pixels)


def test_pixels_that_cannot_be_unpacked_are_refused() -> None:
    """Even where the checksum of the chunk is right."""
    whole = encode_png(np.zeros((4, 4, 3), dtype=np.uint8))
    body = b"x" * 9
    chunk = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    with pytest.raises(OSError, match="damaged"):
        decode_png(whole[:33] + chunk + whole[-12:])


@pytest.mark.parametrize("resolution", [64, 256])
def test_files_are_small(resolution: int) -> None:
    here = scene(("big red full star", 0.4, 0.5), ("small blue empty circle", 0.7, 0.3))
    pixels = render(here, resolution)
    assert len(encode_png(pixels)) < 1.6 * len(pillow_bytes(pixels))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises((OSError, SyntaxError, ValueError)):
        decode_png(data)
