"""The small charts: scales, labels that do not meet, valid XML whatever the names."""

import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.reports import svg
from origcli.reports.svg import Level, Line, Mark

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(finite, finite)
def test_a_nice_range_holds_its_ends_on_few_even_ticks(a: float, b: float) -> None:
    low, high, ticks = svg.nice_range(min(a, b), max(a, b))
    slack = 1e-6 * max(1.0, abs(a), abs(b))
    assert low <= min(a, b) + slack and high >= max(a, b) - slack
    assert 2 <= len(ticks) <= 9
    steps = [y - x for x, y in pairwise(ticks)]
    assert max(steps) - min(steps) <= slack


@given(st.lists(st.floats(0, 300), min_size=1, max_size=10))
def test_labels_keep_their_distance(positions: list[float]) -> None:
    moved = svg.spaced(positions, 14, 0, 300)
    ordered = sorted(moved)
    assert all(b - a >= 14 - 1e-6 for a, b in pairwise(ordered))
    assert all(-1e-6 <= y <= 300 + 1e-6 for y in moved)
    by_place = sorted(range(len(positions)), key=lambda i: positions[i])
    assert [moved[i] for i in by_place] == ordered


def _chart(name: str = "a", **options: Any) -> ET.Element:
    lines = [
        Line(name, (Mark(1, 0.5, 0.4, 0.6, (0.45, 0.55)), Mark(2, 0.3, 0.2, 0.4))),
        Line("b", (Mark(1, 0.7), Mark(2, 0.6))),
    ]
    drawn = svg.line_chart(
        lines, width=400, height=300, x_label="m", y_label=name, description=name,
        levels=[Level("threshold", 0.42, "threshold")], **options,
    )  # fmt: skip
    return ET.fromstring(str(drawn))


def test_a_chart_shows_all_that_it_was_given() -> None:
    chart = _chart()
    kinds = [element.get("class", "") for element in chart.iter()]
    assert kinds.count("mark") == 4 and kinds.count("bar") == 2 and kinds.count("reading") == 2
    assert kinds.count("level threshold") == 1
    texts = [element.text for element in chart.iter("text")]
    assert {"1", "2", "a", "b", "threshold", "m"} <= set(texts)


def test_a_higher_value_stands_higher_and_the_scale_is_true() -> None:
    chart = _chart()
    marks = [element for element in chart.iter("circle") if element.get("class") == "mark"]
    first, second = (float(mark.get("cy", "nan")) for mark in marks[:2])
    other = float(marks[2].get("cy", "nan"))
    assert other < first < second
    assert (second - first) / (first - other) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & b", "x" * 90]
)
def test_names_are_text(name: str) -> None:
    chart = _chart(name)
    assert not [element for element in chart.iter() if element.tag in ("script", "img")]
    assert chart.findtext("title") == name


def test_equal_values_and_a_single_mark_make_a_chart() -> None:
    drawn = svg.line_chart(
        [Line("", (Mark(1, 0.0),))], width=300, height=200, x_label="m", y_label="d",
        description="", from_zero=False,
    )  # fmt: skip
    assert "nan" not in str(drawn)
    ET.fromstring(str(drawn))


@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_the_ruler_puts_a_value_in_its_place(value: float) -> None:
    bar = ET.fromstring(
        str(svg.scale_bar(value, 0.0, 1.0, width=216, ends=("least", "most"), description="d"))
    )
    (mark,) = bar.iter("circle")
    assert float(mark.get("cx", "nan")) == pytest.approx(8 + 200 * value, abs=0.06)


def test_landmarks_stand_on_the_ruler_and_no_line_runs_through_a_name() -> None:
    marks = [("middle", 0.4), ("low", 0.02), ("high", 0.9), ("near", 0.05)]
    drawn = svg.scale_bar(0.3, None, None, width=216, ends=("a", "b"), description="d", landmarks=marks)
    bar = ET.fromstring(str(drawn))
    lines = [one.get("d", "") for one in bar.iter("path") if one.get("class") == "lead-line"]
    starts = [(float(x), float(y)) for d in lines for x, y in [d[1:].split("V")[0].split()]]
    assert sorted(x for x, _ in starts) == pytest.approx([12, 18, 88, 188], abs=0.06)
    names = {one.text: one for one in bar.iter("text")}
    for name, at in marks:
        label = names[name]
        x, y = (float(label.get(axis, "nan")) for axis in "xy")
        left, right = (x - 7 * len(name), x) if label.get("text-anchor") == "end" else (x, x + 7 * len(name))
        assert left >= 0 and right <= 216
        crossing = [px for px, py in starts if left < px < right and py < y and px != 8 + 200 * at]
        assert not crossing, name


def test_a_sparkline_stays_in_its_box() -> None:
    spark = ET.fromstring(str(svg.sparkline([2.0, 0.5, -1.0], 0.4, top=1.0)))
    assert [float(dot.get("cy", "nan")) for dot in spark.iter("circle")] == [3.0, 15.0, 27.0]
    ET.fromstring(str(svg.sparkline([0.4], None, top=1.0)))
