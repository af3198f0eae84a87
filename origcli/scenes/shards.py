"""WebDataset tars: `NNNNNN.png`, `NNNNNN.txt` (the caption) and `NNNNNN.json` (the record) a picture."""

import tarfile
from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from origcli.runtime.run_directory import atomic_file
from origcli.scenes.frequencies import Tally, tally
from origcli.scenes.pictures import Picture
from origcli.scenes.records import record_line, scene_record

FOLDER = "shards"


def write_shard(
    directory: Path, number: int, pictures: Iterable[Picture]
) -> tuple[list[dict[str, Any]], Tally]:
    """Writes one tar.

    Returns:
        the records of its pictures, with the tar's name and the place of each PNG in it, and what
        came up how often.
    """
    name = f"{FOLDER}/{number:05d}.tar"
    (directory / FOLDER).mkdir(exist_ok=True)
    records, counts = [], Counter[str]()
    with (
        atomic_file(directory / name) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for picture in pictures:
            key = f"{picture.index:06d}"
            record = scene_record(picture.scene, f"{key}.png", picture.caption)
            offset = tar.offset + tarfile.BLOCKSIZE
            _add(tar, f"{key}.png", picture.png)
            _add(tar, f"{key}.txt", picture.caption.encode())
            _add(tar, f"{key}.json", record_line(record).encode())
            records.append({**record, "shard": name, "offset": offset, "size": len(picture.png)})
            tally(counts, picture.scene)
    return records, counts


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # of no time and no owner: equal pictures are equal bytes
    member.size = len(data)
    tar.addfile(member, BytesIO(data))
