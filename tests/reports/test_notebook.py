"""Reports as tables in notebooks."""

import re

import pytest

from origcli.reports.schema import SCHEMAS
from tests.reports import samples
from tests.reports.test_schema import example


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_report_is_a_table_in_a_notebook(name: str) -> None:
    report = example(name)
    text = report._repr_html_()
    rows = list(report.rows())
    assert text.count("<tr>") == len(rows) + 1
    shown = [heading.replace(" ", "_") for heading in re.findall(r"<th>(.*?)</th>", text)]
    assert set(shown) <= {*report.columns, "error"} and len(shown) == len(set(shown))
    assert all(name in shown for name in report.columns if any(row.get(name) is not None for row in rows))


def test_a_file_name_is_no_markup() -> None:
    text = samples.report(samples.result(None, path="<script>.png"))._repr_html_()
    assert "<script>" not in text and "&lt;script&gt;.png" in text


def test_a_large_report_shows_its_first_rows() -> None:
    report = samples.report(*samples.many(None, 80, drawings=1))
    assert report._repr_html_().count("<tr>") == 51
