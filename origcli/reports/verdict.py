"""The verdict in words that need no knowledge of the method, from the facts of a result.

The words say what was measured, by which model, and how sure it is; never more than that.
"""

from collections.abc import Sequence

from origcli.reports.envelope import Estimate
from origcli.reports.score import (
    CurvePoint,
    DomainCheck,
    ScoreResult,
    Threshold,
    TokensNeeded,
    Verdict,
    VerdictKind,
)

_ONE_MODEL = (
    "It is about one model. Another model, trained on other images, may know this image better or worse."
)
_NO_SOURCES = (
    "It does not say whether this image, or one like it, was in the training data, and it finds no sources."
)
_OUT_OF_DOMAIN = (
    "An image that the model cannot show at all is reported as out of its domain, not as original."
)
TOO_CLOSE = "too close to call"
_MORE_SAMPLES = 3  # times as many, to narrow the intervals of a verdict that is too close to call
LIMITS = (
    _ONE_MODEL,
    _NO_SOURCES,
    "It is a measurement, not a legal finding: originality in law has its own tests, "
    "and this number decides none of them.",
    "The intervals hold for the tokens that were learned; learning them again gives slightly other ones.",
    _OUT_OF_DOMAIN,
)
SOURCES = {
    "flag": "given",
    "reference": "reference set",
    "registry": "calibrated",
    "samples": "own samples",
    "none": "none",
}
UNRELIABLE = "Not reliable with this model: its tokens do not carry the measure."
UNMEASURED_LIMITS = (_ONE_MODEL, _NO_SOURCES, _OUT_OF_DOMAIN)  # where there is no number


def decide(
    model: str,
    domain: DomainCheck,
    originality: Estimate,
    needed: TokensNeeded,
    threshold: Threshold,
    curve: Sequence[CurvePoint],
) -> Verdict:
    """The verdict on one image.

    Args:
        model: the name of the model that was asked.
        domain: whether the model can show the image; where it cannot, that is the verdict, also when
            it was measured all the same.
        originality: with its interval, or null with a reason.
        needed: the tokens needed at the threshold.
        threshold: what counts as redrawn.
        curve: d(1) … d(M); may be empty where the image is out of the domain.
    """
    if domain.inside is False:
        return Verdict(kind=VerdictKind.out_of_domain, words=_outside(model, domain))
    match needed.kind:
        case "reached":
            kind, words = VerdictKind.redrawn, _redrawn(model, needed, threshold, curve)
        case "not-reached":
            kind, words = VerdictKind.not_redrawn, _not_redrawn(model, needed, threshold, curve)
        case "undecided":
            kind, words = VerdictKind.undecided, _undecided(needed, threshold, curve)
        case _:
            kind, words = VerdictKind.measured, _measured(model, curve)
    return Verdict(kind=kind, words=f"{_unreliable(model, threshold)}{words} {_scale(originality)}".strip())


def _unreliable(model: str, threshold: Threshold) -> str:
    """The warning of a positive control that failed; empty where it holds, or where there is none."""
    if threshold.reliable is not False:
        return ""
    return (
        f"Not reliable with this model: one token redraws only {threshold.control_within} of "
        f"{threshold.control_images} samples that “{model}” generated itself, so its tokens do not carry "
        "the measure. "
    )


def control_words(threshold: Threshold) -> str:
    """What the positive control found; empty where there is none."""
    if not threshold.control_images:
        return ""
    within = f"{threshold.control_within} of {threshold.control_images}"
    return f"one token redraws {within} of the model's own samples"


def threshold_words(threshold: Threshold) -> str:
    """Where the threshold comes from, and its control; empty without a control or own samples."""
    if threshold.value is None or not (threshold.control_images or threshold.source == "samples"):
        return ""
    control = control_words(threshold)
    words = f"Threshold {threshold.value:.2f} ({SOURCES[threshold.source]})"
    words += f"; positive control: {control}." if control else "; without a positive control."
    return f"{words} {UNRELIABLE}" if threshold.reliable is False else words


def needed_words(text: str) -> str:
    """Tokens needed as a report's rows hold them, in words: `undecided` there is too close to call."""
    return text.replace("undecided", TOO_CLOSE)


def tokens(m: int) -> str:
    """`1 token`, `2 tokens`."""
    return f"{m} token" if m == 1 else f"{m} tokens"


def headline(model: str, result: ScoreResult) -> str:
    """The verdict on one image in a few words, such as `familiar to sd15: redrawn after 1 token`."""
    needed = result.tokens_needed
    match result.verdict.kind:
        case VerdictKind.redrawn:
            m = needed.m or 1
            familiar = "familiar" if m == 1 else "partly familiar"
            words = f"{familiar} to {model}: redrawn after {tokens(m)}"
        case VerdictKind.not_redrawn:
            words = f"unfamiliar to {model}: not redrawn with up to {tokens(needed.maximum or 1)}"
        case VerdictKind.undecided:
            words = f"{TOO_CLOSE} for {model} at {tokens(needed.m or 1)}"
        case VerdictKind.measured:
            words = f"measured with {model}, which has no threshold"
        case VerdictKind.out_of_domain if result.domain_check.forced:
            words = f"measured on request, though {model} cannot show this image"
        case _:
            return f"not measured: {model} cannot show this image"
    return f"not reliable with {model}: {words}" if result.threshold.reliable is False else words


def short(estimate: Estimate) -> str:
    """An estimate with its interval, such as `0.12 (0.08–0.17)`; `unknown` where there is none."""
    return _written(estimate, "({:.2f}–{:.2f})")


def _outside(model: str, domain: DomainCheck) -> str:
    measured = " It was measured anyway, as requested; read the numbers with that in mind."
    return (
        f"The model “{model}” cannot show this image, so it cannot measure how original the image is. "
        f"This says nothing about whether the image is original.{measured if domain.forced else ''}"
    )


def _redrawn(model: str, needed: TokensNeeded, threshold: Threshold, curve: Sequence[CurvePoint]) -> str:
    m = needed.m or 1
    words = (
        f"The model “{model}” redraws this image with {tokens(m)}: its samples are "
        f"{_distance_at(curve, m)}within {_limit(threshold)}."
    )
    if m == 1:
        return f"{words} One token is the minimum: the image is close to what the model generates anyway."
    return f"{words} With {tokens(m - 1)} it does not. The more tokens it needs, the less it knew the image."


def _not_redrawn(model: str, needed: TokensNeeded, threshold: Threshold, curve: Sequence[CurvePoint]) -> str:
    maximum = needed.maximum or 1
    return (
        f"The model “{model}” does not redraw this image with up to {tokens(maximum)}: its samples are "
        f"{_distance_at(curve, maximum)}not within {_limit(threshold)}. "
        "So few tokens cannot describe this image to this model."
    )


def _undecided(needed: TokensNeeded, threshold: Threshold, curve: Sequence[CurvePoint]) -> str:
    m = needed.m or 1
    return (
        f"Too close to call at {tokens(m)}: the samples are {_distance_at(curve, m)}and the interval "
        f"includes {_limit(threshold)}. {more_samples(curve)}"
    )


def more_samples(curve: Sequence[CurvePoint]) -> str:
    """What makes a verdict clear that is too close to call."""
    count = max((len(samples) for point in curve for samples in point.distances), default=0)
    option = f"--samples {_MORE_SAMPLES * count}" if count else "--samples"
    return f"More samples ({option}) narrow the interval."


def _measured(model: str, curve: Sequence[CurvePoint]) -> str:
    if not curve:
        return "The image was not measured."
    first, last = curve[0], curve[-1]
    words = f"With {tokens(first.m)} the samples of the model “{model}” are on average {_of(first)}"
    more = f", with {tokens(last.m)} {_of(last)}" if last is not first else ""
    return (
        f"{words}{more} from the image. No threshold is calibrated, so no number of tokens counts as enough."
    )


def _scale(originality: Estimate) -> str:
    if originality.value is None:
        return f"No originality: {originality.reason}."
    return (
        f"Its originality is {_shown(originality)}, on a scale from 0 (redrawn as well as this model can) "
        "to 1 (no nearer than unrelated samples)."
    )


def _limit(threshold: Threshold) -> str:
    return "the threshold" if threshold.value is None else f"the threshold of {threshold.value:.2f}"


def _distance_at(curve: Sequence[CurvePoint], m: int) -> str:
    point = next((point for point in curve if point.m == m), None)
    return "" if point is None else f"on average {_of(point)} from the image, "


def _of(point: CurvePoint) -> str:
    return _shown(point.distance)


def _shown(estimate: Estimate) -> str:
    return _written(estimate, "(95 % interval {:.2f} to {:.2f})")


def _written(estimate: Estimate, interval: str) -> str:
    if estimate.value is None:
        return "unknown"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} {interval.format(estimate.low, estimate.high)}"
