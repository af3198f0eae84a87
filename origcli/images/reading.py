"""Reading a photo: from any of the usual files to an 8-bit sRGB square of the model's size.

Each step that changes what the model sees is defined here and named in the facts that go into the
report, because a metric that quietly squashes, drops alpha or ignores the EXIF turn compares
something else than the picture.
"""

import hashlib
import io
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from origcli.errors import InputError, OrigError
from origcli.runtime.paths import path_text

CropPolicy = Literal["center", "squash", "pad"]

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
MAX_PIXELS = 178_956_970  # where Pillow itself refuses; a header of a few bytes can claim any size
MAX_BYTES = 1 << 30

_WHITE = (255, 255, 255)
_ICC_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def read_image(
    path: Path, resolution: int, crop: CropPolicy = "center"
) -> tuple[Image.Image, dict[str, Any]]:
    """Reads a picture file for a model.

    Args:
        path: a regular file in one of `FORMATS`; of an animation, the first frame is taken.
        resolution: side of the square in pixels.
        crop: what to do with a picture that is not square (see `fit`).

    Returns:
        The (resolution, resolution) RGB picture; the facts of `read_picture`, `crop` and `resolution`.

    Raises:
        InputError: as `read_picture`.
    """
    picture, facts = read_picture(path)
    return fit(picture, resolution, crop), {**facts, "crop": crop, "resolution": resolution}


def read_picture(path: Path) -> tuple[Image.Image, dict[str, Any]]:
    """Reads a picture file as it is.

    Returns:
        The RGB picture, and what was read and done: `path`, `sha256` (of the file), `format`, `mode`,
        `width`, `height` (as stored), `conversions` in order.

    Raises:
        InputError: missing, empty, a directory, no picture of these formats, truncated, or too large.
    """
    data = _read_bytes(path)
    try:
        with _opened(data, path) as image:
            facts = {
                "path": path_text(path),
                "sha256": hashlib.sha256(data).hexdigest(),
                "format": image.format,
                "mode": image.mode,
                "width": image.width,
                "height": image.height,
            }
            image.load()  # truncation shows only here
            picture, conversions = to_srgb(image)
    except (OrigError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise whatever a damaged byte leads them to
        raise InputError(f"{path}: damaged or unreadable picture: {error}") from error
    return picture, {**facts, "conversions": conversions}


def _read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of a sensible size."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: is a directory, not a picture")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could block for ever
            raise InputError(f"{path}: is not a regular file")
        if status.st_size == 0:
            raise InputError(f"{path}: is empty (0 bytes)")
        if status.st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB, refused")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error


def _opened(data: bytes, path: Path) -> Image.Image:
    """The picture with its header read and no pixel decoded yet."""
    try:
        with warnings.catch_warnings():
            # Pillow warns at half the limit; the limit is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: not a picture in a format that is read here",
            f"convert it to PNG; read are {', '.join(FORMATS)}",
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path}: refused as a decompression bomb: {error}", "make it smaller first"
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise InputError(
            f"{path}: refused as a decompression bomb: {image.width}×{image.height} pixels",
            "make it smaller first",
        )
    return image


def to_srgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """A loaded picture of any mode as 8-bit sRGB on white.

    In this order: first frame; EXIF turn; palette to colours; 16-bit grey to 8 bits by v·255/65535 rounded
    (Pillow itself reads other 16-bit pictures by their high bytes); the embedded ICC profile to sRGB, in
    relative colorimetric intent with black point compensation (no profile: taken as sRGB, CMYK by Pillow's
    formula); transparency onto white.

    Returns:
        The RGB picture, and the names of the conversions that took place.

    Raises:
        InputError: 32-bit integer or float pixels, which have no defined white.
    """
    done: list[str] = []

    def step(name: str, change: Callable[[Image.Image], Image.Image]) -> None:
        nonlocal image
        image = change(image)
        done.append(name)

    profile = image.info.get("icc_profile")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        step("first frame", lambda picture: picture.copy())
    if image.getexif().get(0x0112, 1) in range(2, 9):
        step("exif turn", ImageOps.exif_transpose)
    if image.mode.startswith("I;16"):
        step("16 to 8 bits", _sixteen_to_eight)
    elif image.mode in ("I", "F"):
        raise InputError(
            f"pixels of mode {image.mode} (32 bits) have no defined white", "convert it to 8 or 16 bits"
        )
    if image.mode in ("P", "PA"):
        step("palette", lambda picture: picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
    alpha = _alpha(image)
    if profile:
        image, name = _from_profile(_without_alpha(image), profile)
        done.append(name)
    if image.mode != "RGB" or alpha is not None:
        if image.mode not in ("RGB", "RGBA", "RGBa"):
            done.append(f"{image.mode} to RGB")
        image = _without_alpha(image).convert("RGB")
    if alpha is not None:
        white = Image.new("RGB", image.size, _WHITE)
        step("alpha on white", lambda picture: Image.composite(picture, white, alpha))
    return image, done


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
            return image.convert("RGBA").convert("RGB")  # the colours are stored multiplied by their alpha
        case "LA" | "1":
            return image.convert("L")
        case "La":
            return image.convert("LA").convert("L")
    return image


def _from_profile(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """The picture in sRGB and what was done; a profile that does not fit its picture is left out and said."""
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
    """A picture as a square of `resolution` pixels a side, bicubic with antialiasing.

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
