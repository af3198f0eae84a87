"""Images known by their content: what a run measured is that, wherever it lies and whatever it is called."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from origcli.errors import InputError, UsageError
from origcli.files import open_file
from origcli.images.inputs import Input
from origcli.images.reading import read_picture
from origcli.images.sources import Source

_CHUNK = 1 << 20


def content_hash(source: Path | Source) -> str | None:
    """sha256 of the content of an image or another file, as `read_picture` has it; `None` without any."""
    try:
        if not isinstance(source, Path):
            content = source.read()
            if isinstance(content, bytes):
                return hashlib.sha256(content).hexdigest()
            return str(read_picture(source)[1]["sha256"])
        digest = hashlib.sha256()
        with open_file(source) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
    except (InputError, OSError):
        return None


def refuse_exchanged(inputs: Iterable[Input], measured: Mapping[str, str]) -> None:
    """Makes sure that images that were measured before are still the same, where they can be read.

    Args:
        inputs: images of a run that is resumed.
        measured: sha256 of those that it has results of, by name.

    Raises:
        UsageError: one has another content; names it.
    """
    for image in inputs:
        before = measured.get(image.name)
        if before is not None and (now := content_hash(image.source)) is not None and now != before:
            raise UsageError(
                f"{image.where}: not the image that this run measured as {image.name!r}: "
                "its content is another",
                "give the image another name or the run another --out, or overwrite the run with --force",
            )


def refuse_other_images(directory: Path, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Makes sure that a run is resumed over the images that it began with; they may have moved.

    Args:
        directory: the run's.
        before, now: the place in the list, and what else is not the content, of each image by its name.

    Raises:
        UsageError: an image is missing, is new, or has another place; names it.
    """
    for name in [*before, *now]:
        if name not in now:
            problem = f"{name!r} was among them, and is not now"
        elif name not in before:
            problem = f"{name!r} was not among them"
        elif before[name] != now[name]:
            problem = f"{name!r} had another place in the list, or another group"
        else:
            continue
        raise UsageError(
            f"{directory}: holds a run of other images: {problem}",
            "give the same images, or overwrite the run with --force",
        )
