"""PNG files that other programs write, with more than Pillow takes beside their pixels."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from origcli.images import png_chunks
from origcli.images.reading import decode_picture
from tests.images.makers import chunk
from tests.images.test_reading import RED, WHITE, picture, swapped_profile


def png(*chunks: bytes, late: bytes = b"", size: tuple[int, int] = (8, 8)) -> bytes:
    """A red PNG with more chunks before its pixels, and after them."""
    body = zlib.compress(b"".join(b"\0" + bytes(RED) * size[0] for _ in range(size[1])))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return png_chunks.SIGNATURE + head + b"".join(chunks) + chunk(b"IDAT", body) + late + chunk(b"IEND", b"")


LARGE = zlib.compress(b'{"node": 1}' * 300_000)
TEXTS = {
    "a workflow": chunk(b"zTXt", b"workflow\0\0" + LARGE),
    "an edit history": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
    "a plain one": chunk(b"tEXt", b"prompt\0" + b"a" * 3_000_000),
    "many small ones": b"".join(chunk(b"tEXt", b"k%d\0" % i + b"a" * 900_000) for i in range(80)),
    "a damaged one": chunk(b"zTXt", b"k\0\0" + b"not zlib"),
    "an empty one": chunk(b"zTXt", b""),
}


@pytest.mark.fault(4, "a PNG with a large text is read: texts are no part of the image")
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("late", [False, True])
def test_texts_of_any_size(name: str, late: bool) -> None:
    data = png(late=TEXTS[name]) if late else png(TEXTS[name])
    image, facts = decode_picture(data, "a.png")
    assert image.getpixel((4, 4)) == RED and facts["conversions"] == []


def test_a_plain_file_is_not_copied() -> None:
    data = png(chunk(b"tEXt", b"prompt\0a cat"))
    assert png_chunks.lightened(data) == (data, None) and png_chunks.lightened(data)[0] is data


@pytest.mark.fault(4, "a large color profile is used, not refused")
def test_a_large_color_profile_is_used() -> None:
    profile = swapped_profile() + os.urandom(2_000_000)  # what follows the tags is not read
    data = png(chunk(b"iCCP", b"large\0\0" + zlib.compress(profile)))
    image, facts = decode_picture(data, "a.png")
    assert image.getpixel((4, 4)) == pytest.approx((0, 255, 0), abs=2)
    assert facts["conversions"][0].endswith("to sRGB")


def test_a_profile_that_is_a_bomb_or_damaged_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_chunks, "MAX_PROFILE", 1 << 21)
    for body in (zlib.compress(bytes(1 << 22)), b"not zlib"):
        image, facts = decode_picture(png(chunk(b"iCCP", b"x\0\0" + body)), "a.png")
        assert image.getpixel((4, 4)) == RED and facts["conversions"] == ["damaged icc profile not used"]
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    _, facts = decode_picture(png(chunk(b"iCCP", b"x\0\0" + zlib.compress(srgb))), "a.png")
    assert facts["conversions"] == ["icc profile is sRGB"]


def keyed(depth: int, color: int, row: bytes, key: bytes, width: int) -> bytes:
    """A PNG of one line with one transparent color."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return png_chunks.SIGNATURE + head + chunk(b"tRNS", key) + body + chunk(b"IEND", b"")


@pytest.mark.fault(4, "its transparent color is found at every depth of bits")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (keyed(1, 0, b"\x0f", b"\0\0", 8), [WHITE] * 8),
        (keyed(2, 0, bytes([0b00011011]), b"\0\1", 4), [(0,) * 3, WHITE, (170,) * 3, WHITE]),
        (keyed(4, 0, b"\x5f", b"\0\5", 2), [WHITE, WHITE]),
        (keyed(8, 0, b"\x05\x06", b"\0\5", 2), [WHITE, (6,) * 3]),
        (keyed(16, 0, struct.pack(">HH", 0x1234, 0x2000), b"\x12\x34", 2), [WHITE, (32,) * 3]),
        (keyed(8, 2, bytes([1, 2, 3, 4, 5, 6]), struct.pack(">3H", 1, 2, 3), 2), [WHITE, (4, 5, 6)]),
        (
            keyed(16, 2, struct.pack(">6H", 300, 301, 0, 999, 999, 999), struct.pack(">3H", 300, 301, 0), 2),
            [WHITE, (3,) * 3],
        ),
    ],
)  # fmt: skip
def test_a_transparent_color_at_every_depth(data: bytes, expected: list[tuple[int, ...]]) -> None:
    image, facts = decode_picture(data, "a.png")
    assert [image.getpixel((x, 0)) for x in range(image.width)] == expected
    assert "alpha on white" in facts["conversions"]


def test_cut_anywhere_it_is_an_answer_or_none() -> None:
    data = png(TEXTS["a workflow"], chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2_000_000))))
    for end in range(0, 120):
        png_chunks.lightened(data[:end])
        png_chunks.transparent_color(data[:end])


def test_a_picture_of_pillow_is_untouched() -> None:
    import io

    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    read, _ = decode_picture(buffer.getvalue(), "a.png")
    assert np.array_equal(np.asarray(read), np.asarray(picture()))
    assert isinstance(read, Image.Image)
