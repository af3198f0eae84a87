"""Data sets on disk: what `origcli synth` writes and everything else reads.

A directory: `images/00012/012345.png`, `labels/00012/012345.txt`, `metadata.jsonl`, `data.yaml` and
its lists, `README.md`, `dataset.json`. A thousand images a folder are one unit of work: a worker writes
them, and the parent keeps their metadata under `.parts` until all are there, so a killed run resumes with the
missing ones.
With shards, a unit is one tar (see `shards`).
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from origcli.errors import InputError
from origcli.files import open_file, read_file
from origcli.runtime.atomic import read_json
from origcli.runtime.machine import cores
from origcli.scenes.png import Pixels, decode_png, png_size

FACTS_NAME = "dataset.json"
METADATA_NAME = "metadata.jsonl"
SCHEMA = "origcli.dataset/1"


def _is_inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError("leads out of the data set")
    return name


_Name = Annotated[str, AfterValidator(_is_inside)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Recipe(BaseModel):
    resolution: int = Field(gt=0, le=1 << 14, strict=True)
    seed: int = Field(strict=True)


class _Facts(BaseModel):
    """What every reader of `dataset.json` relies on."""

    count: int = Field(ge=0, strict=True)
    hash: str
    recipe: _Recipe


class _Element(BaseModel):
    element: str
    x: _Number
    y: _Number
    box: tuple[_Number, _Number, _Number, _Number] | None
    covered: _Number


class _Record(BaseModel):
    """What every reader of a line of `metadata.jsonl` relies on."""

    file_name: _Name
    text: str
    category: str
    elements: list[_Element]
    shard: _Name = ""
    offset: int = Field(default=0, ge=0, lt=1 << 60, strict=True)
    size: int = Field(default=-1, ge=-1, le=1 << 30, strict=True)


@dataclass(frozen=True)
class Dataset:
    """A finished data set. Metadata and images are read when asked for.

    Args:
        path: its directory.
        facts: `dataset.json`.
    """

    path: Path
    facts: dict[str, Any]

    def __len__(self) -> int:
        return int(self.facts["count"])

    def read_records(self) -> Iterator[dict[str, Any]]:
        """The metadata of each image in order, read line by line.

        Raises:
            InputError: a line is damaged.
        """
        path = self.path / METADATA_NAME
        try:
            with open_file(path) as file:
                for number, line in enumerate(file, 1):
                    yield _checked(_Record, json.loads(line), f"{path}: line {number}")
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: cannot read: {error}") from error

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """All metadata: mappings of `file_name`, `text`, `category` and `elements`, an image each."""
        return list(self.read_records())

    @cached_property
    def captions(self) -> list[str]:
        """The captions in the order of the images."""
        return [record["text"] for record in self.records]

    @property
    def resolution(self) -> int:
        """Width and height of the images in pixels."""
        return int(self.facts["recipe"]["resolution"])

    def _repr_html_(self) -> str:
        """Its first images with their boxes and captions, for notebooks."""
        from origcli.scenes.preview import html_preview

        return html_preview(self)

    @property
    def hash(self) -> str:
        """sha256 of the recipe: equal for equal images and captions."""
        return str(self.facts["hash"])

    @cached_property
    def pictures_hash(self) -> str:
        """sha256 of the files of all images in order: what `dataset.json` claims is no part of it.

        Raises:
            InputError: a file is missing.
        """
        digest = hashlib.sha256()
        for record in self.records:
            digest.update(hashlib.sha256(self._file(record)).digest())
        return digest.hexdigest()

    @cached_property
    def contents_hash(self) -> str:
        """sha256 of all images and of what is said of them: captions, elements, boxes.

        Raises:
            InputError: a file is missing.
        """
        told = hashlib.sha256(json.dumps(self.records, sort_keys=True).encode()).hexdigest()
        return hashlib.sha256(f"{self.pictures_hash} {told}".encode()).hexdigest()

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings and the seed that made it."""
        return dict(self.facts["recipe"])

    def image(self, index: int) -> Pixels:
        """Image `index`: uint8 (h, w, 3), RGB.

        Raises:
            InputError: the file is missing or damaged.
        """
        return self.picture(self.records[index])

    def picture(self, record: dict[str, Any]) -> Pixels:
        """The image of a record: uint8 (h, w, 3), RGB.

        Raises:
            InputError: the file is missing or damaged.
        """
        path, name = self._place(record), record["file_name"]
        data = self._file(record)
        if png_size(data) not in (None, (self.resolution, self.resolution)):
            raise InputError(f"{path}: {name} is not {self.resolution} pixels wide and high")
        try:
            return decode_png(data)
        except OSError as error:
            raise InputError(f"{path}: cannot read the image {name}: {error}") from error

    def _place(self, record: dict[str, Any]) -> Path:
        """The file that holds the image of a record."""
        return self.path / record.get("shard", record["file_name"])

    def _file(self, record: dict[str, Any]) -> bytes:
        """The PNG of a record.

        Raises:
            InputError: the file is missing, outside the data set, not a regular file, or not readable.
        """
        path = self._place(record)
        if not self._is_inside(path):
            raise InputError(f"{path}: a link leads out of the data set", "copy the file into the data set")
        return read_file(path, offset=record.get("offset", 0), size=record.get("size", -1))

    def _is_inside(self, path: Path) -> bool:
        """Whether neither a file nor a folder above it is a link out of the data set."""
        if path.parent not in self._folders:
            if not Path(os.path.realpath(path.parent)).is_relative_to(self._real_path):
                return False
            self._folders.add(path.parent)
        return not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(self._real_path)

    @cached_property
    def _folders(self) -> set[Path]:
        """Folders that were found to be inside."""
        return set()

    @cached_property
    def _real_path(self) -> str:
        return os.path.realpath(self.path)

    def images(self, indices: Sequence[int] | None = None, threads: int | None = None) -> Pixels:
        """Images in one array: uint8 (n, h, w, 3); all of them where `indices` is `None`."""
        chosen = range(len(self)) if indices is None else indices
        pixels: Pixels = np.empty((len(chosen), self.resolution, self.resolution, 3), dtype=np.uint8)

        def read(part: range) -> None:
            for place in part:
                pixels[place] = self.image(chosen[place])

        step = 256
        parts = [range(start, min(start + step, len(chosen))) for start in range(0, len(chosen), step)]
        with ThreadPoolExecutor(threads or cores()) as pool:
            for _ in pool.map(read, parts):
                pass
        return pixels


def read_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Opens a data set that `synth` wrote.

    Raises:
        InputError: it is no data set, is not finished, or is damaged.
    """
    directory = Path(path)
    if not (directory / FACTS_NAME).is_file():
        raise InputError(
            f"{directory}: no finished data set ({FACTS_NAME} is missing)", "make one with: origcli synth"
        )
    facts = read_json(directory / FACTS_NAME)
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise InputError(f"{directory / FACTS_NAME}: not a data set of schema {SCHEMA}")
    dataset = Dataset(directory, _checked(_Facts, facts, str(directory / FACTS_NAME)))
    lines = _count_lines(directory / METADATA_NAME)
    if lines != len(dataset):
        raise InputError(f"{directory / METADATA_NAME}: {lines} lines, not {len(dataset)}")
    return dataset


def _checked(kind: type[BaseModel], value: Any, where: str) -> dict[str, Any]:
    """The value as it is, if it has what a model asks for."""
    try:
        kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise InputError(f"{where}: not as origcli synth writes it: {place}: {first['msg']}") from error
    facts: dict[str, Any] = value
    return facts


def _count_lines(path: Path) -> int:
    try:
        with open_file(path) as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}") from error
