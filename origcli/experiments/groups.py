"""Sets of images against each other: intervals, ROC-AUC, permutation test, ranks (supplement 5)."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from origcli.experiments.measure import Array

_EXACT_LIMIT = 9999  # random permutations; where there are fewer in all, the test is exact


def resampled_group_curves(members: Sequence[Array], replicates: int, random: np.random.Generator) -> Array:
    """Bootstrap replicates of a group's mean curve: images are resampled, then each one's seeds.

    Args:
        members: one array `(repeats, M, drawings)` an image, all of one shape.

    Returns:
        (replicates, M)
    """
    stacked = np.stack(members)  # (N, R, M, n)
    count, repeats, tokens, drawings = stacked.shape
    curves = np.empty((replicates, tokens))
    for replicate in range(replicates):  # one at a time: all at once would need N·B·R·n numbers
        images = random.integers(count, size=(count, 1, 1))  # (N, 1, 1)
        chosen = random.integers(repeats, size=(count, repeats, 1))  # (N, R, 1)
        seeds = random.integers(drawings, size=(count, repeats, drawings))  # (N, R, n)
        curves[replicate] = stacked[images, chosen, :, seeds].mean(axis=(0, 1, 2))
    return curves


def percentile(value: float, reference: Sequence[float]) -> float | None:
    """The place of a value in a reference set, 0 to 100, ties counting half; `None` for an empty set."""
    if not reference:
        return None
    return float(stats.percentileofscore(reference, value, kind="mean"))


def roc_auc(higher: Sequence[float], lower: Sequence[float]) -> float | None:
    """The chance that a random image of `higher` has the higher score, ties counting half.

    That is the area under the receiver operating characteristic, by its Mann-Whitney form.
    `None` where a group is empty.
    """
    if not higher or not lower:
        return None
    return float(stats.mannwhitneyu(higher, lower).statistic) / (len(higher) * len(lower))


def permutation_p_value(a: Sequence[float], b: Sequence[float], random: np.random.Generator) -> float | None:
    """Two-sided p of a difference of means as large, were the labels of the groups of no meaning.

    Exact where there are at most 9,999 ways to split. `None` where a group has fewer than two images.
    """
    if min(len(a), len(b)) < 2:
        return None
    result = stats.permutation_test(
        (np.asarray(a), np.asarray(b)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        vectorized=True,
        n_resamples=_EXACT_LIMIT,
        batch=1000,
        rng=random,
    )
    return float(result.pvalue)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's; `None` with fewer than three pairs, or where one side does not vary."""
    if len(a) < 3 or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    return float(stats.spearmanr(a, b).statistic)
