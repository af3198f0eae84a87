"""Figures for print (matplotlib): each function returns the bytes of a PNG or PDF, equal for equal input.

Nothing global is touched: no pyplot, no settings file, no display.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from origcli.reports.chosen_samples import typical, with_tokens
from origcli.reports.envelope import Estimate
from origcli.reports.numerals import number
from origcli.reports.saved_images import read_saved_image
from origcli.reports.schema import ConfusionMatrix, GeneralizeSummary
from origcli.reports.score import GroupSummary, ScoreResult
from origcli.reports.verdict import tokens

Form = Literal["png", "pdf"]

COLORS = ("#1d5a8a", "#b85c00", "#00795c", "#a8467f", "#5f4bb6", "#7a6a00", "#0089a8", "#55606b")
MARKS = "osD^vPX*"
_INK, _SOFT, _RULE, _LIMIT = "#1b1d1f", "#5b6168", "#dfe1e3", "#b3441c"
_WIDTH = 5.4  # inches: the text width of a paper
_DPI = 200
_CONDITIONS = {"empty": "empty prompt", "prompted": "prompt of the element"}


def rendered(figure: Figure, form: Form) -> bytes:
    """The bytes of a figure's file, without a date or a version in it."""
    buffer = io.BytesIO()
    dropped = ("Software",) if form == "png" else ("CreationDate", "Creator", "Producer")
    figure.savefig(buffer, format=form, dpi=_DPI, metadata=dict.fromkeys(dropped), facecolor="white")
    return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _styled(axes: Axes, x_label: str, y_label: str) -> Axes:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.grid(axis="y", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_SOFT, labelsize=8, length=0)
    axes.set_xlabel(_plain(x_label), fontsize=9, color=_INK)
    axes.set_ylabel(_plain(y_label), fontsize=9, color=_INK)
    return axes


def _plain(text: str) -> str:
    """Text that matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")


def _series(
    axes: Axes, xs: Sequence[float], estimates: Sequence[Estimate], index: int, name: str, **style: Any
) -> None:
    """A line through the values that there are, with their intervals."""
    known = [(x, e.value, e.low, e.high) for x, e in zip(xs, estimates, strict=True) if e.value is not None]
    if not known:
        return
    color, mark = COLORS[index % len(COLORS)], MARKS[index % len(MARKS)]
    x, y = [k[0] for k in known], [k[1] for k in known]
    below = [0.0 if k[2] is None else max(0.0, k[1] - k[2]) for k in known]
    above = [0.0 if k[3] is None else max(0.0, k[3] - k[1]) for k in known]
    options = {"color": color, "marker": mark, "markersize": 4, "linewidth": 1.3, "capsize": 2.5, **style}
    axes.errorbar(x, y, yerr=(below, above), label=_plain(name), elinewidth=1, **options)


def distance_curve(result: ScoreResult, metric: str, form: Form = "png") -> bytes:
    """d(m) of one image: intervals, single samples, threshold, floor and ceiling."""
    figure = _figure(_WIDTH, 3.2)
    axes = _styled(figure.subplots(), "learned tokens m", f"{metric} distance")
    for point in result.curve:
        readings = [d for repeat in point.distances for d in repeat]
        offsets = ((np.arange(len(readings)) * 0.618) % 1 - 0.5) * 0.25
        axes.scatter(point.m + offsets, readings, s=5, color=COLORS[0], alpha=0.3, linewidths=0)
    _series(axes, [p.m for p in result.curve], [p.distance for p in result.curve], 0, "d(m)")
    _series(axes, [0], [result.distance_0], 0, "d(0)", markerfacecolor="white")
    for name, value, color in (
        ("ceiling", result.ceiling.value, _SOFT),
        ("threshold", result.threshold.value, _LIMIT),
        ("floor", result.floor.value, _SOFT),
    ):
        if value is not None:
            style = "--" if name == "threshold" else ":"
            axes.axhline(value, color=color, linewidth=0.9, linestyle=style)
            axes.annotate(
                name,
                (1.01, value),
                xycoords=axes.get_yaxis_transform(),
                fontsize=8,
                color=color,
                va="center",
            )
    axes.set_xticks([0, *(point.m for point in result.curve)])
    axes.set_ylim(bottom=0)
    return rendered(figure, form)


def group_curves(groups: Sequence[GroupSummary], metric: str, form: Form = "png") -> bytes:
    """Distance against tokens, a line a group with intervals; a panel a domain where there are domains."""
    shown = [group for group in groups if group.curve]
    domains = list(dict.fromkeys(group.domain for group in shown)) or [None]
    columns = min(3, len(domains))
    rows = -(-len(domains) // columns)
    figure = _figure(_WIDTH if columns == 1 else 2.6 * columns, 3.2 if columns == 1 else 2.4 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, domain in zip(panels, domains, strict=False):
        _styled(axes, "learned tokens m", f"{metric} distance")
        axes.set_title(_plain(domain or ""), fontsize=9, color=_INK, loc="left")
        for index, group in enumerate(g for g in shown if g.domain == domain):
            name = f"{group.name.removeprefix(f'{domain}/')} (n = {group.count})"
            _series(axes, [p.m for p in group.curve], [p.distance for p in group.curve], index, name)
        if axes.lines:
            axes.legend(loc="best", frameon=False, fontsize=8, labelcolor=_INK)
            axes.set_xticks(sorted({p.m for g in shown for p in g.curve}))
            axes.set_ylim(bottom=0)
        if len(domains) > 1:
            axes.label_outer()
    for axes in panels[len(domains) :]:
        axes.set_visible(False)
    return rendered(figure, form)


def loss_curves(
    history: Sequence[Mapping[str, float]],
    names: Sequence[str] | None = None,
    log: bool = False,
    form: Form = "png",
) -> bytes:
    """Readings while training against steps, one line a name.

    Args:
        history: rows with `step` and any readings, in the order of steps; not every row has every reading.
        names: which readings; all when `None`.
        log: a logarithmic y axis.
    """
    names = sorted({name for row in history for name in row} - {"step"}) if names is None else names
    figure = _figure(_WIDTH, 3.0)
    axes = _styled(figure.subplots(), "step", "loss" if len(names) != 1 else names[0])
    for index, name in enumerate(names):
        points = [(row["step"], row[name]) for row in history if name in row]
        color = COLORS[index % len(COLORS)]
        axes.plot(
            [x for x, _ in points], [y for _, y in points], color=color, linewidth=1.2, label=_plain(name)
        )
    if log:
        axes.set_yscale("log")
    if len(names) > 1:
        axes.legend(loc="upper right", frameon=False, fontsize=8, labelcolor=_INK)
    return rendered(figure, form)


def confusion(matrix: ConfusionMatrix) -> bytes:
    """Share of each true class (row) found as each class (column); a row without elements stays empty."""
    counts = np.array(matrix.counts, dtype=float)  # (K, K)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    side = max(3.5, 0.16 * len(matrix.classes) + 1.6)
    figure = _figure(side, side)
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    names = [_plain(name) for name in matrix.classes]
    size = 8 if len(names) < 20 else 5
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.tick_params(length=0, colors=_SOFT)
    axes.set_xlabel("found as", fontsize=9, color=_INK)
    axes.set_ylabel("true element", fontsize=9, color=_INK)
    bar = figure.colorbar(image, ax=axes, shrink=0.6)
    bar.set_label("share of the row", fontsize=8, color=_INK)
    bar.ax.tick_params(labelsize=8, colors=_SOFT)
    return rendered(figure, "png")


def frequency_curves(
    summary: GeneralizeSummary,
    quantity: Literal["frequency", "lift", "confidence"] = "frequency",
    form: Form = "png",
) -> bytes:
    """A quantity of the held-out element against diversity, a panel a condition (main paper, figure 3).

    Each panel has a scale of its own: what is asked for turns up tens of times as often as what is not.
    """
    figure = _figure(_WIDTH, 2.6)
    label = {
        "frequency": "frequency of the held-out element",
        "lift": "frequency × number of elements",
        "confidence": "confidence in the held-out element",
    }[quantity]
    levels = sorted({average.level for average in summary.levels})
    for index, (axes, (condition, name)) in enumerate(
        zip(figure.subplots(1, len(_CONDITIONS)), _CONDITIONS.items(), strict=True)
    ):
        _styled(axes, "number of elements", "" if index else label)
        axes.set_title(name, fontsize=9, color=_INK, loc="left")
        chosen = sorted(
            (average for average in summary.levels if average.condition == condition),
            key=lambda average: average.level,
        )
        _series(
            axes,
            [average.level for average in chosen],
            [getattr(average, quantity) for average in chosen],
            index,
            name,
        )
        if quantity != "confidence" and levels:
            chance = [1 / level if quantity == "frequency" else 1 for level in levels]
            axes.plot(levels, chance, ":", color=_SOFT, linewidth=1, label="chance")
            axes.annotate(
                "chance",
                (levels[0], chance[0]),
                (6, 1),
                textcoords="offset points",
                fontsize=8,
                color=_SOFT,
            )
        axes.set_xticks(levels)
        axes.set_ylim(bottom=0)
    return rendered(figure, form)


def picture_grid(
    rows: Sequence[str],
    columns: Sequence[str],
    pictures: Mapping[tuple[int, int], Image.Image],
    note: str = "",
    form: Form = "png",
) -> bytes:
    """Images in a labelled grid, at a size for print.

    Args:
        rows, columns: the labels.
        pictures: (row, column) -> PIL image; a place without one stays empty.
        note: a line under the grid.
    """
    side = 0.95
    figure = _figure(side * len(columns) + 0.9, (side + 0.05) * len(rows) + 0.35 + (0.25 if note else 0))
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            axes = grid[i][j]
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set(color=_RULE, linewidth=0.6, visible=(i, j) in pictures)
            if (i, j) in pictures:
                picture = pictures[i, j]
                axes.imshow(picture, interpolation="nearest" if picture.width <= 128 else "antialiased")
            if i == 0:
                axes.set_title(_plain(column), fontsize=8, color=_INK)
            if j == 0:
                axes.set_ylabel(_plain(row), fontsize=8, color=_INK, rotation=0, ha="right", va="center")
    if note:
        figure.supxlabel(_plain(note), fontsize=7, color=_SOFT)
    return rendered(figure, form)


def _measured(result: ScoreResult) -> str:
    """The line under a print figure: what was measured."""
    points = ", ".join(f"d({p.m}) = {number(p.distance.value)}" for p in result.curve)
    return f"{points}; originality {number(result.originality.value)}" if points else "not measured"


def _edits(result: ScoreResult) -> tuple[str, ...]:
    test = result.in_distribution
    return test.drawings if test and test.kind == "edit" else ()


def print_figure(directory: Path, results: Sequence[ScoreResult], form: Form = "png") -> bytes:
    """Images with one sample per token count and an edit: the supplement's figures 1 and 2, a row an image.

    Args:
        directory: the report's; images are read from it.
        results: those to show. Of each token count the sample with the median distance is shown.
    """
    counts = sorted({point.m for result in results for point in result.curve})
    edited = any(_edits(result) for result in results)
    columns = ["image", *(tokens(m) for m in counts), *(["edit"] if edited else [])]
    pictures: dict[tuple[int, int], Image.Image] = {}
    for row, result in enumerate(results):
        names: dict[int, str] = {0: result.pictures.query} if result.pictures else {}
        for point in result.curve:
            sample = typical(with_tokens(point))
            if sample is not None:
                names[1 + counts.index(point.m)] = sample.file
        if _edits(result):
            names[len(columns) - 1] = _edits(result)[0]
        for column, name in names.items():
            picture = read_saved_image(directory, name)
            if picture:
                pictures[row, column] = picture
    rows = [result.id if len(results) > 1 else "" for result in results]
    note = _measured(results[0]) if len(results) == 1 else ""
    return picture_grid(rows, columns, pictures, note, form)
