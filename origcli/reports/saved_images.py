"""The images of a score, kept as files beside the report: what the pages and figures show.

By default they are copies to look at, at most 256 pixels wide for samples; in full they are what was
measured, as PNG. Everything is under `pictures/ID/`, so that the report can be redrawn from its directory.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from origcli.reports.picture_files import FORMATS, contained
from origcli.reports.score import PictureFiles
from origcli.runtime.atomic import claim_directory, write_unsynced

ImageOrBytes = Image.Image | bytes  # bytes: of a PNG or WebP file, kept as they are

THUMBNAIL = 96
DRAWING = 256
QUERY = 512
_LOSSLESS = 128  # up to this width an image is kept as PNG: small anyway, and exact


@dataclass(frozen=True)
class SavedImages:
    """Names of files relative to the report's directory.

    Attributes:
        files: query, round trip, thumbnail, samples without tokens.
        drawings: by m, in the order given.
        edits: of the in-distribution test.
    """

    files: PictureFiles
    drawings: dict[int, tuple[str, ...]]
    edits: tuple[str, ...]


def save_images(
    directory: Path,
    name: str,
    *,
    query: Image.Image,
    round_trip: Image.Image | None = None,
    drawings: Mapping[int, Sequence[ImageOrBytes]] | None = None,
    without_tokens: Sequence[ImageOrBytes] = (),
    edits: Sequence[ImageOrBytes] = (),
    full: bool = False,
) -> SavedImages:
    """Saves the images of one image's score under `directory/pictures/NAME/`.

    Args:
        directory: the report's.
        name: the result's `id`.
        query: the image as the model saw it.
        round_trip: through the VAE and back.
        drawings: by m, one a seed; already encoded ones (`encoded`) are written as they are.
        without_tokens: samples of the prompt without a placeholder.
        edits: samples of the in-distribution test.
        full: keep what was measured, as PNG at full size, instead of copies to look at.

    Raises:
        StorageError: the disk is full or the directory cannot be written.
    """
    # Their files are not synced, for there are a hundred an image: what a killed run left torn is written
    # again, since the result that names the files is recorded after them.
    folder = f"pictures/{name}"
    claim_directory(directory / folder)

    def save(image: ImageOrBytes, stem: str, size: int) -> str:
        if isinstance(image, bytes):
            suffix, data = ("png" if image.startswith(b"\x89PNG") else "webp"), image
        else:
            suffix, data = encoded(image, None if full else size)
        write_unsynced(directory / f"{folder}/{stem}.{suffix}", data)
        return f"{folder}/{stem}.{suffix}"

    def save_all(images: Sequence[ImageOrBytes], stem: str) -> tuple[str, ...]:
        return tuple(save(image, f"{stem}-{i:02d}", DRAWING) for i, image in enumerate(images))

    small = f"{folder}/thumbnail.webp"
    write_unsynced(directory / small, thumbnail(query)[0])
    return SavedImages(
        files=PictureFiles(
            query=save(query, "query", QUERY),
            round_trip=None if round_trip is None else save(round_trip, "round-trip", QUERY),
            thumbnail=small,
            without_tokens=save_all(without_tokens, "m0"),
        ),
        drawings={m: save_all(images, f"m{m}") for m, images in (drawings or {}).items()},
        edits=save_all(edits, "edit"),
    )


def thumbnail(image: Image.Image) -> tuple[bytes, tuple[int, int]]:
    """A small copy as WebP, and its width and height."""
    copy = _shrunk(image, THUMBNAIL)
    return _webp(copy, 80), copy.size


def encoded(image: Image.Image, size: int | None) -> tuple[str, bytes]:
    """An image's file suffix and bytes: PNG if it is small or `size` is `None`, else WebP within `size`."""
    image = image.convert("RGB")
    if size is None or max(image.size) <= _LOSSLESS:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        return "png", buffer.getvalue()
    return "webp", _webp(_shrunk(image, size), 90)


def _webp(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _shrunk(image: Image.Image, size: int) -> Image.Image:
    copy = image.copy()
    copy.thumbnail((size, size), Image.Resampling.LANCZOS)
    return copy


def read_saved_image(directory: Path, name: str | None) -> Image.Image | None:
    """An image file under `directory`; `None` where there is none (see `contained`) or it is damaged."""
    path = contained(directory, name)
    if path is None:
        return None
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
