"""Numbers as people read them."""

from origcli.reports.envelope import Estimate


def number(value: float | None, digits: int = 2) -> str:
    """A number for people: a true minus sign, a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def interval(estimate: Estimate, digits: int = 2) -> str:
    """`0.31 to 0.38`."""
    if estimate.low is None:
        return "–"
    return f"{number(estimate.low, digits)} to {number(estimate.high, digits)}"


def percent(share: float | None) -> str:
    """`97 %`."""
    return "–" if share is None else f"{100 * share:.0f} %"
