"""Small charts as SVG text for the HTML reports. Colors are CSS classes, so they follow light and dark.

A chart's size is in CSS pixels and it is shown at that size: text stays legible on a phone because a
narrow chart is drawn for it, not because a wide one is shrunk.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_GOLDEN = (math.sqrt(5) - 1) / 2
_LABEL_GAP = 14.0
_LONGEST_LABEL = 22  # characters
_STEPS = 5  # about as many between the ticks of an axis
_COLORS = 8  # classes s0 … s7 in the style sheet
_ROW = 16.0  # of the names above a ruler
_FAR = 0.6  # from here on the name of a landmark stands left of it


@dataclass(frozen=True)
class Mark:
    """One measured value: its interval, and the single readings behind it."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    readings: tuple[float, ...] = ()


@dataclass(frozen=True)
class Line:
    """Marks of one kind, joined. `hollow` marks are empty circles; a `plain` line has none and is dotted."""

    name: str
    marks: tuple[Mark, ...]
    hollow: bool = False
    plain: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line with a name; `kind` is its CSS class."""

    name: str
    y: float
    kind: str


@dataclass(frozen=True)
class _Frame:
    """The plot's rectangle and its scales."""

    left: float
    top: float
    right: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def nice_step(span: float, count: int) -> float:
    """The step 1, 2 or 5 times a power of ten that cuts `span` into about `count` parts."""
    if not (span > 0 and math.isfinite(span)):
        return 1.0
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power >= raw * (1 - 1e-9))


def nice_range(low: float, high: float) -> tuple[float, float, list[float]]:
    """A range that holds `low` and `high`, ends on round numbers, and its ticks."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = nice_step(high - low, _STEPS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(i * step, 12) for i in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def spaced(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved as little as needed so that neighbors are `gap` apart, within `low` and `high`."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = [0.0] * len(positions)
    previous = low - gap
    for i in order:
        previous = moved[i] = max(positions[i], previous + gap)
    following = high + gap
    for i in reversed(order):
        following = moved[i] = min(moved[i], following - gap)
    return moved


def line_chart(
    lines: Sequence[Line],
    *,
    width: int,
    height: int,
    x_label: str,
    y_label: str,
    description: str,
    levels: Sequence[Level] = (),
    from_zero: bool = True,
    margin: int = 84,
    same_color: bool = False,
    top: float | None = None,
) -> Markup:
    """Lines over whole numbers on x, with intervals, readings and horizontal levels.

    Args:
        lines: at least one mark among them.
        width, height: CSS pixels.
        x_label, y_label: names of the axes.
        description: what a screen reader says.
        levels: named horizontal lines.
        from_zero: whether y starts at zero.
        margin: pixels on the right for the names of lines and levels.
        same_color: all lines are of one thing.
        top: a value that y reaches at least, for charts on one scale.
    """
    marks = [mark for line in lines for mark in line.marks]
    ys = [y for m in marks for y in (m.y, m.low, m.high, *m.readings) if y is not None]
    ys += [level.y for level in levels] + ([] if top is None else [top])
    y_low, y_high, y_ticks = nice_range(0.0 if from_zero else min(ys), max(ys))
    xs = [mark.x for mark in marks]
    pad = max(0.45, 0.04 * (max(xs) - min(xs)))
    frame = _Frame(
        left=46,
        top=28,
        right=width - margin,
        bottom=height - 40,
        x_range=(min(xs) - pad, max(xs) + pad),
        y_range=(y_low, y_high),
    )
    x_ticks = sorted({round(x) for x in xs})
    parts = [_axes(frame, x_ticks, y_ticks, x_label, y_label)]
    parts += [_level(frame, level) for level in levels]
    shift = 0.0 if same_color else 0.2 / len(lines)
    parts += [
        _line(frame, line, 0 if same_color else i, (i - (len(lines) - 1) / 2) * shift)
        for i, line in enumerate(lines)
    ]
    parts.append(_names(frame, lines, levels))
    return Markup('<svg class="chart" viewBox="0 0 {} {}" width="{}" height="{}" role="img">').format(
        width, height, width, height
    ) + Markup("<title>{}</title>{}</svg>").format(description, Markup("").join(parts))


def _axes(
    frame: _Frame, x_ticks: Sequence[int], y_ticks: Sequence[float], x_label: str, y_label: str
) -> Markup:
    parts = []
    decimals = max(0, -math.floor(math.log10(y_ticks[1] - y_ticks[0]) + 1e-9))
    for tick in y_ticks:
        y = frame.y(tick)
        parts.append(
            Markup('<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>').format(frame.left, y, frame.right)
        )
        parts.append(_text(frame.left - 8, y + 4, f"{tick:.{decimals}f}", "tick", "end"))
    for tick in x_ticks:
        parts.append(_text(frame.x(tick), frame.bottom + 18, str(tick), "tick", "middle"))
    middle = (frame.left + frame.right) / 2
    parts.append(_text(middle, frame.bottom + 36, x_label, "label", "middle"))
    parts.append(_text(0, 12, y_label, "label", "start"))
    return Markup("").join(parts)


def _level(frame: _Frame, level: Level) -> Markup:
    return Markup('<path class="level {}" d="M{:.1f} {:.1f}H{:.1f}"/>').format(
        level.kind, frame.left, frame.y(level.y), frame.right
    )


def _line(frame: _Frame, line: Line, index: int, shift: float) -> Markup:
    parts = []
    places = [(frame.x(mark.x + shift), frame.y(mark.y), mark) for mark in line.marks]
    for x, _, mark in places:
        # Readings are spread sideways by their number: a fixed pattern, the same for every mark.
        parts += [
            Markup('<circle class="reading" cx="{:.1f}" cy="{:.1f}" r="1.8"/>').format(
                x + ((i * _GOLDEN) % 1 - 0.5) * 18, frame.y(reading)
            )
            for i, reading in enumerate(mark.readings)
        ]
    if len(places) > 1:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
        parts.append(Markup('<path class="curve" d="M{}"/>').format(path))
    for x, y, mark in () if line.plain else places:
        if mark.low is not None and mark.high is not None:
            low, high = frame.y(mark.low), frame.y(mark.high)
            parts.append(
                Markup('<path class="bar" d="M{0:.1f} {1:.1f}V{2:.1f}M{3:.1f} {1:.1f}h8M{3:.1f} {2:.1f}h8"/>')
                .format(x, low, high, x - 4)
            )  # fmt: skip
        parts.append(Markup('<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(x, y))
    kind = f"s{index % _COLORS}{' hollow' if line.hollow else ''}{' dashed' if index >= _COLORS else ''}"
    kind = "plain" if line.plain else kind
    return Markup('<g class="{}">{}</g>').format(kind, Markup("").join(parts))


def _names(frame: _Frame, lines: Sequence[Line], levels: Sequence[Level]) -> Markup:
    labels = [(level.name, frame.y(level.y), f"name {level.kind}") for level in levels]
    if len(lines) > 1:
        labels += [
            (line.name, frame.y(line.marks[-1].y), "name" if line.plain else f"name s{i % _COLORS}")
            for i, line in enumerate(lines)
            if line.name and line.marks
        ]
    places = spaced([y for _, y, _ in labels], _LABEL_GAP, frame.top, frame.bottom)
    return Markup("").join(
        _text(frame.right + 8, y + 4, _short(name), kind, "start", full=name)
        for (name, _, kind), y in zip(labels, places, strict=True)
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"


def _text(x: float, y: float, text: str, kind: str, anchor: str, full: str | None = None) -> Markup:
    title = Markup("<title>{}</title>").format(full) if full and full != text else Markup("")
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}{}</text>').format(
        kind, x, y, anchor, title, text
    )


def scale_bar(
    value: float,
    low: float | None,
    high: float | None,
    *,
    width: int,
    ends: tuple[str, str],
    description: str,
    landmarks: Sequence[tuple[str, float]] = (),
) -> Markup:
    """A value in [0, 1] on a ruler, with its interval; `ends` say what 0 and 1 mean.

    Args:
        landmarks: other values on the ruler, by name: each on a row of its own above it.
    """
    left, right = 8.0, width - 8.0
    rows = _rows(landmarks)
    axis = 12.0 + _ROW * len(rows)
    height = round(axis) + 32

    def x(number: float) -> float:
        return left + min(max(number, 0.0), 1.0) * (right - left)

    parts = []
    for row, (name, at) in enumerate(rows):
        y, from_right = 10.0 + _ROW * row, at > _FAR
        parts.append(Markup('<path class="lead-line" d="M{:.1f} {:.1f}V{:.1f}"/>').format(x(at), y - 9, axis))
        anchor, gap = ("end", -5) if from_right else ("start", 5)
        parts.append(_text(x(at) + gap, y, name, "tick", anchor))
    parts += [
        Markup('<path class="axis" d="M{:.1f} {:.1f}v{}"/>').format(x(i / 10), axis, 5 if i % 5 else 8)
        for i in range(11)
    ]
    parts.append(Markup('<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>').format(left, axis, right))
    if low is not None and high is not None:
        parts.append(Markup('<path class="span" d="M{:.1f} {:.1f}H{:.1f}"/>').format(x(low), axis, x(high)))
    parts.append(Markup('<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="7"/>').format(x(value), axis))
    parts.append(_text(0, axis + 26, f"0 {ends[0]}", "end-label", "start"))
    parts.append(_text(width, axis + 26, f"{ends[1]} 1", "end-label", "end"))
    return Markup(
        '<svg class="scale" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img">'
        "<title>{2}</title>{3}</svg>"
    ).format(width, height, description, Markup("").join(parts))


def _rows(landmarks: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Landmarks from the top row down, so that no line to the ruler runs through a name below it."""
    far = sorted(
        (landmark for landmark in landmarks if landmark[1] > _FAR), key=lambda landmark: -landmark[1]
    )
    return [
        *far,
        *sorted(
            (landmark for landmark in landmarks if landmark[1] <= _FAR), key=lambda landmark: landmark[1]
        ),
    ]


def sparkline(values: Sequence[float], threshold: float | None, *, top: float) -> Markup:
    """A curve the size of a word: y from 0 to `top`, the threshold as a line."""
    width, height, edge = 72.0, 30.0, 3.0

    def y(value: float) -> float:
        return height - edge - min(max(value / top, 0.0), 1.0) * (height - 2 * edge)

    step = (width - 2 * edge) / max(len(values) - 1, 1)
    places = [(edge + i * step, y(value)) for i, value in enumerate(values)]
    limit = (
        Markup('<path class="level threshold" d="M0 {:.1f}H{}"/>').format(y(threshold), width)
        if threshold is not None
        else Markup("")
    )
    line = Markup('<path class="curve" d="M{}"/>').format("L".join(f"{x:.1f} {y:.1f}" for x, y in places))
    dots = Markup("").join(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="1.6"/>').format(*p) for p in places)
    return Markup(
        '<svg class="spark" viewBox="0 0 72 30" width="72" height="30" aria-hidden="true">{}{}{}</svg>'
    ).format(limit, line, dots)
