"""Reports in a notebook: images of the first results, and the first rows as an HTML table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from origcli.reports.picture_files import inlined

_SHOWN_ROWS = 50
_SHOWN_CARDS = 12
_SIDE = 112  # pixels


@dataclass(frozen=True)
class Card:
    """What a notebook shows of a result.

    Attributes:
        title: its name.
        words: the result in words.
        pictures: captions and names of files relative to the report.
    """

    title: str
    words: str
    pictures: Sequence[tuple[str, str | None]]


def html_cards(cards: Iterable[Card], directory: Path | None) -> str:
    """The first results with their images in the page itself; those whose files are gone, without."""
    return "".join(_card(card, directory) for card in islice(cards, _SHOWN_CARDS))


def _card(card: Card, directory: Path | None) -> str:
    figures = "".join(_figure(caption, directory, name) for caption, name in card.pictures)
    return (
        f'<div style="margin:0 0 1em"><b>{escape(card.title)}</b><br>{escape(card.words)}'
        f'<div style="display:flex;flex-wrap:wrap;gap:8px">{figures}</div></div>'
    )


def _figure(caption: str, directory: Path | None, name: str | None) -> str:
    shown = None if directory is None else inlined(directory, name)
    if shown is None:
        return ""
    rendering = ";image-rendering:pixelated" if shown.exact else ""
    return (
        f'<figure style="margin:0;font-size:small"><img src="{shown.uri}" alt="{escape(caption)}" '
        f'style="width:{_SIDE}px{rendering}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


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
