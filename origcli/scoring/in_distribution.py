"""The in-distribution test: do the learned tokens stay within what the model knows, or copy the query?

Shapes-world models: does the model put elements where the query has them (supplement 3)? Real models:
does "cat with S" add a cat and keep S (supplement 1)?
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from origcli.perception.elements import Layout, copy_counts, permuted_counts
from origcli.reports.schema import Estimate, InDistribution
from origcli.scoring.measure import Array, interval

COPIES = 0.5  # ours: with more than half of the elements in the query's places, placement is copied


def placement_test(
    query: Layout,
    drawings: Sequence[Layout],
    others: Sequence[Layout],
    m: int,
    replicates: int,
    random: np.random.Generator,
) -> InDistribution:
    """The placement copy rate of samples, less that of permuted queries (supplement 3).

    Args:
        query: what the detector sees in the query.
        drawings: in the samples with m tokens, one a seed.
        others: in samples that have nothing to do with the query: they lend their places to permuted ones.
    """
    ours = copy_counts(query, drawings)  # (n, 2)
    chance = permuted_counts(query, drawings, others, random)
    if not ours[:, 1].any():
        reason = "no element of the image appears in the samples"
        return _untested(m, reason)
    if not chance[:, 1].any():
        return _untested(m, "samples without tokens show no element to compare places with")
    chosen = random.integers(len(drawings), size=(replicates, len(drawings)))  # (B, n)
    samples = _rate(ours[chosen].sum(1)) - _rate(chance[chosen].sum(1))  # (B,)
    samples = samples[np.isfinite(samples)]
    (span,) = interval(samples[:, None])
    baseline = float(_rate(chance.sum(0)))
    value = float(_rate(ours.sum(0))) - baseline
    holds = True if span.high < COPIES else False if span.low > COPIES else None
    return InDistribution(
        kind="placement",
        m=m,
        value=Estimate.of(value, min(span.low, value), max(span.high, value)),
        baseline=Estimate.of(baseline),
        holds=holds,
        words=_placement_words(holds),
    )


def _rate(counts: np.ndarray[Any, Any]) -> Array:
    """Copied / matched of counts (..., 2); NaN where nothing is matched."""
    with np.errstate(invalid="ignore"):
        return np.asarray(counts[..., 0] / counts[..., 1])


def _untested(m: int, reason: str) -> InDistribution:
    return InDistribution(
        kind="placement", m=m, value=Estimate.missing(reason), baseline=None, words=f"Not tested: {reason}."
    )


def _placement_words(holds: bool | None) -> str:
    match holds:
        case True:
            return "The model rearranges the image's parts freely: it does not copy the layout."
        case False:
            return (
                "Copied: the samples put elements where the image has them, far more often than chance would."
            )
    return "Too close to call: whether the samples copy the image's layout."


def edit_test(
    before: Sequence[float],
    after: Sequence[float],
    distances: Sequence[float],
    undirected: float,
    m: int,
    prompt: str,
    replicates: int,
    random: np.random.Generator,
) -> InDistribution:
    """Whether an edit took, while the samples still look like the query (supplement 1).

    Args:
        before, after: CLIP similarity of each sample to the edit's words: of the plain prompt's samples
            and of the edit's, one a seed.
        distances: of the edit's samples to the query.
        undirected: d(0): how far samples without tokens are. Nearer than that, S is still there.
        prompt: the edit's.
    """
    pairs = np.stack([np.subtract(after, before), distances], axis=1)  # (n, 2)
    chosen = random.integers(len(pairs), size=(replicates, len(pairs)))
    gain, kept = interval(pairs[chosen].mean(axis=1))
    mean_gain, mean_distance = (float(value) for value in pairs.mean(axis=0))
    took = True if gain.low > 0 else False if gain.high < 0 else None
    stayed = True if kept.high < undirected else False if kept.low > undirected else None
    holds = False if took is False or stayed is False else True if took and stayed else None
    return InDistribution(
        kind="edit",
        m=m,
        prompt=prompt,
        value=Estimate.of(mean_gain, gain.low, gain.high),
        baseline=Estimate.of(float(np.mean(before))),
        distance=Estimate.of(mean_distance, kept.low, kept.high),
        holds=holds,
        words=_edit_words(took, stayed, prompt),
    )


def _edit_words(took: bool | None, stayed: bool | None, prompt: str) -> str:
    edit = {True: "took", False: "did not take", None: "may or may not have taken"}[took]
    query = {
        True: "the samples still look like the image",
        False: "the image is lost in it",
        None: "the samples may or may not still look like the image",
    }[stayed]
    return f"The edit “{prompt}” {edit}, and {query}."
