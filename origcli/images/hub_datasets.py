"""Image columns of `datasets`: of the Hub, of a local directory, or in memory (origcli[data]).

The library downloads and prepares; the images are then read from its memory-mapped tables, one at a time, as
the files that they are. Nothing of a data set is executed.
"""

import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from origcli.errors import InputError
from origcli.files import expanded, read_file
from origcli.images.sources import CAPTION_COLUMNS, INSIDE, Found, Say
from origcli.images.tables import EXTRA, bytes_of, chosen_column
from origcli.runtime.network import no_network
from origcli.runtime.paths import path_text

PREFIX = "hf:"
SAVED = ("dataset_dict.json", "state.json")  # in a directory of `save_to_disk`
FORM = "hf:OWNER/NAME, hf:OWNER/NAME:SPLIT or hf:OWNER/NAME:CONFIG:SPLIT"

_WORDS = re.compile(r"(?P<id>[^:]+)(:(?P<config>[^:\[\]]+))??(:(?P<split>[^:\[\]]+(\[[^\]]*\])?))?")
_NAME = 28


@dataclass(frozen=True, eq=False)
class DatasetRow:
    """An image in a row of a data set.

    Attributes:
        rows: the data set, whose images are not decoded.
        roots: directories that paths in it may lead to; `None` for any.
        name: of the data set, for reports.
        row: from 0.
    """

    rows: Any
    column: str
    roots: tuple[str, ...] | None
    name: str
    row: int

    @property
    def where(self) -> str:
        """`hf:user/cats:train::17`."""
        return path_text(f"{self.name}{INSIDE}{self.row}")

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            InputError: the row is null, or leads out of the data set.
        """
        try:
            cell = self.rows[self.row][self.column]
        except Exception as error:  # of the library, about a damaged table
            raise InputError(f"{self.where}: cannot read: {error}") from error
        path = cell.get("path") if isinstance(cell, dict) and cell.get("bytes") is None else None
        if path is None:
            return bytes_of(cell, self.where)
        real = os.path.realpath(path)
        if self.roots is not None and not any(
            os.path.commonpath([real, root]) == root for root in self.roots
        ):
            raise InputError(f"{self.where}: its path leads out of the data set: {path}")
        return read_file(Path(real))


def list_dataset(
    words: str,
    group_column: str | None,
    image_column: str | None,
    say: Say,
    offline: bool = False,
    captions: bool = False,
) -> list[Found]:
    """The images of a data set: `OWNER/NAME` of the Hub or a directory, with `:SPLIT` or `:CONFIG:SPLIT`.

    Raises:
        InputError: it cannot be loaded, has several splits and none is named, or has no column of images.
    """
    match = _WORDS.fullmatch(words)
    if match is None:
        raise InputError(f"{PREFIX}{words}: not the name of a data set", f"write {FORM}")
    place = Path(expanded(match["id"]))
    datasets = _library(f"{PREFIX}{words}")
    say(f"{PREFIX}{match['id']}: loading with datasets {datasets.__version__}")
    try:
        with no_network() if offline else nullcontext():
            loaded = _loaded(datasets, place, match["id"], match["config"], match["split"])
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever the library and its readers raise
        why, hint = _reason(error, datasets, offline)
        raise InputError(f"{PREFIX}{words}: cannot be loaded: {why}", hint) from error
    if isinstance(loaded, dict):
        splits = list(loaded)
        if len(splits) > 1:
            raise InputError(
                f"{PREFIX}{words}: several splits: {', '.join(splits)}",
                f"name one: {PREFIX}{words}:{splits[0]}",
            )
        loaded = loaded[splits[0]]
    roots = [place] if place.is_dir() else []
    return rows_of(loaded, f"{PREFIX}{words}", group_column, image_column, roots, captions)


def _reason(error: Exception, datasets: Any, offline: bool) -> tuple[str, str]:
    """Why a data set cannot be loaded, in a line, and what to do about it."""
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    if offline:
        return first, "name a data set of the Hub or a directory, or leave out --offline"
    if status := _answered(error):
        again = "log in with: hf auth login (or set HF_TOKEN)" if status in (401, 403) else "try again later"
        return f"the Hub answered {status}", again
    if isinstance(error, datasets.exceptions.DatasetNotFoundError):  # missing, private or gated
        return first, "check the name; for a private or gated one: hf auth login (or set HF_TOKEN)"
    if isinstance(error, ConnectionError):
        return "the Hub cannot be reached", "check the network, or name a directory"
    return first, "name a data set of the Hub or a directory"


def _answered(error: BaseException | None) -> int | None:
    """The status of the Hub's answer behind an error, if there was one."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__ or error.__context__
    return None


def _loaded(datasets: Any, place: Path, name: str, config: str | None, split: str | None) -> Any:
    """One split of a data set, or all by their names."""
    if any((place / name).is_file() for name in SAVED):
        saved = datasets.load_from_disk(str(place))
        if split is None or not isinstance(saved, dict):
            return saved
        if split not in saved:
            raise InputError(f"{PREFIX}{name}: no split {split!r}", f"it has {', '.join(saved)}")
        return saved[split]
    return datasets.load_dataset(str(place) if place.is_dir() else name, config, split=split)


def rows_of(
    dataset: Any,
    name: str,
    group_column: str | None = None,
    image_column: str | None = None,
    roots: Sequence[Path] | None = None,
    captions: bool = False,
) -> list[Found]:
    """The images of a `datasets.Dataset`, which are decoded when they are wanted.

    Args:
        name: of the data set, for reports.
        roots: directories that paths in it may lead to, beside the library's own cache; `None` for a data set
            that a program has loaded, whose paths the library follows anyway.

    Raises:
        InputError: it has no column of images, several and none is named, or no rows.
    """
    datasets = _library(name)
    features = dataset.features or {}
    images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    column = chosen_column(name, images, list(features), image_column)
    if group_column is not None and group_column not in features:
        raise InputError(f"{name}: no column {group_column!r}", f"it has {', '.join(features)}")
    texts = [text for text in CAPTION_COLUMNS if text in features][:1] if captions else []
    plain = dataset.with_format(None)
    told = plain.select_columns([*filter(None, [group_column]), *texts])
    raw = plain.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    cache = [datasets.config.HF_CACHE_HOME, datasets.config.HF_DATASETS_CACHE]
    allowed = None if roots is None else tuple(os.path.realpath(root) for root in (*roots, *cache))
    stem = re.sub(r"[^A-Za-z0-9]+", "-", name.removeprefix(PREFIX).rstrip("/").rpartition("/")[2])[:_NAME]
    named = group_column and getattr(features[group_column], "int2str", None)

    found = []
    for number in range(len(raw)):
        row = told[number] if group_column or texts else {}
        group = row.get(group_column) if group_column else None
        if named and group is not None:
            group = named(group)
        found.append(
            Found(
                DatasetRow(raw, column, allowed, name, number),
                "" if group is None else str(group).strip().strip("/"),
                f"{stem}-{number}",
                str(row[texts[0]] or "") if texts else "",
            )
        )
    if not found:
        raise InputError(f"{name}: has no rows")
    return found


def _library(name: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"{name}: needs the library datasets, which is not installed", EXTRA) from error
    return datasets
