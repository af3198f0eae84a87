"""Reading a photo: from any of the usual files to an 8-bit sRGB square of the model's size.

Each step that changes what the model sees is defined here and named in the facts that go into the
report, because a metric that quietly squashes, drops alpha or ignores the EXIF turn compares
something else than the image.
"""

import hashlib
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from origcli.errors import InputError, OrigError
from origcli.images.formats import FORMATS, HEIC, kind_of, reads_heic
from origcli.images.png_chunks import is_png, lightened, transparent_color
from origcli.images.sources import Source, read_content, where_is

CropPolicy = Literal["center", "squash", "pad"]

Admit = Callable[[int], None]

MAX_PIXELS = 178_956_970  # where Pillow itself refuses; a header of a few bytes can claim any size

_BYTES_PER_PIXEL = 4  # Pillow keeps RGB in four
_ORIENTATION = 0x0112  # the EXIF tag
_TURN = "exif turn"
_filters = threading.Lock()
_WHITE = (255, 255, 255)
_ICC_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def read_image(
    source: Path | Source, resolution: int, crop: CropPolicy = "center"
) -> tuple[Image.Image, dict[str, Any]]:
    """Reads an image for a model.

    Args:
        source: a regular file in one of `formats.FORMATS`, or another source of one; of an animation, the
            first frame is taken.
        resolution: side of the square in pixels.
        crop: what to do with an image that is not square (see `fit`).

    Returns:
        The (resolution, resolution) RGB image; the facts of `read_picture`, `crop` and `resolution`.

    Raises:
        InputError: as `read_picture`.
    """
    picture, facts = read_picture(source)
    return fit(picture, resolution, crop), {**facts, "crop": crop, "resolution": resolution}


def read_picture(
    source: Path | Source, admit: Admit = lambda size: None
) -> tuple[Image.Image, dict[str, Any]]:
    """Reads an image as it is.

    Args:
        admit: called with the bytes that the decoded image will take, once its header is read and before it
            is decoded: a reader of many files can wait there until there is room.

    Returns:
        The RGB image, and what was read and done: `path`, `sha256` (of the file's bytes; of an image in
        memory, of its size and pixels in sRGB), `format`, `mode`, `width`, `height` (as stored),
        `conversions` in order.

    Raises:
        InputError: missing, empty, a directory, no image of these formats, truncated, or too large.
    """
    where = where_is(source)
    content = read_content(source)
    if isinstance(content, bytes):
        digest = hashlib.sha256(content)
        picture, facts = decode_picture(content, str(source) if isinstance(source, Path) else where, admit)
    else:
        picture, facts = _convert(content, where, admit)
        digest = hashlib.sha256(f"RGB {picture.width} {picture.height} ".encode() + picture.tobytes())
    return picture, {"path": where, "sha256": digest.hexdigest(), **facts}


def decode_picture(
    data: bytes, name: str, admit: Admit = lambda size: None
) -> tuple[Image.Image, dict[str, Any]]:
    """The RGB image in the bytes of a file, and what was read and done (`read_picture` without the file).

    Args:
        name: what errors call it.

    Raises:
        InputError: empty, no image of these formats, truncated, or too large.
    """
    if not data:
        raise InputError(f"{name}: is empty (0 bytes)")
    with _damage_named(name), _opened(data, name) as image:
        return _convert(image, name, admit)


def _convert(image: Image.Image, name: str, admit: Admit) -> tuple[Image.Image, dict[str, Any]]:
    """The RGB image of an image that is opened, perhaps not decoded yet, and what was read and done."""
    with _damage_named(name):
        facts = {"format": image.format, "mode": image.mode, "width": image.width, "height": image.height}
        admit(image.width * image.height * _BYTES_PER_PIXEL)
        turned = image.format == "TIFF" and _is_turned(image)

        image.load()  # truncation shows only here
        picture, conversions = to_srgb(image)
        # Pillow turns TIFF files while it loads them, and libheif HEIC files.
        if (turned or image.info.get("original_orientation") in range(2, 9)) and _TURN not in conversions:
            conversions = [_TURN, *conversions]
        return picture, {**facts, "conversions": conversions}


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Makes whatever goes wrong with an image an InputError that names it."""
    try:
        yield
    except InputError as problem:  # of the conversion, which knows no names
        named = problem.message if problem.message.startswith(name) else f"{name}: {problem.message}"
        raise InputError(named, problem.hint) from problem
    except (OrigError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise whatever a damaged byte leads them to
        raise InputError(f"{name}: damaged or unreadable image: {error}") from error


def _opened(data: bytes, name: str) -> Image.Image:
    """The image with its header read and no pixel decoded yet."""
    light, profile = lightened(data) if is_png(data) else (data, None)
    try:
        # Pillow warns at half the limit; the limit is checked below. Filters belong to the whole process.
        with _filters, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = _identified(light)
    except UnidentifiedImageError as error:
        kind = kind_of(data)
        raise InputError(
            f"{name}: unsupported image format{f': {kind.name}' if kind else ''}",
            (kind and kind.remedy) or f"convert it to PNG; supported: {', '.join(FORMATS)}",
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name}: refused as a decompression bomb: {error}", "reduce its size first"
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise InputError(
            f"{name}: refused as a decompression bomb: {image.width}×{image.height} pixels",
            "reduce its size first",
        )
    if profile is not None:
        image.info["icc_profile"] = profile
    if (key := transparent_color(data)) is not None:
        image.info["transparency"] = key
    return image


def _identified(data: bytes) -> Image.Image:
    """The image in one of the formats that are read; HEIC by pillow-heif, where that is installed."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if kind_of(data) is not HEIC or not reads_heic():
            raise
        import pillow_heif

        pillow_heif.register_heif_opener()
        return Image.open(io.BytesIO(data), formats=("HEIF",))


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(_ORIENTATION, 1) in range(2, 9)


def to_srgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """A loaded image of any mode as 8-bit sRGB on white.

    In this order: first frame; EXIF turn; palette to colors; 16-bit gray to 8 bits by v·255/65535 rounded
    (Pillow itself reads other 16-bit images by their high bytes); the embedded ICC profile to sRGB, in
    relative colorimetric intent with black point compensation (no profile: taken as sRGB, CMYK by Pillow's
    formula); transparency onto white.

    Returns:
        The RGB image, and the names of the conversions that took place.

    Raises:
        InputError: 32-bit integer or float pixels, which have no defined white.
    """
    done: list[str] = []

    def step(name: str, change: Callable[[Image.Image], Image.Image]) -> None:
        nonlocal image
        image = change(image)
        done.append(name)

    has_profile, profile = "icc_profile" in image.info, image.info.get("icc_profile")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        step("first frame", lambda picture: picture.copy())
    if _is_turned(image):
        step(_TURN, ImageOps.exif_transpose)

    alpha = None
    if image.mode.startswith("I;16"):
        alpha = _alpha_of_sixteen(image)
        step("16 to 8 bits", _sixteen_to_eight)
    elif image.mode in ("I", "F"):
        raise InputError(
            f"pixels of mode {image.mode} (32 bits) have no defined white", "convert it to 8 or 16 bits"
        )
    if image.mode in ("P", "PA"):
        step("palette", lambda picture: picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
    alpha = alpha or _alpha(image)

    if has_profile:
        image, name = _from_profile(_without_alpha(image), profile or b"")
        done.append(name)
    if image.mode != "RGB" or alpha is not None:
        if image.mode not in ("RGB", "RGBA", "RGBa"):
            done.append(f"{image.mode} to RGB")
        image = _without_alpha(image).convert("RGB")

    if alpha is not None:
        white = Image.new("RGB", image.size, _WHITE)
        step("alpha on white", lambda picture: Image.composite(picture, white, alpha))
    return image, done


def _alpha_of_sixteen(image: Image.Image) -> Image.Image | None:
    """The opacity of each pixel of 16-bit gray, one value of which may be transparent."""
    key = image.info.get("transparency")
    if key is None:
        return None
    alpha = Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))
    return None if alpha.getextrema() == (255, 255) else alpha


def _sixteen_to_eight(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)  # (h, w), 0..65535
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _alpha(image: Image.Image) -> Image.Image | None:
    """The opacity of each pixel, or `None` where all is opaque."""
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha


def _without_alpha(image: Image.Image) -> Image.Image:
    match image.mode:
        case "RGBA" | "RGBX":
            return image.convert("RGB")
        case "RGBa":
            return image.convert("RGBA").convert("RGB")  # the colors are stored multiplied by their alpha
        case "LA" | "1":
            return image.convert("L")
        case "La":
            return image.convert("LA").convert("L")
    return image


def _from_profile(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """The image in sRGB and what was done; a profile that does not fit its image is left out and said."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _ICC_MODES.get(source.profile.xcolor_space, "")
        description = ImageCms.getProfileDescription(source).strip()
        if mode == "RGB" and "sRGB" in description:
            return image, "icc profile is sRGB"
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if mode != image.mode:
            return image, f"icc profile for {mode or source.profile.xcolor_space} not used"
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, "damaged icc profile not used"
    assert converted is not None  # it is only None when asked to work in place
    return converted, f"icc profile {description!r} to sRGB"


def fit(image: Image.Image, resolution: int, policy: CropPolicy) -> Image.Image:
    """An image as a square of `resolution` pixels a side, bicubic with antialiasing.

    Args:
        policy: `center` cuts the longer side evenly at both ends, `squash` changes the aspect ratio, `pad`
            adds white.
    """
    size = (resolution, resolution)
    if image.size == size:
        return image
    match policy:
        case "center":
            return ImageOps.fit(image, size, Image.Resampling.BICUBIC)
        case "squash":
            return image.resize(size, Image.Resampling.BICUBIC)
        case "pad":
            return ImageOps.pad(image, size, Image.Resampling.BICUBIC, color=_WHITE)
