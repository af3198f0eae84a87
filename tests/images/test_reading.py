"""Faults 1 to 5 and 27 of the fault table: pictures of every mode, and files that are none."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from origcli.errors import ExitCode, InputError
from origcli.images.formats import FORMATS
from origcli.images.reading import fit, read_image, to_srgb
from origcli.runtime.paths import path_of, path_text
from origcli.runtime.provenance import hash_file
from tests.images.makers import chunk

RED, WHITE = (255, 0, 0), (255, 255, 255)


def picture(width: int = 40, height: int = 24) -> Image.Image:
    """Left half red, right half blue, with noise enough that a compressed file has many bytes."""
    values = np.random.default_rng(0).integers(0, 60, (height, width, 3), dtype=np.uint8)
    values[:, : width // 2, 0] = 255
    values[:, width // 2 :, 2] = 255
    return Image.fromarray(values)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


@pytest.mark.fault(1, "an input error that names the file, in every format")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif", "gif", "bmp", "tiff"])
def test_every_format_is_read_and_its_truncation_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", picture(128, 128))
    image, facts = read_image(path, 32)
    assert image.mode == "RGB" and image.size == (32, 32)
    assert facts["format"] in FORMATS and (facts["width"], facts["height"]) == (128, 128)
    assert facts["sha256"] == hash_file(path)
    data = path.read_bytes()
    for share in (0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=r"damaged|truncated|unsupported image format") as caught:
            read_image(path, 32)
        assert str(path) in caught.value.message and caught.value.exit_code is ExitCode.INPUT


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@given(position=st.floats(0, 1), value=st.integers(0, 255))
def test_a_changed_byte_is_a_picture_or_an_input_error(suffix: str, position: float, value: int) -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "PNG" if suffix == "png" else "JPEG")
    data = bytearray(buffer.getvalue())
    data[int(position * (len(data) - 1))] = value
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"origcli-test-{os.getpid()}.{suffix}"
    try:
        path.write_bytes(data)
        image, _ = read_image(path, 16)
        assert image.size == (16, 16)
    except InputError:
        pass
    finally:
        path.unlink(missing_ok=True)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds one compressed line."""

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1 + 3 * 16)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rows + chunk(b"IEND", b"")


@pytest.mark.fault(2, "refused before a pixel is unpacked")
@pytest.mark.parametrize("size", [(14000, 14000), (100_000, 100_000), (1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(InputError, match="decompression bomb"):
        read_image(path, 32)


@pytest.mark.fault(3, "refused whatever its name says; no plugin for it is loaded")
@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"hello", b"\x00" * 100, b"GIF89a", b"P6 1 1 255 abc"]
)
def test_other_formats_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_image(path, 32)
    assert str(path) in caught.value.message


@pytest.mark.fault(5, "an input error that says which of them it is")
def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    expected = {"gone.png": "no such file", "empty.png": "empty", "pipe.png": "regular file", "": "directory"}
    for name, words in expected.items():
        with pytest.raises(InputError, match=words):
            read_image(tmp_path / name, 32)
    with pytest.raises(InputError):
        read_image(tmp_path / "nul\0.png", 32)


@pytest.mark.fault(4, "turned upright, once")
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_exif_turn_is_taken_once(tmp_path: Path, suffix: str, turn: int) -> None:
    upright = Image.new("RGB", (40, 24), WHITE)
    upright.paste(RED, (0, 0, 20, 12))  # top left
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[turn]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"quality": 95} if suffix in ("jpg", "webp") else {}
    image, facts = read_image(saved(tmp_path / f"a.{suffix}", stored, exif=exif, **options), 40, "squash")
    assert min(pixel(image, 5, 5)[:1]) > 230 and max(pixel(image, 5, 5)[1:]) < 40
    assert min(pixel(image, 35, 35)) > 230 and min(pixel(image, 35, 5)) > 230
    assert ("exif turn" in facts["conversions"]) == (turn > 1)


def transparent() -> Image.Image:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (4, 0, 8, 8))
    return image


@pytest.mark.fault(4, "laid on white")
@pytest.mark.parametrize(
    ("name", "image", "options"),
    [
        ("rgba.png", transparent(), {}),
        ("rgba.webp", transparent(), {"lossless": True}),
        ("palette.png", transparent().quantize(4), {}),
        ("palette.gif", transparent(), {}),
        ("key.png", Image.composite(Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), (1, 2, 3)),
                                    transparent().getchannel("A")), {"transparency": (1, 2, 3)}),
    ],
)  # fmt: skip
def test_transparency_lies_on_white(
    tmp_path: Path, name: str, image: Image.Image, options: dict[str, Any]
) -> None:
    read, facts = read_image(saved(tmp_path / name, image, **options), 8)
    assert pixel(read, 1, 4) == RED and pixel(read, 6, 4) == WHITE
    assert "alpha on white" in facts["conversions"]


def test_half_transparent_black_is_grey(tmp_path: Path) -> None:
    for mode, color in (("RGBA", (0, 0, 0, 128)), ("LA", (0, 128))):
        read, _ = read_image(saved(tmp_path / "a.png", Image.new(mode, (8, 8), color)), 8)
        assert pixel(read, 0, 0) == (127, 127, 127)


@pytest.mark.fault(4, "converted in a defined way, which the report names")
@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("one.png", Image.new("1", (8, 8), 1), WHITE),
        ("grey.png", Image.new("L", (8, 8), 100), (100, 100, 100)),
        ("grey.jpg", Image.new("L", (8, 8), 100), (100, 100, 100)),
        ("palette.png", Image.new("RGB", (8, 8), (10, 20, 30)).quantize(4), (10, 20, 30)),
        ("cmyk.tiff", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0)),
        ("cmyk.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (254, 0, 0)),
        ("grey16.png", Image.fromarray(np.full((8, 8), 25700, np.uint16)), (100, 100, 100)),
        ("grey16.tiff", Image.fromarray(np.full((8, 8), 65535, np.uint16)), WHITE),
    ],
)
def test_every_mode_has_its_conversion(
    tmp_path: Path, name: str, image: Image.Image, expected: tuple[int, ...]
) -> None:
    read, facts = read_image(saved(tmp_path / name, image), 8)
    assert pixel(read, 4, 4) == pytest.approx(expected, abs=2 if name.endswith("jpg") else 0)
    assert facts["mode"] != "RGB" and facts["conversions"]


@pytest.mark.parametrize("values", [np.zeros((8, 8), np.int32), np.zeros((8, 8), np.float32)])
def test_32_bit_pixels_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(InputError, match="no defined white"):
        read_image(saved(tmp_path / "a.tiff", Image.fromarray(values)), 8)


@pytest.mark.fault(4, "the first frame is taken, and that is said")
@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_the_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, (0, 255, 0), (0, 0, 255))]
    path = tmp_path / f"a.{suffix}"
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    read, facts = read_image(path, 8)
    assert pixel(read, 4, 4) == RED and "first frame" in facts["conversions"]


def swapped_profile() -> bytes:
    """The sRGB profile with the red and green primaries swapped, so that using it cannot be missed."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[at[0] : at[0] + 4], data[at[1] : at[1] + 4] = b"gXYZ", b"rXYZ"
    start = data.index(b"desc", 132)
    assert start
    return (
        bytes(data)
        .replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
        .replace(b"sRGB b", b"swap b")
    )


def test_an_icc_profile_is_followed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (8, 8), RED), icc_profile=swapped_profile())
    read, facts = read_image(path, 8)
    assert pixel(read, 4, 4) == pytest.approx((0, 255, 0), abs=2)
    assert facts["conversions"][0].startswith("icc profile") and facts["conversions"][0].endswith("to sRGB")


def test_srgb_stays_as_it_is_and_a_damaged_profile_is_said(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = picture(16, 16)
    read, facts = read_image(saved(tmp_path / "a.png", source, icc_profile=srgb), 16)
    assert np.array_equal(np.asarray(read), np.asarray(source))
    assert facts["conversions"] == ["icc profile is sRGB"]
    for profile, words in ((b"not a profile", "damaged"), (srgb[:200], "damaged")):
        read, facts = read_image(saved(tmp_path / "a.png", source, icc_profile=profile), 16)
        assert np.array_equal(np.asarray(read), np.asarray(source)) and words in facts["conversions"][0]
    _, facts = read_image(saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8)), icc_profile=srgb), 8)
    assert (
        facts["conversions"] == ["icc profile is sRGB", "CMYK to RGB"]
        or "not used" in facts["conversions"][0]
    )


def test_a_plain_picture_is_untouched(tmp_path: Path) -> None:
    source = picture(32, 32)
    read, facts = read_image(saved(tmp_path / "a.png", source), 32)
    assert np.array_equal(np.asarray(read), np.asarray(source)) and facts["conversions"] == []


def test_crop_policies() -> None:
    source = picture(40, 20)  # left red, right blue
    source.paste((0, 255, 0), (0, 0, 10, 20))  # the quarter that a center crop cuts off
    center, squash, pad = (fit(source, 20, policy) for policy in ("center", "squash", "pad"))
    assert np.asarray(center)[..., 1].max() < 60
    assert np.array_equal(np.asarray(center), np.asarray(source.crop((10, 0, 30, 20))))
    assert pixel(squash, 1, 10)[1] == 255
    assert pixel(pad, 10, 0) == WHITE and pixel(pad, 10, 19) == WHITE and pixel(pad, 2, 10)[1] > 200


@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(1, 64), st.sampled_from(["center", "squash", "pad"])
)
def test_any_shape_becomes_the_square(width: int, height: int, resolution: int, policy: str) -> None:
    image = fit(Image.new("RGB", (width, height), RED), resolution, policy)  # type: ignore[arg-type]
    assert image.size == (resolution, resolution) and image.mode == "RGB"


def test_to_srgb_is_for_pictures_in_memory_too() -> None:
    image, done = to_srgb(transparent())
    assert image.mode == "RGB" and done == ["alpha on white"]


@pytest.mark.fault(27, "a text in the report that leads back to the file")
def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    saved(path, picture(8, 8))
    _, facts = read_image(path, 8)
    assert facts["path"].encode("utf-8").endswith(b"/caf%E9.png")
    assert (
        path_of(facts["path"]) == path
        and read_image(path_of(facts["path"]), 8)[1]["sha256"] == facts["sha256"]
    )


@given(st.binary(min_size=1).filter(lambda raw: b"\0" not in raw))
def test_a_path_survives_as_text(raw: bytes) -> None:
    path = Path(os.fsdecode(raw))
    text = path_text(path)
    assert text.encode("utf-8") and path_of(text) == path


def test_what_is_wrong_names_the_file(tmp_path: Path) -> None:
    """The conversion knows pictures in memory; the reader says whose they are."""
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.zeros((8, 8), np.float32)))
    with pytest.raises(InputError) as caught:
        read_image(path, 8)
    assert caught.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\n<!DOCTYPE html><title>403</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"hello", "unsupported image format$"),
    ],
)
def test_what_a_file_holds_instead_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_image(tmp_path / "a.jpg", 8)


def heic(path: Path, **options: Any) -> Path:
    """A real HEIC, 48 × 32: its left half is red, its right half blue."""
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.new("RGB", (48, 32), "blue")
    image.paste((255, 0, 0), (0, 0, 24, 32))
    pillow_heif.from_pillow(image).save(path, quality=100, **options)
    return path


def test_heic_is_read_where_its_reader_is_installed(tmp_path: Path) -> None:
    image, facts = read_image(heic(tmp_path / "a.heic"), 32, "squash")
    assert (facts["format"], facts["width"], facts["height"]) == ("HEIF", 48, 32)
    assert facts["conversions"] == []
    pixels = np.asarray(image)
    assert np.allclose(pixels[16, [4, 28]], [(255, 0, 0), (0, 0, 255)], atol=12)

    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned, facts = read_image(heic(tmp_path / "b.heic", exif=exif.tobytes()), 32, "squash")
    assert facts["conversions"] == ["exif turn"]
    assert np.allclose(np.asarray(turned)[16, 4], (0, 0, 255), atol=12)


def test_a_damaged_heic_is_an_error_of_its_own(tmp_path: Path) -> None:
    path = heic(tmp_path / "a.heic")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"a\.heic: damaged or unreadable image"):
        read_image(path, 8)


def test_without_a_reader_of_heic_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = heic(tmp_path / "a.heic")
    monkeypatch.setattr("origcli.images.reading.reads_heic", lambda: False)
    with pytest.raises(InputError, match="unsupported image format: HEIC") as caught:
        read_image(path, 8)
    assert "origcli[heif]" in caught.value.hint


def test_a_device_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a regular file"):
        read_image(tmp_path / "a.png", 8)
