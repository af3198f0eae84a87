"""Which image formats are read, by the names of files and by what is in them."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import PurePath

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")

SUFFIXES = frozenset(
    {
        *(".png", ".apng"),
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo"),
        *(".webp", ".avif", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    }
)

HEIC_SUFFIXES = (".heic", ".heif", ".hif")

# Images that a folder may hold and that are not read: they are named, not passed over.
UNSUPPORTED = {
    **dict.fromkeys(HEIC_SUFFIXES, "HEIC"),
    ".jxl": "JPEG XL",
    ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000",
    ".svg": "SVG",
    ".eps": "EPS",
    ".pdf": "PDF",
    ".psd": "PSD",
    ".xcf": "XCF",
    ".exr": "EXR",
    ".hdr": "HDR",
    ".tga": "TGA",
    ".ico": "ICO",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".dng": "camera raw",
    ".cr2": "camera raw",
    ".cr3": "camera raw",
    ".nef": "camera raw",
    ".arw": "camera raw",
    ".orf": "camera raw",
    ".rw2": "camera raw",
    ".raf": "camera raw",
}


@dataclass(frozen=True)
class Kind:
    """What a file that is not read holds.

    Attributes:
        name: of its format.
        remedy: what to do about it; empty for the usual one.
    """

    name: str
    remedy: str = ""


HEIC = Kind("HEIC", "pip install 'origcli[heif]', or convert it to JPEG or PNG")
_JXL = Kind("JPEG XL", "convert it to PNG, e.g. with djxl")
_WEB_PAGE = Kind("a web page", "download the image itself")
_LFS = Kind("a Git LFS pointer, not the image", "get the image with: git lfs pull")
_STARTS = {
    b"\xff\x0a": _JXL,
    b"\0\0\0\x0cJXL ": _JXL,
    b"\0\0\0\x0cjP  ": Kind("JPEG 2000"),
    b"%PDF": Kind("PDF"),
    b"%!PS": Kind("EPS"),
    b"8BPS": Kind("PSD"),
    b"version https://git-lfs": _LFS,
    b"<!doctype html": _WEB_PAGE,
    b"<html": _WEB_PAGE,
    b"<svg": Kind("SVG"),
}
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}


@cache
def reads_heic() -> bool:
    """Whether what reads HEIC is installed (origcli[heif])."""
    return find_spec("pillow_heif") is not None


def is_image_name(path: PurePath) -> bool:
    """Whether a file is an image that is read here, by its name."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or (suffix in HEIC_SUFFIXES and reads_heic())


def kind_of(data: bytes) -> Kind | None:
    """What the bytes of a file that is no supported image hold; `None` where that is unknown."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return HEIC
    start = data[:64].lstrip().lower() if data[:1].isspace() or data[:1] == b"<" else data[:64]
    return next((kind for first, kind in _STARTS.items() if start.startswith(first)), None)
