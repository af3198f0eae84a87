"""WebDataset tars: `NNNNNN.png`, `NNNNNN.txt` (the caption) and `NNNNNN.json` (the record) an image."""

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from origcli.runtime.atomic import atomic_file, make_directory
from origcli.scenes.making import SceneImage
from origcli.scenes.records import record_line

FOLDER = "shards"


def shard_name(number: int) -> str:
    """The file of a shard, relative to the data set."""
    return f"{FOLDER}/{number:05d}.tar"


@contextmanager
def open_shard(directory: Path, number: int) -> Iterator[Callable[[SceneImage], str]]:
    """A tar that appears whole when the context ends.

    Yields:
        a function that adds an image and gives its line of metadata, with the tar's name and the
        place of the PNG file in it.
    """
    name = shard_name(number)
    make_directory(directory / FOLDER)
    with (
        atomic_file(directory / name) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):

        def add(picture: SceneImage) -> str:
            key = f"{picture.index:06d}"
            told = picture.scene, f"{key}.png", picture.caption
            offset = tar.offset + tarfile.BLOCKSIZE
            _add(tar, f"{key}.png", picture.png)
            _add(tar, f"{key}.txt", picture.caption.encode())
            _add(tar, f"{key}.json", record_line(*told).encode())
            return record_line(*told, f', "shard": "{name}", "offset": {offset}, "size": {len(picture.png)}')

        yield add


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # of no time and no owner: equal images are equal bytes
    member.size = len(data)
    tar.addfile(member, BytesIO(data))
    tar.getmembers().clear()  # it keeps them for readers, and they would fill the memory
