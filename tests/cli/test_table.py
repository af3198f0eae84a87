"""Tables fit the terminal: nothing is wider, no word is broken, what is missing is named."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.cli import compare, fixed_location, generalize
from origcli.cli.table import folded, heading_of, shared_folder, shortened, table, text_width
from origcli.reports.writers import read_report
from tests.docs.pages import ROOT

RESULTS = ROOT / "docs" / "results"
INTERVALS = ("path", "m", "distance", "distance_low", "distance_high")


def test_a_value_and_its_interval_share_a_cell() -> None:
    row = {"path": "a.png", "m": 1, "distance": 0.5, "distance_low": 0.4, "distance_high": 0.6}
    none = {**row, "distance_low": None, "distance_high": None}
    assert table([row, none], INTERVALS).lines == (
        "path   m             distance",
        "a.png  1  0.500 (0.400–0.600)",
        "a.png  1                0.500",
    )


def test_the_ends_of_an_interval_below_zero_stand_apart() -> None:
    row = {"difference": -0.5, "difference_low": -0.6, "difference_high": 0.4}
    assert table([row], tuple(row)).lines[1] == "-0.500 (-0.600 to 0.400)"


def test_paths_lose_what_they_share_and_then_their_middle() -> None:
    rows = [{"path": f"data/queries/images/{name}", "m": 1} for name in ("one/000000.png", "two/000001.png")]
    wide = table(rows, ("path", "m"), 60)
    assert wide.folder == "data/queries/images" and wide.lines[2].startswith("one/000000.png   1")
    (_, _, first, _) = table(
        [{**row, "path": f"{row['path']}/{'x' * 40}.png"} for row in rows], ("path", "m"), 30
    ).lines
    assert "…" in first and first.endswith("   1") and text_width(first) <= 30
    assert table(rows[:1], ("path", "m"), 60).folder == "", "one path is shown whole"


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["a/b/1.png", "a/b/2.png"], "a/b"),
        (["a/b/1.png", "a/2.png"], "a"),
        (["/tmp/1.png", "a/2.png"], ""),
        (["/1.png", "/2.png"], ""),
        (["a/1.png", "a/1.png"], ""),
    ],
)
def test_the_folder_that_paths_share(paths: list[str], folder: str) -> None:
    assert shared_folder(paths) == folder


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("a/b/c/name.png", 14, "a/b/c/name.png"),
        ("a/b/c/name.png", 13, "a/b…/name.png"),
        ("averylongname.png", 9, "aver….png"),
        ("图图图图图图.png", 9, "图图….png"),
    ],
)
def test_a_text_that_is_too_wide_loses_its_middle(text: str, width: int, short: str) -> None:
    assert shortened(text, width) == short and text_width(short) <= width


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z", "M")), min_size=1), st.integers(3, 40)
)
def test_shortened_text_is_never_too_wide(text: str, width: int) -> None:
    assert text_width(shortened(text, width)) <= width


def test_columns_are_left_out_before_text_is_folded() -> None:
    rows = [{"name": "sd15", "what": "the default model on a GPU", "license": "a license with many words"}]
    names = ("name", "what", "license")
    narrow = table(rows, names, 40, drop=("license",))
    assert narrow.missing == ("license",) and narrow.lines[-1] == "sd15   the default model on a GPU"
    narrower = table(rows, names, 24, drop=("license",))
    assert narrower.lines[-2:] == ("sd15   the default model", "       on a GPU")


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("command", ["fixed-location", "generalize", "popularity", "rarity"])
def test_tables_of_real_reports_fit(command: str, width: int) -> None:
    report = read_report(RESULTS / command, command)
    rows, columns = list(report.rows()), report.columns
    found = table(rows, columns, width)
    assert max(map(text_width, found.lines)) <= width
    words = {word for row in rows for value in row.values() for word in str(value).split()}
    heading = next(i for i, line in enumerate(found.lines) if line.startswith("─"))
    titles = {word for name in columns for word in heading_of(name).split()}
    assert set(" ".join(found.lines[:heading]).split()) <= titles, "no heading is broken"
    for line in found.lines[heading + 1 :]:
        for word in re.split(r"\s{2,}|\s", line):
            assert _whole(word, words), word


@pytest.mark.parametrize(
    ("name", "command", "column"),
    [
        ("generalize/report.json", generalize, "frequency"),
        ("fixed-location/report.json", fixed_location, "distance"),
        ("fine-tune/comparison.json", compare, "difference"),
    ],
)
def test_what_was_found_stays_at_sixty_columns(name: str, command: Any, column: str) -> None:
    rows = list(read_report(RESULTS / name).rows())
    found = table(rows, command.COLUMNS, 60, drop=command.DROP)
    assert column in found.lines[0].split() and max(map(text_width, found.lines)) <= 60


def _whole(word: str, words: set[str]) -> bool:
    """Whether something in a table is a word of the rows: a number, an end of a path, or a shortened word."""
    if not word or "…" in word or re.fullmatch(r"–|\(?-?[\d.]+(e-?\d+)?(–-?[\d.]+)?\)?|to", word):
        return True
    return word in words or any(one.endswith(f"/{word}") for one in words)


def test_a_table_in_a_pipe_is_whole() -> None:
    rows = [{"path": str(Path("a" * 300) / f"{i}.png"), "what": "many words " * 40} for i in range(2)]
    lines = table(rows, ("path", "what")).lines
    assert len(lines) == 3 and all(
        str(row["path"]) in line for row, line in zip(rows, lines[1:], strict=True)
    )


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (0.5, "0.500"),
        (99.9, "99.900"),
        (1.0, "1.000"),
        (93.0, "93"),
        (271.0, "271"),
        (-1234.5678, "-1235"),
        (300, "300"),
    ],
)
def test_large_numbers_and_counts_have_no_decimals(value: float, cell: str) -> None:
    assert table([{"value": value}], ("value",)).lines[1].strip() == cell


def test_headings_and_cells_are_words() -> None:
    row = {"l_det": 0.5, "drawings": 3, "in_order": False, "drawn_otherwise": True}
    assert table([row], tuple(row)).lines == (
        " loss  samples  in order  drawn otherwise",
        "0.500        3        no              yes",
    )


def test_folding_keeps_every_word() -> None:
    assert folded("one two three", 7) == ["one two", "three"]
    assert folded("", 7) == [""]
