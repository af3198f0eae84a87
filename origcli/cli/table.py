"""Tables that fit: the layout of rows on a terminal of any width, and in a pipe, as lines of text.

In this order, until the lines fit: paths are shortened in the middle, headings are folded, columns that can
be missed are left out, text is folded between words. A value and its interval share a cell.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from origcli.runtime.progress import one_line

Row = Mapping[str, Any]
Style = Callable[
    [str | None, str, str], str
]  # column or `None` for its heading, value, line -> line in color

PATHS = frozenset({"path", "file", "experiment"})  # columns whose cells are cut in the middle
LEAST_PATH = 20  # columns of the terminal that a path keeps
LONGEST_WORD = 32  # that is not shortened
GAP = "  "
TERMINAL_GAP = "   "
NOTHING = "–"
HEADINGS = {
    "l_det": "loss",
    "l_det_0": "loss without tokens",
    "lift": "times chance",
    "drawings": "samples",
    "pictures": "images",
}
_BOUNDS = ("_low", "_high")
_LARGE = 100  # from here on a number has no decimals: three digits say enough


@dataclass(frozen=True)
class Column:
    """One column of text.

    Attributes:
        name: of the values in the rows.
        cells: its text, a row each.
        kind: numbers stand at the right and are never folded; paths are shortened; text is folded.
        natural: the width at which nothing is folded or shortened.
        least: the width below which it cannot be read.
        width: in the lines.
    """

    name: str
    cells: tuple[str, ...]
    kind: Literal["number", "path", "text"]
    natural: int
    least: int
    width: int

    @property
    def title(self) -> str:
        """What stands over it."""
        return heading_of(self.name)


@dataclass(frozen=True)
class Table:
    """A table laid out.

    Attributes:
        lines: its lines, headings first.
        folder: the directory that all paths in it share and that is left out of them, or empty.
        missing: columns that were left out.
    """

    lines: tuple[str, ...]
    folder: str = ""
    missing: tuple[str, ...] = ()


def heading_of(name: str) -> str:
    """What stands over a column: its name in the words of the pages."""
    return HEADINGS.get(name, name.replace("_", " "))


def plain(column: str | None, value: str, line: str) -> str:
    """The style without any."""
    return line


def table(
    rows: Sequence[Row],
    names: Sequence[str],
    width: int | None = None,
    *,
    drop: Sequence[str] = (),
    style: Style = plain,
) -> Table:
    """Lays rows out.

    Args:
        rows: one mapping a row.
        names: the columns in order. `x` with `x_low` and `x_high` becomes one; a column in which no row has
            a value is left out.
        width: of the terminal; `None` is a pipe, where nothing is folded or left out.
        drop: columns to leave out, the first one first, where there is no room; those that go together are in
            one text, separated by spaces. Never all of them.
        style: colors a line of a cell.
    """
    columns = [_column(name, rows, names) for name in _shown(rows, names)]
    if width is None:
        return Table((*_headings(columns, GAP, style), *_body(columns, GAP, style)))
    columns, folder = _without_shared_folder(columns)
    columns, missing = _fitted(columns, width, drop)
    rule = "─" * min(_total(columns), width)
    lines = (*_headings(columns, TERMINAL_GAP, style), rule, *_body(columns, TERMINAL_GAP, style))
    return Table(lines, folder if any(column.kind == "path" for column in columns) else "", missing)


def text_width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, width: int) -> str:
    """A text that is too wide, without its middle; of a path, the name is kept if it fits."""
    if text_width(text) <= width:
        return text
    name = Path(text).name
    room = width - text_width(name) - 2  # for "…/"
    if os.sep in text and room > 0:
        return f"{_start(text, room)}…{os.sep}{name}"
    tail = (width - 1) // 2
    return f"{_start(text, width - 1 - tail)}…{_start(text[::-1], tail)[::-1]}"


def shared_folder(paths: Sequence[str]) -> str:
    """The directory that all of several paths share, where there is one worth leaving out of them."""
    if len(set(paths)) < 2:
        return ""
    try:
        shared = os.path.commonpath([str(Path(path).parent) for path in paths])
    except ValueError:  # both relative and absolute ones
        return ""
    return shared if shared not in ("", os.sep) else ""


def folded(text: str, width: int, *, shorten: bool = True) -> list[str]:
    """The lines of a text, broken between words.

    Args:
        shorten: a word that is too wide loses its middle; otherwise it stays whole on a separate line, so
            that it can be copied.
    """
    lines = [""]
    for word in text.split() if shorten else text.split(" "):
        word = shortened(word, width) if shorten else word
        longer = f"{lines[-1]} {word}".lstrip()
        if not lines[-1] or text_width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _start(text: str, width: int) -> str:
    """The start of a text that is at most so wide."""
    end = 0
    while end < len(text) and text_width(text[: end + 1]) <= width:
        end += 1
    return text[:end]


def _shown(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """The columns that stand for themselves and say something."""
    for name in names:
        value = next((name.removesuffix(end) for end in _BOUNDS if name.endswith(end)), name)
        bound = value != name and value in names
        if not bound and (not rows or any(row.get(name) is not None for row in rows)):
            yield name


def _column(name: str, rows: Sequence[Row], names: Sequence[str]) -> Column:
    low, high = (f"{name}{end}" if f"{name}{end}" in names else "" for end in _BOUNDS)
    cells = tuple(_with_interval(row.get(name), row.get(low), row.get(high)) for row in rows)
    title = heading_of(name)
    widest = max(map(text_width, cells), default=0)
    natural = max(widest, text_width(title))
    word = _longest_word(title)
    if all(isinstance(row.get(name), int | float | None) for row in rows):
        return Column(name, cells, "number", natural, max(widest, word), natural)
    if name in PATHS:
        return Column(name, cells, "path", natural, max(min(widest, LEAST_PATH), word), natural)
    longest = max(map(_longest_word, cells), default=0)
    return Column(name, cells, "text", natural, max(min(longest, LONGEST_WORD), word), natural)


def _longest_word(text: str) -> int:
    return max(map(text_width, text.split()), default=0)


def _with_interval(value: Any, low: Any, high: Any) -> str:
    """`0.303 (0.188–0.427)`, `-0.461 (-0.494 to -0.428)`, or the value alone."""
    if value is None or low is None or high is None:
        return _text(value)
    between = " to " if low < 0 or high < 0 else "–"
    return f"{_text(value)} ({_text(low)}{between}{_text(high)})"


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        is_count = abs(value) > 1 and value.is_integer()  # 0 and 1 are as often shares
        return f"{value:.0f}" if is_count or abs(value) >= _LARGE else f"{value:.3f}"
    return one_line(str(value))


def _without_shared_folder(columns: Sequence[Column]) -> tuple[list[Column], str]:
    """The columns with what all paths of the first column of paths share left out of it."""
    paths = next((column for column in columns if column.kind == "path"), None)
    folder = shared_folder(paths.cells) if paths is not None else ""
    if paths is None or not folder:
        return list(columns), ""
    cells = tuple(os.path.relpath(cell, folder) for cell in paths.cells)
    natural = max(map(text_width, (paths.title, *cells)))
    least = min(paths.least, natural)
    shorter = replace(paths, cells=cells, natural=natural, least=least, width=natural)
    return [shorter if column is paths else column for column in columns], folder


def _fitted(
    columns: Sequence[Column], width: int, drop: Sequence[str]
) -> tuple[list[Column], tuple[str, ...]]:
    """The columns with their widths, and the names of those that had no room."""
    kept = _narrowed(columns, width, {"path"})
    kept = _narrowed(kept, width, {"number"})  # of these, headings are folded
    missing: list[str] = []
    for names in map(str.split, drop):
        if _total(kept) > width:
            missing += [column.name for column in kept if column.name in names]
            kept = [column for column in kept if column.name not in names]
    kept = _narrowed(kept, width, {"text"})
    while _total(kept) > width and len(kept) > 1:
        missing.append(kept.pop().name)
    kept = [replace(column, width=min(column.width, width)) for column in kept]
    return _widened(kept, width), tuple(missing)


def _narrowed(columns: Sequence[Column], width: int, kinds: set[str]) -> list[Column]:
    """The columns, the widest of some kinds narrowed until the table fits or they reach their minimum."""
    kept = list(columns)
    while _total(kept) > width:
        can = [
            place for place, column in enumerate(kept) if column.kind in kinds and column.width > column.least
        ]
        if not can:
            break
        widest = max(can, key=lambda place: kept[place].width)
        kept[widest] = replace(kept[widest], width=kept[widest].width - 1)
    return kept


def _widened(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns with the room that is left given back to those that were made narrower."""
    kept = list(columns)
    for place, column in enumerate(kept):
        room = max(width - _total(kept), 0)
        kept[place] = replace(column, width=column.width + min(room, column.natural - column.width))
    return kept


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(TERMINAL_GAP) * (len(columns) - 1)


def _headings(columns: Sequence[Column], gap: str, style: Style) -> Iterator[str]:
    titles = [folded(column.title, column.width) for column in columns]
    names: list[str | None] = [None for _ in columns]
    yield from _laid_out(columns, names, [column.title for column in columns], titles, gap, style)


def _body(columns: Sequence[Column], gap: str, style: Style) -> Iterator[str]:
    names = [column.name for column in columns]
    for cells in zip(*(column.cells for column in columns), strict=True):
        lines = [_cell(column, text) for column, text in zip(columns, cells, strict=True)]
        yield from _laid_out(columns, names, cells, lines, gap, style)


def _cell(column: Column, text: str) -> list[str]:
    if text_width(text) <= column.width:
        return [text]
    return [shortened(text, column.width)] if column.kind == "path" else folded(text, column.width)


def _laid_out(
    columns: Sequence[Column],
    names: Sequence[str | None],
    texts: Sequence[str],
    cells: Sequence[Sequence[str]],
    gap: str,
    style: Style,
) -> Iterator[str]:
    """The lines of one row, whose cells may have several."""
    for number in range(max(map(len, cells), default=0)):
        parts = []
        for column, name, text, lines in zip(columns, names, texts, cells, strict=True):
            line = lines[number] if number < len(lines) else ""
            padding = " " * (column.width - text_width(line))
            shown = style(name, text, line) if line else line
            parts.append(f"{padding}{shown}" if column.kind == "number" else f"{shown}{padding}")
        yield gap.join(parts).rstrip()
