"""Figures for print: what is drawn is what was measured; nothing global changes; equal input, equal bytes."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from origcli.reports import figures
from origcli.reports.schema import ConfusionMatrix, Estimate, GeneralizeSummary, LevelSummary
from tests.reports import samples


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures behind the bytes, in the order they were made."""
    kept: list[Figure] = []

    def keep(figure: Figure, form: str) -> bytes:
        kept.append(figure)
        return b""

    monkeypatch.setattr(figures, "rendered", keep)
    return kept


def summary() -> GeneralizeSummary:
    return GeneralizeSummary(
        levels=tuple(
            LevelSummary(
                level=level, condition=condition, experiments=4,
                frequency=samples.estimate(0.001 * level, 0.001),
                lift=samples.estimate(1.5), confidence=Estimate.missing("none found"),
            )
            for level in (4, 30, 60)
            for condition in ("empty", "prompted")
        )
    )  # fmt: skip


def matrix() -> ConfusionMatrix:
    return ConfusionMatrix(classes=("a", "b", "background"), counts=((3, 1, 0), (0, 0, 0), (1, 0, 1)))


def test_the_curve_is_the_result_s(drawn: list[Any]) -> None:
    result = samples.result(None)
    figures.distance_curve(result, "elements")
    axes = drawn[0].axes[0]
    heights = [container.lines[0].get_ydata().tolist() for container in axes.containers]
    assert heights == [[p.distance.value for p in result.curve], [result.distance_0.value]]
    (bars,) = axes.containers[0].lines[2]
    ends = [segment[:, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(
        ends, np.array([(p.distance.low, p.distance.high) for p in result.curve], float)
    )
    assert {text.get_text() for text in axes.texts} == {"ceiling", "threshold", "floor"}


def test_groups_have_a_line_each_and_domains_a_panel_each(drawn: list[Any]) -> None:
    report = samples.report(*samples.many(None, 6, drawings=2), grouped=True)
    assert report.summary is not None
    figures.group_curves(report.summary.groups, "elements")
    assert len(drawn[0].axes) == 1 and len(drawn[0].axes[0].containers) == 3
    groups = [
        group.model_copy(update={"name": f"{domain}/{group.name}", "domain": domain})
        for domain in ("houses", "sports", "animals", "art", "people")
        for group in report.summary.groups[:2]
    ]
    figures.group_curves(groups, "DreamSim")
    shown = [axes for axes in drawn[1].axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["houses", "sports", "animals", "art", "people"]
    assert len({axes.get_ylim() for axes in shown}) == 1


def test_frequency_stands_against_the_number_of_elements_with_chance(drawn: list[Any]) -> None:
    figures.frequency_curves(summary())
    empty, prompted = drawn[0].axes  # each with a scale of its own
    assert [axes.get_title(loc="left") for axes in (empty, prompted)] == [
        "empty prompt",
        "prompt of the element",
    ]
    for axes in (empty, prompted):
        (values,) = (container.lines[0] for container in axes.containers)
        assert values.get_xdata().tolist() == [4, 30, 60]
        (chance,) = (line for line in axes.lines if line.get_label() == "chance")
        assert chance.get_ydata().tolist() == pytest.approx([1 / 4, 1 / 30, 1 / 60])
    assert empty.containers[0].lines[0].get_ydata().tolist() == pytest.approx([0.004, 0.03, 0.06])


def test_chance_of_the_lift_is_one(drawn: list[Any]) -> None:
    figures.frequency_curves(summary(), "lift")
    for axes in drawn[0].axes:
        (chance,) = (line for line in axes.lines if line.get_label() == "chance")
        assert set(chance.get_ydata()) == {1}


def test_a_quantity_that_was_never_measured_leaves_an_empty_figure(drawn: list[Figure]) -> None:
    figures.frequency_curves(summary(), "confidence")
    panels = drawn[0].axes
    assert [axes.get_title(loc="left") for axes in panels] == ["empty prompt", "prompt of the element"]
    for axes in panels:
        assert not axes.lines and not axes.containers and not axes.collections
        assert axes.get_xticks().tolist() == [4, 30, 60], "the levels are named all the same"


def test_rows_of_the_confusion_matrix_are_shares(drawn: list[Any]) -> None:
    figures.confusion(matrix())
    shares = np.ma.filled(drawn[0].axes[0].images[0].get_array(), np.nan)
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [np.nan] * 3, [0.5, 0, 0.5]])


def test_loss_curves_take_rows_with_gaps(drawn: list[Any]) -> None:
    figures.loss_curves([{"step": 0, "loss": 1.0}, {"step": 10, "loss": 0.5, "held_out": 0.6}], log=True)
    axes = drawn[0].axes[0]
    assert {line.get_label(): line.get_xydata().tolist() for line in axes.lines} == {
        "loss": [[0, 1.0], [10, 0.5]],
        "held_out": [[10, 0.6]],
    }
    assert axes.get_yscale() == "log"


def test_the_print_figure_shows_the_image_each_token_count_and_the_edit(
    tmp_path: Path, drawn: list[Any]
) -> None:
    result = samples.result(tmp_path, tokens=3, drawings=3)
    assert result.in_distribution is not None
    edit = result.in_distribution.model_copy(update={"kind": "edit"})
    figures.print_figure(tmp_path, [result.model_copy(update={"in_distribution": edit})])
    axes = drawn[0].axes
    assert [a.get_title() for a in axes] == ["image", "1 token", "2 tokens", "3 tokens", "edit"]
    assert all(a.images for a in axes)
    np.testing.assert_array_equal(axes[0].images[0].get_array(), np.asarray(samples.picture(0)))
    figures.print_figure(tmp_path, [result, samples.result(None, "gone", tokens=3)])
    assert [bool(a.images) for a in drawn[1].axes] == [True] * 4 + [False] * 4, (
        "no edit: placement is no edit"
    )


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_equal_figures_are_equal_bytes_without_a_date(form: figures.Form) -> None:
    first, second = (figures.loss_curves([{"step": 0, "loss": 1.0}], form=form) for _ in range(2))
    assert first == second
    assert b"CreationDate" not in first and b"Matplotlib" not in first
    if form == "png":
        assert Image.open(io.BytesIO(first)).width > 800


@pytest.mark.parametrize("name", ["$x_{", "$x_{$", "<script>", "a\\b", "caf\u00e9"])
def test_names_are_no_mathematics(name: str, drawn: list[Any]) -> None:
    figures.picture_grid([name], [name], {(0, 0): samples.picture(0)}, note=name)
    figure = drawn[0]
    figure.savefig(io.BytesIO(), format="svg")  # laid out as it would be for print: mathematics fails here
    (axes,) = figure.axes
    for text in (axes.title, axes.yaxis.label, figure._supxlabel):
        assert text.get_text().replace(r"\$", "$") == name
        _, math = text._preprocess_math(text.get_text())
        assert math is False


def test_nothing_global_changes() -> None:
    before = dict(matplotlib.rcParams)
    figures.confusion(matrix())
    assert dict(matplotlib.rcParams) == before
    code = "import sys, origcli.reports.figures; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
