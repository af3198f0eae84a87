"""The one module that prints: results to stdout, everything else to stderr."""

import io
import json
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from origcli.cli.options import Format
from origcli.errors import OrigError, StorageError, without_secrets
from origcli.reports.spreadsheet import csv_text
from origcli.runtime.distributed import is_main
from origcli.runtime.progress import forgiving, one_line

if TYPE_CHECKING:
    from origcli.reports.envelope import Report

_WIDEST_PARAGRAPH = 100
_WIDEST_NAME = 40  # of an image, where verdicts stand under each other
_UNBOUNDED = 10_000  # columns of a table in a pipe, where nothing has to be folded
BYTE_ORDER_MARK = "\ufeff"


def prepare_streams() -> None:
    """Lets every name be printed: what a stream cannot say is escaped, and data in a pipe are UTF-8.

    A stdin that is closed (`<&-`) is an empty one. A stderr that nobody reads any more is silent.
    """
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding = None if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
        sys.stderr = forgiving(sys.stderr, lambda: _abandon(2))


def error(problem: OrigError, cause: BaseException | None = None) -> None:
    """A line that says what is wrong and, where there is one, a line with the remedy.

    Args:
        problem: what is wrong.
        cause: an exception whose traceback is shown first.
    """
    trace = without_secrets("".join(traceback.format_exception(cause))) if cause is not None else ""
    hint = f"  hint: {one_line(problem.hint)}\n" if problem.hint else ""
    if sys.stderr is not None:
        sys.stderr.write(f"{trace}origcli: {one_line(problem.message)}\n{hint}")


def remark(*lines: str) -> None:
    """Lines for the person at the terminal, on stderr."""
    if sys.stderr is not None:
        sys.stderr.write("".join(f"origcli: {one_line(line)}\n" for line in lines))


def write(text: str) -> None:
    """Writes to stdout and makes sure that it arrived; of several processes, the first writes.

    Raises:
        StorageError: stdout is full or closed. A pipe that nobody reads any more ends the process
            quietly, as `head` expects.
    """
    if not is_main():
        return
    if sys.stdout is None:
        raise StorageError("stdout: closed", "send it to a file, or to /dev/null")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon(sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as problem:
        _abandon(sys.stdout.fileno())
        raise StorageError(f"stdout: cannot write: {problem.strerror or problem}") from problem


def _abandon(descriptor: int) -> None:
    """Sends what is left in a stream's buffer nowhere: Python would try again at its exit, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def json_text(value: Any, indent: int | None = 2) -> str:
    """Strict JSON: a NaN is a bug here, it has to be `None` with a reason by now."""
    return visible_json(json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)) + "\n"


def visible_json(text: str) -> str:
    """JSON text; on a terminal, what JSON leaves unescaped and a terminal obeys is escaped, too (U+009B)."""
    if not _on_a_terminal():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def report(whole: "Report[Any]", form: Format, columns: Sequence[str] | None = None, title: str = "") -> None:
    """Prints a report: its rows as they stand in report.csv, or all of it as JSON.

    Of the processes of a launch the first alone prints.

    Args:
        whole: the report.
        form: the form asked for.
        columns: those that the table shows; all by default.
        title: stands over the table.
    """
    from origcli.runtime.distributed import is_main

    if not is_main():
        return
    table = list(whole.rows())
    shown = columns if columns is not None and form is Format.table else whole.columns
    rows(table, shown, form, title=title, whole=whole.to_json())


def rows(
    table: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    form: Format,
    *,
    title: str = "",
    whole: Any = None,
) -> None:
    """Prints the rows of a result in the form asked for.

    Args:
        table: one mapping a row.
        columns: the columns, in order, of `table` and `csv`.
        form: `json` prints `whole` where it is given, else the list of rows.
        title: stands over the table on a terminal.
        whole: the report that the rows come from.
    """
    match form:
        case Format.json:
            write(json_text(list(table) if whole is None else whole))
        case Format.jsonl:
            write("".join(json_text(row, None) for row in table))
        case Format.csv | Format.excel:
            csv(table, columns, mark=form is Format.excel)
        case Format.table:
            write(_table_text(table, columns, title))


def csv(
    table: Iterable[Mapping[str, Any]], columns: Sequence[str], *, header: bool = True, mark: bool = False
) -> None:
    """Prints rows as CSV. On a terminal control characters in cells are escaped, as a file holds them.

    Args:
        table: one mapping a row.
        columns: the columns, in order.
        header: whether a line of their names comes first.
        mark: begin with a byte order mark, by which Excel knows UTF-8.
    """
    rows = map(_visible, table) if _on_a_terminal() else table
    write(f"{BYTE_ORDER_MARK if mark else ''}{csv_text(rows, columns, header=header)}")


def _visible(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one_line(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def _on_a_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def paragraph(text: str) -> None:
    """Prints a paragraph: wrapped on a terminal, one line in a pipe."""
    text = one_line(text)
    if _on_a_terminal():
        width = min(shutil.get_terminal_size().columns, _WIDEST_PARAGRAPH)
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    write(f"{text}\n")


def verdicts(lines: Sequence[tuple[str, str, str]]) -> None:
    """Prints a line for each image: its name, its verdict, bold on a terminal with color, and what follows.

    Args:
        lines: name, verdict, the rest.
    """
    column = min(max((len(one_line(name)) for name, _, _ in lines), default=0), _WIDEST_NAME)
    bold = _on_a_terminal() and not os.environ.get("NO_COLOR")
    for name, words, rest in lines:
        said = f"\x1b[1m{one_line(words)}\x1b[0m" if bold else one_line(words)
        write(f"{one_line(name).ljust(column)}  {said}{one_line(rest)}\n")


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else one_line(str(value))


def _table_text(table: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout is not None and sys.stdout.isatty()
    # A table is for the eye: a column in which no row says anything is left out.
    shown = [name for name in columns if not table or any(row.get(name) is not None for row in table)]
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal,
        no_color=not terminal or bool(os.environ.get("NO_COLOR")),
        width=None if terminal else _UNBOUNDED,
    )
    if title:
        console.print(one_line(title), markup=False, highlight=False)
    grid = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, show_edge=False)
    for column in shown:
        numeric = all(isinstance(row.get(column), int | float | None) for row in table)
        grid.add_column(column.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in table:
        grid.add_row(*(Text(_shown(row.get(column))) for column in shown))
    console.print(grid)
    return "".join(line.rstrip() + "\n" for line in buffer.getvalue().strip("\n").splitlines())
