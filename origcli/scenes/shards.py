"""WebDataset tars: `NNNNNN.png`, `NNNNNN.txt` (the caption) and `NNNNNN.json` (the record) a picture."""

import json
import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from origcli.runtime.run_directory import atomic_file

FOLDER = "shards"


def write_shard(
    directory: Path, number: int, start: int, made: Iterable[tuple[bytes, dict[str, Any], str]]
) -> list[dict[str, Any]]:
    """Writes one tar and gives the records of its pictures, with the place of each PNG in the tar."""
    name = f"{FOLDER}/{number:05d}.tar"
    (directory / FOLDER).mkdir(exist_ok=True)
    records = []
    with (
        atomic_file(directory / name) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for index, (data, record, _) in enumerate(made, start):
            key = f"{index:06d}"
            record["file_name"] = f"{key}.png"
            offset = tar.offset + tarfile.BLOCKSIZE
            _add(tar, f"{key}.png", data)
            _add(tar, f"{key}.txt", record["text"].encode())
            _add(tar, f"{key}.json", json.dumps(record).encode())
            records.append({**record, "shard": name, "offset": offset, "size": len(data)})
    return records


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, BytesIO(data))
