"""Verdicts say what was measured, how sure it is, and no more."""

import pytest

from origcli.reports.schema import Estimate, Threshold, VerdictKind
from origcli.reports.verdict import LIMITS, decide, headline, short, tokens
from tests.reports import samples

NONE = Threshold(value=None, source="none", how="none in the registry")


@pytest.mark.parametrize(
    ("level", "threshold", "kind", "said"),
    [
        (
            0.05,
            samples.THRESHOLD,
            VerdictKind.redrawn,
            ["with 1 token:", "One token is the minimum", "0.42"],
        ),
        (0.30, samples.THRESHOLD, VerdictKind.redrawn, ["with 2 tokens:", "With 1 token it does not"]),
        (0.70, samples.THRESHOLD, VerdictKind.not_redrawn, ["up to 5 tokens", "not within the threshold"]),
        (0.50, NONE, VerdictKind.measured, ["No threshold is calibrated", "With 1 token", "with 5 tokens"]),
    ],
)
def test_the_words_follow_the_numbers(
    level: float, threshold: Threshold, kind: VerdictKind, said: list[str]
) -> None:
    verdict = samples.result(None, level=level, threshold=threshold, seed=3).verdict
    assert verdict.kind is kind
    for words in said:
        assert words in verdict.words
    assert "95 % interval" in verdict.words
    assert "originality is" in verdict.words


def test_a_verdict_too_close_to_call_says_where_and_what_to_do() -> None:
    limit = samples.result(None, drawings=20).curve[1].distance.value
    assert limit is not None
    threshold = Threshold(value=limit - 1e-4, source="flag", how="--threshold")
    verdict = samples.result(None, threshold=threshold).verdict
    assert verdict.kind is VerdictKind.undecided
    assert verdict.words.startswith("Too close to call at 2 tokens: ")
    assert "More samples (--samples 60) narrow the interval." in verdict.words


def test_out_of_domain_is_not_original() -> None:
    verdict = samples.result(None, outside=True).verdict
    assert verdict.kind is VerdictKind.out_of_domain
    assert "cannot show this image" in verdict.words
    assert not any(word in verdict.words for word in ("dB", "PSNR", "floor", "ceiling", "threshold"))
    assert "says nothing about whether the image is original" in verdict.words


def test_measured_by_force_stays_out_of_domain() -> None:
    result = samples.result(None)
    domain = result.domain_check.model_copy(update={"inside": False, "forced": True})
    verdict = decide(
        "shapes", domain, result.originality, result.tokens_needed, result.threshold, result.curve
    )
    assert verdict.kind is VerdictKind.out_of_domain
    assert "measured anyway" in verdict.words


def test_a_missing_originality_says_why() -> None:
    result = samples.result(None)
    verdict = decide(
        "shapes",
        result.domain_check,
        Estimate.missing("the scale is too narrow"),
        result.tokens_needed,
        result.threshold,
        result.curve,
    )
    assert "No originality: the scale is too narrow" in verdict.words


def test_the_limits_are_about_law_and_training_data() -> None:
    said = " ".join(LIMITS)
    assert "not a legal finding" in said and "training data" in said


def test_one_token_many_tokens() -> None:
    assert (tokens(1), tokens(2)) == ("1 token", "2 tokens")


@pytest.mark.parametrize(
    ("level", "threshold", "said"),
    [
        (0.05, samples.THRESHOLD, "familiar to sd15: redrawn after 1 token"),
        (0.30, samples.THRESHOLD, "partly familiar to sd15: redrawn after 2 tokens"),
        (0.70, samples.THRESHOLD, "unfamiliar to sd15: not redrawn with up to 5 tokens"),
        (0.50, NONE, "measured with sd15, which has no threshold"),
    ],
)
def test_a_headline_says_the_verdict_in_a_few_words(level: float, threshold: Threshold, said: str) -> None:
    assert headline("sd15", samples.result(None, level=level, threshold=threshold, seed=3)) == said


def test_the_headline_of_an_image_out_of_the_domain_calls_it_nothing_else() -> None:
    result = samples.result(None, outside=True)
    assert headline("sd15", result) == "not measured: sd15 cannot show this image"
    domain = result.domain_check.model_copy(update={"forced": True})
    forced = headline("sd15", result.model_copy(update={"domain_check": domain}))
    assert forced.startswith("measured on request, though sd15 cannot")


def test_the_headline_of_an_unreliable_model_says_so_first() -> None:
    threshold = samples.THRESHOLD.model_copy(update={"control_images": 8, "control_within": 1})
    result = samples.result(None, level=0.05, threshold=threshold, seed=3)
    assert headline("sd15", result).startswith("not reliable with sd15: ")


def test_an_estimate_in_short() -> None:
    assert short(Estimate(value=0.123, low=0.1, high=0.2)) == "0.12 (0.10–0.20)"
    assert short(Estimate.missing("no scale")) == "unknown"
