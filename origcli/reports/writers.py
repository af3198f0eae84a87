"""Writes reports as files: report.json, report.csv, and results line by line while a run goes on.

Equal reports are equal bytes. Results may come as a stream, so that a report over a hundred thousand
images needs the memory of one.
"""

import json
import os
import re
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from pydantic import ValidationError

from origcli.errors import InputError
from origcli.files import open_file
from origcli.reports.envelope import Record, Report, Result
from origcli.reports.schema import SCHEMAS
from origcli.reports.spreadsheet import csv_text
from origcli.runtime.atomic import append_line, atomic_file, read_json

_NUMBERS = re.compile(r"\[\n\s+([^\[\]{}\"]+?)\n\s+\]")

R = TypeVar("R", bound=Record)


def json_text(value: Any) -> str:
    """Strict JSON, keys sorted, indented, lists of plain numbers on one line."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    # Inside strings a newline is always escaped, so this touches the layout alone.
    return _NUMBERS.sub(lambda match: "[" + " ".join(match[1].split()) + "]", text)


def json_chunks(report: Report[Any], results: Iterable[Record] | None = None) -> Iterator[str]:
    """A report's JSON text in pieces, the results one by one.

    Args:
        report: all but the results, or all of it.
        results: instead of `report.results`.
    """
    head = report.model_copy(update={"results": ()}).to_json()
    results = report.results if results is None else results
    between = "{\n"
    for key in sorted(head):
        yield f"{between}  {json.dumps(key)}: "
        between = ",\n"
        if key == "results":
            yield from _list_chunks(results)
        else:
            yield _indented(json_text(head[key]), 2)
    yield "\n}\n"


def _list_chunks(results: Iterable[Record]) -> Iterator[str]:
    between = "["
    for result in results:
        yield f"{between}\n    {_indented(json_text(result.to_json()), 4)}"
        between = ","
    yield "[]" if between == "[" else "\n  ]"


def _indented(text: str, spaces: int) -> str:
    return textwrap.indent(text, " " * spaces).lstrip(" ")


def write_report(directory: Path, report: Report[Any], results: Iterable[Result] | None = None) -> None:
    """Writes report.json and report.csv into a directory in one pass over the results.

    Raises:
        StorageError: the disk is full or the directory cannot be written; the old files are kept.
    """
    names = report.columns
    with ExitStack() as stack:
        json_file = stack.enter_context(atomic_file(directory / "report.json"))
        csv_file = stack.enter_context(atomic_file(directory / "report.csv"))
        csv_file.write(csv_text((), names).encode())

        def tabulated() -> Iterator[Result]:
            for result in report.results if results is None else results:
                csv_file.write(csv_text(result.rows(), names, header=False).encode())
                yield result

        for chunk in json_chunks(report, tabulated()):
            json_file.write(chunk.encode())
        csv_file.write(csv_text(report.last_rows(), names, header=False).encode())


def read_report(path: Path, expected: str | None = None) -> Report[Any]:
    """Reads a report of any command.

    Args:
        path: a report.json, or the directory that holds one.
        expected: the command that it has to come from.

    Raises:
        InputError: missing, no JSON, no report, of another command, or of a version unknown here.
    """
    path = path / "report.json" if path.is_dir() else path
    value = read_json(path)
    schema = value.get("schema") if isinstance(value, dict) else None
    kind = next((k for k in SCHEMAS.values() if k.model_fields["schema_id"].default == schema), None)
    if kind is None:
        told = "it names no schema" if schema is None else f"its schema is {schema!r}"
        raise InputError(f"{path}: not a report that this version can read: {told}")
    if expected is not None and kind is not SCHEMAS[expected]:
        raise InputError(f"{path}: a report of {str(schema).split('/')[1]}, not of {expected}")
    report: Report[Any] = _validated(kind, value, str(path))
    return report.at(path.parent)


def _validated(kind: type[R], value: Any, where: str) -> R:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: not a valid report: {place}: {first['msg']}") from error


class ResultLog(Generic[R]):
    """Results appended to a JSON Lines file as they come, each on the disk before the next begins.

    A process that is killed leaves a torn last line at most: it is not read, and the next one replaces it.

    Args:
        path: the file; it need not exist.
        kind: the type of its records.

    Raises:
        InputError: it is no plain file.
    """

    def __init__(self, path: Path, kind: type[R]) -> None:
        self.path, self.kind = path, kind
        self._length = _whole_length(path) if os.path.lexists(path) else 0

    def append(self, record: R) -> str:
        """Adds a record and returns its line, newline included.

        Raises:
            StorageError: it cannot be written.
        """
        line = _line(record)
        append_line(self.path, line, self._length)
        self._length += len(line)
        return line.decode()

    def replace(self, records: Iterable[R]) -> None:
        """Writes the log again, whole or not at all; `records` may be made of its own.

        Raises:
            StorageError: it cannot be written; the old log is kept.
        """
        length = 0
        with atomic_file(self.path) as file:
            for record in records:
                length += file.write(_line(record))
        self._length = length

    def __iter__(self) -> Iterator[R]:
        """The records, one in memory at a time.

        Raises:
            InputError: a line is not such a record, or the file is shorter than what was written to it.
        """
        left, number = self._length, 0
        if not left:
            return
        with _opened(self.path) as file:
            while left > 0:
                line, number = file.readline(), number + 1
                left -= len(line)
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{self.path}: line {number}: not valid JSON: {error}") from error
                yield _validated(self.kind, value, f"{self.path}: line {number}")


def _line(record: Record) -> bytes:
    text = json.dumps(record.to_json(), sort_keys=True, allow_nan=False, ensure_ascii=False)
    return text.encode() + b"\n"


def _opened(path: Path) -> BinaryIO:
    """A log of results, which may come from others: a link would lead elsewhere."""
    if path.is_symlink():
        raise InputError(f"{path}: cannot read: a link, where runs have none")
    return open_file(path)


def _whole_length(path: Path) -> int:
    """The length of a file up to and with its last newline, read from its end."""
    with _opened(path) as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
