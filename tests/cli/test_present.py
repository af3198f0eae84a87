"""The forms of output, and text that steers nothing."""

import csv
import io
import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.cli import present
from origcli.cli.options import Format
from origcli.errors import InputError
from origcli.reports.envelope import Failure
from origcli.reports.spreadsheet import safe_cell
from origcli.runtime.progress import one_line

ROWS = [
    {"image": "a.png", "tokens": 1, "distance": 0.25, "reason": None},
    {"image": "b.png", "tokens": 12, "distance": None, "reason": "no ceiling"},
]
COLUMNS = ("image", "tokens", "distance", "reason")


def shown(form: Format, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    present.rows(ROWS, COLUMNS, form, **options)
    return capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(shown(Format.json, capsys)) == ROWS
    assert json.loads(shown(Format.json, capsys, whole={"results": ROWS})) == {"results": ROWS}


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert [json.loads(line) for line in shown(Format.jsonl, capsys).splitlines()] == ROWS


def test_csv(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(csv.DictReader(io.StringIO(shown(Format.csv, capsys))))
    assert found[0] == {"image": "a.png", "tokens": "1", "distance": "0.25", "reason": ""}


def test_a_table_in_a_pipe_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(Format.table, capsys).splitlines() == [
        "image  tokens  distance  reason",
        "a.png       1     0.250  –",
        "b.png      12         –  no ceiling",
    ]


def test_a_table_has_no_column_in_which_nothing_stands(capsys: pytest.CaptureFixture[str]) -> None:
    present.rows(ROWS[:1], COLUMNS, Format.table)
    assert capsys.readouterr().out.splitlines()[0].split() == ["image", "tokens", "distance"]
    present.rows(ROWS[:1], COLUMNS, Format.csv)
    assert capsys.readouterr().out.splitlines()[0].split(",") == list(COLUMNS)


def test_a_table_without_rows_has_all_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    present.rows([], COLUMNS, Format.table)
    assert capsys.readouterr().out.split() == list(COLUMNS)


def test_a_table_in_a_pipe_folds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    present.rows([{"image": "x" * 500}], ("image",), Format.table)
    assert "x" * 500 in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("no_color", [False, True])
def test_a_table_on_a_terminal_fits_it(width: int, no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    present.rows([{"image": "y" * 300, "tokens": 1}], ("image", "tokens"), Format.table, title="scores")
    text = terminal.getvalue()
    assert "scores" in text
    colors = re.findall(r"\x1b\[(?:[0-9;]*;)?(?:3|4|9)[0-9]", text)
    assert not (colors and no_color)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= width


def test_a_paragraph_is_wrapped_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "one two-three " * 30
    present.paragraph(text.strip())
    assert capsys.readouterr().out == f"{text.strip()}\n"
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    present.paragraph(text)
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 60 and " ".join(lines) == text.strip()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str) -> None:
    assert safe_cell(f"{start}cmd()") == f"'{start}cmd()"
    assert safe_cell(-1.5) == -1.5


def test_nan_is_no_json() -> None:
    with pytest.raises(ValueError):
        present.json_text({"a": float("nan")})


@pytest.mark.fault(26, "control characters never reach the terminal")
@given(st.text())
def test_no_text_steers_the_terminal(text: str) -> None:
    assert all(c.isprintable() for c in one_line(text))
    if text.isprintable():
        assert one_line(text) == text


def test_an_error_with_a_strange_name(capsys: pytest.CaptureFixture[str]) -> None:
    from origcli.errors import InputError

    present.error(InputError("a\x1b[2Jb\nc.png: not a picture"))
    assert capsys.readouterr().err == "origcli: a\\x1b[2Jb\\nc.png: not a picture\n"


def test_errors_are_broken_between_words_on_a_terminal_and_paths_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = f"/a/{'long' * 20}/b.png"
    problem = InputError(
        f"{path}: not a file that can be read by anyone here at all", "give another one of them"
    )
    for terminal in (True, False):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setattr(sys, "stderr", stream)
        present.error(problem)
        lines = stream.getvalue().splitlines()
        if not terminal:
            assert lines == [f"origcli: {problem.message}", f"  hint: {problem.hint}"]
            continue
        assert lines == [
            "origcli:",
            f"  {path}:",
            "  not a file that can be read by anyone",
            "  here at all",
            "  hint: give another one of them",
        ]


@pytest.mark.fault(27, "still valid JSON")
def test_names_that_are_no_utf8_are_still_json() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    before, sys.stdout = sys.stdout, stream
    try:
        present.prepare_streams()
        present.write(present.json_text({"path": "caf\udce9 é …"}))
    finally:
        sys.stdout = before
    assert json.loads(raw.getvalue().decode("utf-8")) == {"path": "caf\udce9 é …"}


HOSTILE = "a\x1b[2J\x9b31m\r\u202e.png"


@pytest.mark.fault(26, "nor do they in CSV and JSON on a terminal; files and pipes have the name as it is")
@pytest.mark.parametrize("form", [Format.csv, Format.excel, Format.json, Format.jsonl])
def test_names_steer_no_terminal_in_any_form(
    form: Format, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    present.rows([{"image": HOSTILE}], ("image",), form)
    piped = capsys.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    present.rows([{"image": HOSTILE}], ("image",), form)
    shown = terminal.getvalue()
    steering = {c for c in shown.removeprefix(present.BYTE_ORDER_MARK) if not c.isprintable()} - {"\n"}
    assert not steering and "\x9b" in piped and "\u202e" in piped
    if form in (Format.json, Format.jsonl):
        (row,) = (
            [json.loads(line) for line in shown.splitlines()] if form is Format.jsonl else json.loads(shown)
        )
        assert row == {"image": HOSTILE}
    else:
        assert list(csv.reader(io.StringIO(piped)))[1] == [HOSTILE]


def test_excel_knows_its_csv_by_a_mark(capsys: pytest.CaptureFixture[str]) -> None:
    marked, plain = shown(Format.excel, capsys), shown(Format.csv, capsys)
    assert marked == f"\ufeff{plain}" and marked.encode().startswith(b"\xef\xbb\xbf")


def test_verdicts_stand_under_each_other_bold_where_there_is_color(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [("a.png", "redrawn", "familiar", [" · 0.00"]), ("long.png", "", "unfamiliar\x1b[2J", [])]
    plain = "a.png     familiar · 0.00\nlong.png  unfamiliar\\x1b[2J\n"
    present.verdicts(lines)
    assert capsys.readouterr().out == plain

    monkeypatch.setattr(present, "_on_a_terminal", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    present.verdicts(lines)
    assert "a.png     \x1b[1;36mfamiliar\x1b[0m · 0.00\n" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    present.verdicts(lines)
    assert capsys.readouterr().out == plain


LONG = "unfamiliar to shapes: not redrawn with up to 5 tokens"
ENDINGS = [" · originality 0.63 (0.56–0.67)", " · originality 0.63", " · 0.63", ""]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (140, [f"some/where/000003.png  {LONG}{ENDINGS[0]}"]),
        (100, [f"some/where/000003.png  {LONG}{ENDINGS[1]}"]),
        (80, [f"some/w…/000003.png  {LONG}{ENDINGS[2]}"]),
        (60, ["some…/000003.png  unfamiliar to shapes: not redrawn with up", " " * 18 + "to 5 tokens"]),
    ],
)
def test_the_line_of_an_image_fits_the_terminal(
    width: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    present.verdicts([("some/where/000003.png", "not-redrawn", LONG, ENDINGS)])
    assert terminal.getvalue().splitlines() == lines


@pytest.mark.parametrize(
    ("terminal", "variables", "color"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_states_have_a_color_where_colors_may_be(
    terminal: bool, variables: dict[str, str], color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"NO_COLOR": "", "FORCE_COLOR": "", "TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    present.rows([{"check": "ok", "state": "ok"}], ("check", "state"), Format.table)
    assert stream.getvalue().count("\x1b[32mok\x1b[0m") == color and ("\x1b" in stream.getvalue()) is color


def test_what_came_to_nothing_stands_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(path="b.png", code="input", message="b.png: not an image", hint="convert it")
    said: list[str] = []
    present.rows([{"path": "a.png", "error": None}, failure.row()], ("path", "error"), Format.table)
    present.failures([failure], Format.table, said.append)
    assert capsys.readouterr().out.splitlines() == [
        "path",
        "a.png",
        "",
        "error: b.png: not an image (convert it)",
    ]
    present.failures([failure], Format.csv, said.append)
    assert capsys.readouterr().out == "" and said == ["b.png: not an image (convert it)"]
