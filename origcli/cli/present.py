"""The one module that prints: results to stdout, everything else to stderr."""

import io
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from origcli.cli.options import Format
from origcli.cli.table import folded, heading_of, shortened, table, text_width
from origcli.errors import OrigError, StorageError, without_secrets
from origcli.reports.spreadsheet import csv_text
from origcli.runtime.distributed import is_main
from origcli.runtime.progress import forgiving, one_line

if TYPE_CHECKING:
    from origcli.reports.envelope import Failure, Report

_WIDEST_PARAGRAPH = 100
_WIDEST_NAME = 40  # of an image, where verdicts stand under each other
_LEAST_NAME = 16
_BETWEEN = "  "  # a name and its verdict
_NEEDED = "tokens_needed"
_ERROR = "error"  # set in rows that came to nothing: `failures` prints these below a table
_BOLD, _RED, _GREEN, _YELLOW, _MAGENTA, _CYAN = 1, 31, 32, 33, 35, 36
_COLORS = {  # of states and verdicts
    "ok": _GREEN,
    "here": _GREEN,
    "warning": _YELLOW,
    "missing": _RED,
    "redrawn": _CYAN,
    "not-redrawn": _MAGENTA,
    "undecided": _YELLOW,
    "out-of-domain": _YELLOW,
    "failed": _RED,
}
_COLORED = ("state", "verdict")  # columns whose values have a color
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
    hint = _wrapped(f"  hint: {one_line(problem.hint)}", "    ") if problem.hint else ""
    if sys.stderr is not None:
        sys.stderr.write(f"{trace}{_wrapped(f'origcli: {one_line(problem.message)}')}{hint}")


def remark(*lines: str) -> None:
    """Lines for the person at the terminal, on stderr."""
    if sys.stderr is not None:
        sys.stderr.write("".join(_wrapped(f"origcli: {one_line(line)}") for line in lines))


def _wrapped(text: str, indent: str = "  ") -> str:
    """A line for stderr: on a terminal broken between words, so that none is split; paths stay whole."""
    if sys.stderr is None or not sys.stderr.isatty():
        return f"{text}\n"
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # no terminal that has a size
        width = _width()
    lines = folded(text.lstrip(), min(width, _WIDEST_PARAGRAPH) - len(indent), shorten=False)
    first = text[: len(text) - len(text.lstrip())]
    return "".join(f"{indent if number else first}{line}\n" for number, line in enumerate(lines))


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


def report(
    whole: "Report[Any]",
    form: Format,
    columns: Sequence[str] | None = None,
    title: str = "",
    drop: Sequence[str] = (),
) -> None:
    """Prints a report: its rows as they stand in report.csv, or all of it as JSON.

    Of the processes of a launch the first alone prints.

    Args:
        whole: the report.
        form: the form asked for.
        columns: those that the table shows; all by default.
        title: stands over the table.
        drop: as in `rows`.
    """
    if not is_main():
        return
    table = [_in_words(row) if form is Format.table else row for row in whole.rows()]
    shown = columns if columns is not None and form is Format.table else whole.columns
    rows(table, shown, form, title=title, whole=whole.to_json(), drop=drop)


def _in_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as people read it; CSV and JSON keep the words of the schema."""
    from origcli.reports.verdict import needed_words

    needed = row.get(_NEEDED)
    return {**row, _NEEDED: needed_words(needed)} if isinstance(needed, str) else dict(row)


def rows(
    table: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    form: Format,
    *,
    title: str = "",
    whole: Any = None,
    drop: Sequence[str] = (),
) -> None:
    """Prints the rows of a result in the form asked for.

    Args:
        table: one mapping a row.
        columns: the columns, in order, of `table` and `csv`.
        form: `json` prints `whole` where it is given, else the list of rows.
        title: stands over the table on a terminal.
        whole: the report that the rows come from.
        drop: columns that a table leaves out where the terminal is narrow, the first one first.
    """
    match form:
        case Format.json:
            write(json_text(list(table) if whole is None else whole))
        case Format.jsonl:
            write("".join(json_text(row, None) for row in table))
        case Format.csv | Format.excel:
            csv(table, columns, mark=form is Format.excel)
        case Format.table:
            _write_table(table, columns, title, drop)


def remark_below(text: str, form: Format, say: Callable[[str], None]) -> None:
    """A paragraph below a table; on stderr for other forms, whose stdout is data. Nothing where empty."""
    if text and form is Format.table:
        paragraph(text)
    elif text:
        say(text)


def failures(errors: "Sequence[Failure]", form: Format, say: Callable[[str], None]) -> None:
    """Says what came to nothing: below a table, and on stderr for other forms, whose stdout is data."""
    for number, failure in enumerate(errors):
        text = f"{failure.message}{f' ({failure.hint})' if failure.hint else ''}"
        if form is not Format.table:
            say(text)
            continue
        if number == 0:
            write("\n")
        paragraph(f"error: {text}")


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
    lines = folded(one_line(text), min(_width(), _WIDEST_PARAGRAPH)) if _on_a_terminal() else [one_line(text)]
    write("".join(f"{line}\n" for line in lines))


def in_color() -> bool:
    """Whether stdout may have colors: on a terminal, unless NO_COLOR is set; anywhere with FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "") not in ("", "0"):
        return True
    return _on_a_terminal() and os.environ.get("TERM") != "dumb"


def heading(text: str) -> str:
    """A heading, bold where stdout may have it."""
    return painted(text, _BOLD)


def painted(text: str, *codes: int) -> str:
    """A text in color or bold, where stdout may have it."""
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m" if codes and in_color() else text


Verdict = tuple[str, str, str, Sequence[str]]  # name, kind, words, endings from the longest to the shortest


def verdicts(lines: Sequence[Verdict]) -> None:
    """Prints a line for each image: name, verdict, bold and in color where that may be, and an ending.

    Where a terminal is narrow, names lose their middle, and all lines have the longest ending that fits. A
    line that still does not fit goes on below, under its verdict.

    Args:
        lines: of each image its name, the kind of its verdict, the verdict, and what may follow it.
    """
    names = [one_line(name) for name, *_ in lines]
    column = min(max(map(text_width, names), default=0), _WIDEST_NAME)
    if not _on_a_terminal():
        for name, (_, kind, words, endings) in zip(names, lines, strict=True):
            _write_verdict(
                name.ljust(column), kind, one_line(words), [one_line("".join([words, *endings[:1]]))]
            )
        return
    chosen = _ending(lines, _width() - len(_BETWEEN) - min(column, _LEAST_NAME))
    widest = max((text_width(words + _chosen(endings, chosen)) for _, _, words, endings in lines), default=0)
    column = min(column, max(_width() - len(_BETWEEN) - widest, _LEAST_NAME))
    room = _width() - len(_BETWEEN) - column
    for name, (_, kind, words, endings) in zip(names, lines, strict=True):
        ending = _chosen(endings, chosen)
        name = shortened(name, column)
        padded = name + " " * (column - text_width(name))
        _write_verdict(padded, kind, one_line(words), folded(one_line(words + ending), room))


def _ending(lines: Sequence[Verdict], room: int) -> int:
    """Which of the endings is the longest that fits behind every verdict that has several; else the last."""
    several = [(words, endings) for _, _, words, endings in lines if len(endings) > 1]
    count = min((len(endings) for _, endings in several), default=1)
    fitting = (
        number
        for number in range(count)
        if all(text_width(words + endings[number]) <= room for words, endings in several)
    )
    return next(fitting, count - 1)


def _chosen(endings: Sequence[str], number: int) -> str:
    """One of a line's endings, or its last where it has fewer."""
    return endings[min(number, len(endings) - 1)] if endings else ""


def _write_verdict(name: str, kind: str, words: str, lines: Sequence[str]) -> None:
    """Writes the lines of an image, of which the first characters are its verdict."""
    codes = (_BOLD, *([_COLORS[kind]] if kind in _COLORS else []))
    left = len(words)
    for number, line in enumerate(lines):
        said, rest = line[: max(left, 0)], line[max(left, 0) :]
        left -= len(line) + 1
        before = f"{name}{_BETWEEN}" if number == 0 else " " * (text_width(name) + len(_BETWEEN))
        write(f"{before}{painted(said, *codes) if said else ''}{rest}\n")


def _write_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str, drop: Sequence[str]
) -> None:
    """A table of the rows that came to something, and below it the columns for which there is no room."""
    good = [row for row in rows if row.get(_ERROR) is None]
    width = _width() if _on_a_terminal() else None
    if title:
        write(f"{one_line(title)}\n")
    if rows and not good:
        return
    laid_out = table(good, [name for name in columns if name != _ERROR], width, drop=drop, style=_style)
    if laid_out.folder:
        write(f"in {shortened(laid_out.folder, (width or 0) - 4)}:\n")
    write("".join(f"{line}\n" for line in laid_out.lines))
    if laid_out.missing:
        left_out = ", ".join(map(heading_of, laid_out.missing))
        paragraph(f"not shown for lack of room: {left_out} (--format csv has all columns)")


def _style(column: str | None, value: str, line: str) -> str:
    """A line of a table's cell: headings bold, states and verdicts in their color."""
    if column is None:
        return painted(line, _BOLD)
    if column not in _COLORED:
        return line
    return painted(line, _COLORS[value]) if value in _COLORS else line


def _width() -> int:
    return shutil.get_terminal_size().columns
