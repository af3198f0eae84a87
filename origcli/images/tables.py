"""Parquet files with a column of images, as `datasets` and the Hub write them (origcli[data]).

Rows are read when they are wanted, in order a batch at a time; a file of any size takes little memory.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from origcli.errors import InputError
from origcli.images.sources import CAPTION_COLUMNS, INSIDE, Found
from origcli.runtime import interrupts
from origcli.runtime.paths import path_text

SUFFIX = ".parquet"
EXTRA = "pip install 'origcli[data]'"

_NAME = 28  # letters of a file's name in the name of a row
_BATCH = 8  # rows
_KEPT_BYTES = 64 << 20  # of rows that were read on the way to another
_OPEN_FILES = 4


@dataclass(frozen=True)
class ParquetRow:
    """An image in a row of a Parquet file.

    Attributes:
        row: from 0.
    """

    file: Path
    column: str
    row: int

    @property
    def where(self) -> str:
        """`train.parquet::17`."""
        return path_text(f"{self.file}{INSIDE}{self.row}")

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            InputError: the row is null, or the file cannot be read.
        """
        return bytes_of(_reader(self.file, self.column).read(self.row), self.where)


def bytes_of(cell: Any, where: str) -> bytes:
    """The bytes of an image in a cell: binary, or `datasets`' struct of `bytes` and `path`.

    Raises:
        InputError: there are none; a path alone is not followed, for it may lead anywhere.
    """
    if isinstance(cell, Mapping):
        if cell.get("bytes") is None and cell.get("path"):
            raise InputError(
                f"{where}: holds the path of an image and not the image",
                "embed the images in the file (datasets: embed_external_files=True)",
            )
        cell = cell.get("bytes")
    if cell is None:
        raise InputError(f"{where}: no image: the row is null")
    return bytes(cell)


def list_parquet(
    path: Path, group_column: str | None, image_column: str | None, captions: bool = False
) -> list[Found]:
    """The images of a Parquet file, one a row; rows that are null are listed, too.

    Args:
        group_column: the column of groups.
        image_column: the column of images, where there are several.
        captions: read those, too.

    Raises:
        InputError: it is no Parquet file, or it has no column of images or several.
    """
    file = _opened(path)
    schema = file.schema_arrow
    column = chosen_column(str(path), _image_columns(schema), schema.names, image_column)
    texts = [name for name in CAPTION_COLUMNS if name in schema.names][:1] if captions else []
    if group_column is not None and group_column not in schema.names:
        raise InputError(f"{path}: no column {group_column!r}", f"it has {', '.join(schema.names)}")
    groups = [] if group_column is None else [group_column]
    rows = _texts(file, path, [*groups, *texts])
    found = [
        Found(
            ParquetRow(path, column, number),
            row[group_column].strip("/") if group_column else "",
            f"{path.stem[:_NAME].rstrip('-')}-{number}",
            row[texts[0]] if texts else "",
        )
        for number, row in enumerate(rows)
    ]
    if not found:
        raise InputError(f"{path}: has no rows")
    return found


def chosen_column(where: str, images: Sequence[str], names: Sequence[str], wanted: str | None) -> str:
    """The column that holds the images.

    Args:
        images: the columns that may hold some.
        names: all columns.
        wanted: the one that the user named.

    Raises:
        InputError: there is none, or there are several and none was named.
    """
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"{where}: no column {wanted!r}", f"it has {', '.join(names)}")
        return wanted
    if not images:
        raise InputError(f"{where}: no column of images", f"it has {', '.join(names)}")
    if len(images) > 1:
        raise InputError(
            f"{where}: several columns of images: {', '.join(images)}",
            f"choose one: --image-column {images[0]} (in Python image_column={images[0]!r})",
        )
    return images[0]


def _image_columns(schema: Any) -> list[str]:
    """The columns that `datasets` marked as images; where it marked none, those of bytes."""
    import pyarrow

    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = told["info"]["features"]
        marked = [name for name, kind in features.items() if kind.get("_type") == "Image"]
    except (ValueError, KeyError, TypeError, AttributeError):
        marked = []
    if marked:
        return [name for name in schema.names if name in marked]

    def holds_bytes(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
        return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))

    return [field.name for field in schema if holds_bytes(field.type)]


def _texts(file: Any, path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The columns of text of each row; nothing of the images is read."""
    if not columns:
        yield from ({} for _ in range(file.metadata.num_rows))
        return
    import pyarrow

    try:
        for batch in file.iter_batches(columns=list(columns)):
            interrupts.check()
            for row in batch.to_pylist():
                yield {name: "" if row[name] is None else str(row[name]).strip() for name in columns}
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: damaged Parquet file: {error}") from error


def _opened(path: Path) -> Any:
    """The file with its table of contents read.

    Raises:
        InputError: it is missing, or no Parquet file; or what reads such files is not installed.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise InputError(f"{path}: reading Parquet needs pyarrow, which is not installed", EXTRA) from error
    try:
        return ParquetFile(path, memory_map=True, pre_buffer=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not a Parquet file: {error}") from error


class _Reader:
    """Reads the rows of a column, forwards where they are wanted in order. For several threads."""

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column
        self._file = _opened(path)
        groups = range(self._file.num_row_groups)
        lengths = [self._file.metadata.row_group(group).num_rows for group in groups]
        self._starts = [sum(lengths[:group]) for group in groups]
        self._rest: Iterator[tuple[int, Any]] = iter(())
        self._next = self._end = 0
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def read(self, row: int) -> Any:
        """The cell of a row."""
        import pyarrow

        with self._lock:
            if row in self._kept:
                return self._kept[row]
            try:
                if not self._next <= row < self._end:
                    self._go_to_group_of(row)
                for number, cell in self._rest:
                    self._next = number + 1
                    self._keep(number, cell)
                    if number == row:
                        return cell
            except (pyarrow.ArrowException, OSError, ValueError) as error:
                self._next = self._end = 0
                raise InputError(f"{path_text(self.path)}{INSIDE}{row}: damaged: {error}") from error
        raise InputError(f"{path_text(self.path)}{INSIDE}{row}: no such row: the file has changed")

    def _go_to_group_of(self, row: int) -> None:
        group = max((g for g, start in enumerate(self._starts) if start <= row), default=0)
        start = self._starts[group]
        self._next, self._end = start, start + self._file.metadata.row_group(group).num_rows
        batches = self._file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=[self.column])
        cells = (cell for batch in batches for cell in batch.column(0).to_pylist())
        self._rest = enumerate(cells, start)

    def _keep(self, number: int, cell: Any) -> None:
        """Keeps a row for threads that come a little later, within bounds."""
        self._kept[number] = cell
        self._bytes += _size(cell)
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(cell: Any) -> int:
    data = cell.get("bytes") if isinstance(cell, Mapping) else cell
    return len(data) if isinstance(data, bytes) else 0


@lru_cache(maxsize=_OPEN_FILES)
def _reader(path: Path, column: str) -> _Reader:
    return _Reader(path, column)
