"""Rows as CSV that a spreadsheet may open: no cell of it runs as a formula. Imports nothing heavy."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# What spreadsheets take as the start of a formula, also in its full-width forms.
_FORMULA_STARTS = tuple("=+-@\t\r\n\0＝＋－＠")


def safe_cell(value: Any) -> Any:
    """A CSV cell that no spreadsheet runs as a formula: text that starts like one gets a quote before it."""
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def csv_text(rows: Iterable[Mapping[str, Any]], names: Sequence[str], *, header: bool = True) -> str:
    """Rows as CSV; `None` is an empty cell."""
    lines = [_csv_line(names)] if header else []
    lines += (_csv_line([safe_cell(row.get(name)) for name in names]) for row in rows)
    return "".join(lines)


def _csv_line(cells: Sequence[Any]) -> str:
    # The writer quotes a carriage return only if lines end in one: they do here, and lose it again.
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"
