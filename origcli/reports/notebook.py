"""Reports in a notebook: their first rows as an HTML table."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

_SHOWN_ROWS = 50


def html_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The first rows of a report as an HTML table, without the columns that are empty in all of them."""
    listed = list(islice(rows, _SHOWN_ROWS))
    wanted = dict.fromkeys((*columns, "error"))
    names = [name for name in wanted if any(row.get(name) is not None for row in listed)]
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in names)}</tr>" for row in listed
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))
