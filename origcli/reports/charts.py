"""The charts of the HTML reports, each drawn twice: for a desktop and for a phone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from origcli.reports.envelope import Estimate
from origcli.reports.numerals import number
from origcli.reports.schema import GeneralizeSummary
from origcli.reports.score import GroupSummary, Landmarks, ScoreResult
from origcli.reports.svg import Level, Line, Mark, line_chart, scale_bar
from origcli.reports.verdict import tokens

CONDITIONS: dict[str, str] = {"empty": "empty prompt", "prompted": "its prompt"}
_QUANTITIES = {
    "frequency": "frequency of the held-out element",
    "lift": "frequency × number of elements",
    "confidence": "confidence in the held-out element",
}
RULER, WIDE, MIDDLE, NARROW = 846, 640, 340, 358  # CSS pixels: a ruler, a figure, one of several, a phone
TALL, LOW = 340, 300


@dataclass(frozen=True)
class Chart:
    """One figure at both sizes."""

    wide: Markup
    narrow: Markup
    title: str = ""


def originality_scale(originality: Estimate, landmarks: Landmarks | None = None) -> Chart | None:
    """The originality on a ruler from 0 to 1, with the model's landmarks; `None` where there is none."""
    if originality.value is None:
        return None
    value, low, high = originality.value, originality.low, originality.high
    known = landmarks.originality if landmarks else {}
    marks = [(f"{name} {number(at)}", at) for name, at in known.items()]
    said = f"Originality {number(value)} on a scale from 0, familiar, to 1, original"
    said = f"{said}; for comparison: {', '.join(name for name, _ in marks)}" if marks else said

    def drawn(width: int) -> Markup:
        ends = ("familiar", "original")
        return scale_bar(value, low, high, width=width, ends=ends, description=said, landmarks=marks)

    return Chart(drawn(RULER), drawn(NARROW))


def distance_chart(result: ScoreResult, metric: str) -> Chart:
    """d(m) with its intervals and single samples, the threshold, floor and ceiling."""
    curve = tuple(
        Mark(p.m, p.distance.value, p.distance.low, p.distance.high, tuple(d for r in p.distances for d in r))
        for p in result.curve
        if p.distance.value is not None
    )
    start = result.distance_0
    zero = (
        Mark(0, start.value, start.low, start.high, result.distances_0) if start.value is not None else None
    )
    constants = (
        ("ceiling", result.ceiling.value),
        ("threshold", result.threshold.value),
        ("floor", result.floor.value),
    )
    levels = [Level(name, value, name) for name, value in constants if value is not None]
    lines = [Line("", curve), *([Line("", (zero,), hollow=True)] if zero else [])]
    shown = ", ".join(f"{mark.y:.2f} at {tokens(int(mark.x))}" for mark in curve)

    def drawn(width: int, height: int) -> Markup:
        return line_chart(
            lines,
            width=width,
            height=height,
            x_label="learned tokens m",
            y_label=f"{metric} distance",
            levels=levels,
            description=f"Average distance: {shown}",
            same_color=True,
        )

    return Chart(drawn(WIDE, TALL), drawn(NARROW, LOW))


def loss_chart(result: ScoreResult) -> Chart | None:
    """L_det(m), with m = 0 as a hollow mark."""
    marks = tuple(
        Mark(p.m, p.l_det.value, p.l_det.low, p.l_det.high) for p in result.curve if p.l_det.value is not None
    )
    if not marks:
        return None
    start = result.l_det_0.value
    zero = [Line("", (Mark(0, start),), hollow=True)] if start is not None else []

    def drawn(width: int, height: int) -> Markup:
        return line_chart(
            [Line("", marks), *zero],
            width=width,
            height=height,
            x_label="learned tokens m",
            y_label="denoising loss",
            description="Denoising loss: " + ", ".join(f"{m.y:.4f} at {tokens(int(m.x))}" for m in marks),
            from_zero=False,
            same_color=True,
            margin=16,
        )

    return Chart(drawn(MIDDLE, TALL), drawn(NARROW, LOW))


def group_panels(groups: Sequence[GroupSummary], metric: str) -> list[Chart]:
    """Distance against tokens, a line a group; where groups have domains, a panel a domain on one scale."""
    domains = list(dict.fromkeys(group.domain for group in groups if group.curve))
    ends = [
        end for g in groups for p in g.curve for end in (p.distance.value, p.distance.high) if end is not None
    ]
    alone = len(domains) == 1
    return [
        _panel([g for g in groups if g.curve and g.domain == domain], domain, metric, max(ends), alone)
        for domain in domains
        if ends
    ]


def _panel(groups: Sequence[GroupSummary], domain: str | None, metric: str, top: float, alone: bool) -> Chart:
    lines = [
        Line(
            group.name.removeprefix(f"{domain}/"),
            tuple(
                Mark(p.m, p.distance.value, p.distance.low, p.distance.high)
                for p in group.curve
                if p.distance.value is not None
            ),
        )
        for group in groups
    ]
    names = ", ".join(line.name for line in lines)
    least = 60 + 16 * len(lines)

    def drawn(width: int, height: int, margin: int) -> Markup:
        return line_chart(
            lines,
            width=width,
            height=max(height, least),
            x_label="learned tokens m",
            y_label=f"{metric} distance",
            description=f"Average distance against tokens, by group: {names}",
            margin=margin,
            top=top,
        )

    wide = drawn(800, 380, 180) if alone else drawn(MIDDLE, LOW, 84)
    return Chart(wide, drawn(NARROW, LOW, 96), domain or "")


def diversity_charts(summary: GeneralizeSummary, quantity: str) -> list[Chart]:
    """A quantity of the held-out element against the number of elements, with chance: a panel a condition.

    Each has a scale of its own: what is asked for turns up tens of times as often as what is not.
    """
    levels = sorted({average.level for average in summary.levels})
    chance: dict[str, Callable[[int], float]] = {
        "frequency": lambda level: 1 / level,
        "lift": lambda level: 1.0,
    }
    reference: list[Line] = []
    if quantity in chance:
        marks = tuple(Mark(level, chance[quantity](level)) for level in levels)
        reference.append(Line("chance", marks, plain=True))
    panels = []
    for condition, name in CONDITIONS.items():
        chosen = sorted(
            (average for average in summary.levels if average.condition == condition), key=lambda o: o.level
        )
        estimates = [(average.level, getattr(average, quantity)) for average in chosen]
        marks = tuple(Mark(x, e.value, e.low, e.high) for x, e in estimates if e.value is not None)
        if marks:
            panels.append(_diversity_panel([Line("", marks), *reference], quantity, name))
    return panels


def _diversity_panel(lines: Sequence[Line], quantity: str, name: str) -> Chart:
    said = ", ".join(f"{mark.y:.3f} at {mark.x:g}" for mark in lines[0].marks)
    what = _QUANTITIES[quantity]

    def drawn(width: int) -> Markup:
        return line_chart(
            lines,
            width=width,
            height=LOW,
            x_label="number of elements",
            y_label=what,
            description=f"{what.capitalize()} against the number of elements, {name}: {said}",
            margin=56,
        )

    return Chart(drawn(MIDDLE + 140), drawn(NARROW), name)
