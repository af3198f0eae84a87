"""Files of reports: equal bytes, streams, spreadsheets that run nothing, logs that survive a kill."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import InputError, StorageError
from origcli.reports import spreadsheet, writers
from origcli.reports.schema import SCHEMAS, ScoreResult
from tests.reports import samples
from tests.reports.test_schema import example


def test_a_stream_of_results_is_the_same_file_as_all_at_once(tmp_path: Path) -> None:
    results = samples.many(None, 3, drawings=4)
    report = samples.report(*results, failures=2)
    whole, stream = tmp_path / "whole", tmp_path / "stream"
    whole.mkdir()
    stream.mkdir()
    writers.write_report(whole, report)
    writers.write_report(stream, report.model_copy(update={"results": ()}), iter(results))
    for name in ("report.json", "report.csv"):
        assert (whole / name).read_bytes() == (stream / name).read_bytes()
    text = (whole / "report.json").read_text("utf-8")
    assert json.loads(text) == report.to_json()
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert text.count("\n") < 1000, "lists of numbers stand on one line"


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_report_is_written_and_read_back(name: str, tmp_path: Path) -> None:
    report = example(name)
    writers.write_report(tmp_path, report)
    assert writers.read_report(tmp_path) == report
    assert writers.read_report(tmp_path / "report.json", expected=name) == report
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text("utf-8"))))
    assert rows and tuple(rows[0]) == report.columns
    for row in report.rows():
        assert row.keys() <= {*report.columns}


def test_the_csv_has_a_row_an_image_and_m(tmp_path: Path) -> None:
    inside, outside = samples.result(None, tokens=3), samples.result(None, "other", outside=True)
    report = samples.report(inside, outside, failures=1)
    writers.write_report(tmp_path, report)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text("utf-8"))))
    assert [(row["id"], row["m"]) for row in rows] == [
        *(("photo", m) for m in "123"),
        ("other", ""),
        ("", ""),
    ]
    assert float(rows[1]["distance"]) == inside.curve[1].distance.value
    assert rows[3]["verdict"] == "out-of-domain" and rows[3]["originality"] == ""
    assert rows[4]["error"] == "input: broken-0.jpg: damaged or unreadable image"


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@sum", "\tx", "\rx", "＝x", "\nx"])
def test_a_name_like_a_formula_stays_a_name(name: str, tmp_path: Path) -> None:
    result = samples.result(None, path=name)
    writers.write_report(tmp_path, samples.report(result))
    rows = list(csv.DictReader((tmp_path / "report.csv").open(encoding="utf-8", newline="")))
    assert rows[0]["path"] == f"'{name}"
    assert writers.read_report(tmp_path).results[0].image.path == name


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_any_text_comes_back_from_its_cell(texts: list[str]) -> None:
    names = [f"c{i}" for i in range(len(texts))]
    written = spreadsheet.csv_text([dict(zip(names, texts, strict=True))], names)
    (row,) = csv.DictReader(io.StringIO(written, newline=""))
    assert [row[name] for name in names] == [spreadsheet.safe_cell(text) for text in texts]


@pytest.mark.fault(26, "no cell of a CSV starts as a formula")
@given(st.text())
def test_no_cell_starts_as_a_formula(text: str) -> None:
    assert not str(spreadsheet.safe_cell(text)).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert str(spreadsheet.safe_cell(text)).endswith(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False,
       allow_infinity=False), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_the_layout_of_json_changes_no_value(value: Any) -> None:
    assert json.loads(writers.json_text(value)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "names no schema"),
        ('{"schema": "origcli/score/99"}', "origcli/score/99"),
        ('{"schema": "origcli/score/1"}', "status"),
        ('{"schema": ["x"]}', "schema is"),
        ("[" * 100_000, "not valid JSON"),
        ('{"schema": "origcli/score/1", "status": NaN}', "status"),
    ],
)
def test_what_is_no_report_is_refused_with_its_name(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        writers.read_report(path)
    assert str(path) in caught.value.message


def test_a_report_of_another_command_is_refused(tmp_path: Path) -> None:
    writers.write_report(tmp_path, example("synth"))
    with pytest.raises(InputError, match="a report of synth, not of score"):
        writers.read_report(tmp_path, expected="score")


def test_a_failed_write_keeps_the_old_report(tmp_path: Path) -> None:
    report = samples.report(samples.result(None))
    writers.write_report(tmp_path, report)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken() -> Any:
        yield report.results[0]
        raise InputError("the stream broke")

    with pytest.raises(InputError, match="the stream broke"):
        writers.write_report(tmp_path, report, broken())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_log_gives_back_what_was_put_in(tmp_path: Path) -> None:
    log = writers.ResultLog(tmp_path / "results.jsonl", ScoreResult)
    assert list(log) == []
    results = samples.many(None, 3, drawings=2)
    lines = [log.append(result) for result in results]
    assert (tmp_path / "results.jsonl").read_text("utf-8") == "".join(lines)
    assert tuple(writers.ResultLog(tmp_path / "results.jsonl", ScoreResult)) == results


@pytest.mark.parametrize("kept", [0, 1, 50, -2, -1])
def test_a_log_that_was_torn_at_any_byte_goes_on_whole(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    log = writers.ResultLog(path, ScoreResult)
    first, second = samples.many(None, 2, drawings=2)
    log.append(first)
    begun = path.stat().st_size
    line = log.append(second).encode()
    path.write_bytes(path.read_bytes()[:begun] + line[:kept])
    again = writers.ResultLog(path, ScoreResult)
    assert list(again) == [first]
    again.append(second)
    assert list(again) == [first, second]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"id": 1}\n')
    with pytest.raises(InputError, match="line 1"):
        list(writers.ResultLog(path, ScoreResult))


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    log = writers.ResultLog(tmp_path / "nosuch" / "results.jsonl", ScoreResult)
    with pytest.raises(StorageError, match="cannot write"):
        log.append(samples.result(None))
