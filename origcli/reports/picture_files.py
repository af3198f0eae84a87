"""Image files that a report names: found beside it, and as data in a page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from PIL import Image

FORMATS = ("PNG", "WEBP", "JPEG")
SUFFIXES = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}
_LARGEST = 32 << 20  # bytes of an image file that is read back
_EXACT = 128  # up to this width an image is shown pixel by pixel


@dataclass(frozen=True)
class Inlined:
    """An image file as it stands in a page."""

    uri: str
    width: int
    height: int

    @classmethod
    def of(cls, data: bytes, kind: str, width: int, height: int) -> Self:
        """A file's bytes, of a media type."""
        return cls(f"data:{kind};base64,{base64.b64encode(data).decode()}", width, height)

    @property
    def exact(self) -> bool:
        """Whether to enlarge it without smoothing."""
        return self.width <= _EXACT


def inlined(directory: Path, name: str | None) -> Inlined | None:
    """An image file under `directory` as data; `None` where there is none (see `contained`)."""
    path = contained(directory, name)
    if path is None:
        return None
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return Inlined.of(data, SUFFIXES[path.suffix.lower()], width, height)


def contained(directory: Path, name: str | None) -> Path | None:
    """The path of an image file under `directory`; `None` where there is none.

    A report may come from elsewhere: a name that leads out of the directory, or to anything but an image,
    counts as absent.
    """
    if name is None:
        return None
    root = directory.resolve()
    try:
        path = (root / name).resolve()
        fits = path.suffix.lower() in SUFFIXES and path.is_relative_to(root) and path.is_file()
        return path if fits and path.stat().st_size <= _LARGEST else None
    except (OSError, ValueError):
        return None
