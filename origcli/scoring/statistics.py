"""Sets of images against each other: intervals, ROC-AUC, permutation test, ranks (supplement 5).

scipy.stats is imported where it is used: it takes a second, which a single image can do without.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from origcli.reports.envelope import Estimate
from origcli.scoring.measure import Array, Interval, interval

LEAST_FOR_A_TEST = 5  # images; with fewer a p-value says nothing that their list does not say
_EXACT_LIMIT = 9999  # random permutations; where there are fewer in all, the test is exact


def resampled_groups(
    members: Array, replicates: int, random: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Bootstrap replicates of a group: images are resampled, then the seeds of each, jointly across m.

    One replicate at a time, because all at once would take as much memory as there are replicates.

    Args:
        members: (images, repeats, M, samples).

    Yields:
        Which images were drawn (images,), and a replicate of the curve of each (images, M).
    """
    count, repeats, _, drawings = members.shape
    for _ in range(replicates):
        images = random.integers(count, size=(count,))  # (N,)
        chosen = random.integers(repeats, size=(count, repeats, 1))  # (N, R, 1)
        seeds = random.integers(drawings, size=(count, repeats, drawings))  # (N, R, n)
        sampled = members[images[:, None, None], chosen, :, seeds]  # (N, R, n, M)
        yield images, sampled.mean(axis=(1, 2))


def percentile(value: float, reference: Sequence[float]) -> float | None:
    """The place of a value in a reference set, 0 to 100, ties counting half; `None` for an empty set."""
    if not reference:
        return None
    from scipy import stats

    return float(stats.percentileofscore(reference, value, kind="mean"))


def roc_auc(higher: Sequence[float], lower: Sequence[float]) -> float | None:
    """The chance that a random image of `higher` has the higher score, ties counting half.

    That is the area under the receiver operating characteristic, by its Mann-Whitney form.
    `None` where a group is empty.
    """
    if not len(higher) or not len(lower):
        return None
    from scipy import stats

    return float(stats.mannwhitneyu(higher, lower).statistic) / (len(higher) * len(lower))


def permutation_p_value(a: Sequence[float], b: Sequence[float], random: np.random.Generator) -> float | None:
    """Two-sided p of a difference of means as large, were the labels of the groups of no meaning.

    Exact where there are at most 9,999 ways to split. `None` where a group has fewer than two images.
    """
    if min(len(a), len(b)) < 2:
        return None
    from scipy import stats

    result = stats.permutation_test(
        (np.asarray(a), np.asarray(b)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        vectorized=True,
        n_resamples=_EXACT_LIMIT,
        batch=1000,
        rng=random,
    )
    return float(result.pvalue)


def sign_flip_p_value(differences: Sequence[float], random: np.random.Generator) -> float | None:
    """Two-sided p of a mean as far from 0, were the sign of each paired difference of no meaning.

    Exact where there are at most 9,999 ways to flip. `None` for fewer than two pairs.
    """
    if len(differences) < 2:
        return None
    from scipy import stats

    result = stats.permutation_test(
        (np.asarray(differences),),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
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
    from scipy import stats

    return float(stats.spearmanr(a, b).statistic)


def resampled(
    statistic: Callable[..., float | None],
    samples: Sequence[Sequence[float]],
    replicates: int,
    random: np.random.Generator,
) -> Interval | None:
    """The bootstrap interval of a statistic of several sets of images; `None` where it has no value."""
    arrays = [np.asarray(sample) for sample in samples]
    values = [
        statistic(*(array[random.integers(len(array), size=len(array))] for array in arrays))
        for _ in range(replicates)
        if all(len(array) > 1 for array in arrays)
    ]
    finite = [value for value in values if value is not None]
    return interval(np.array(finite)[:, None])[0] if finite else None


def quantile(values: Sequence[float], share: float, replicates: int, random: np.random.Generator) -> Estimate:
    """A quantile of values with its bootstrap interval."""
    at: Callable[[Any], float] = lambda sample: float(np.quantile(sample, share))  # noqa: E731
    return estimate(at(values), resampled(at, [values], replicates, random))


def estimate(value: float, span: Interval | None) -> Estimate:
    """A number with its interval, if there is one."""
    return Estimate.of(value) if span is None else Estimate.of(value, span.low, span.high)
