"""How often a held-out element occurs in samples, and whether that rises with diversity (supplement 2.2).

Pure: counts in, numbers out. Images are what is resampled, because the elements of one image are
not independent of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from origcli.reports.schema import Estimate
from origcli.scoring.measure import Array, interval

PERMUTATIONS = 9999
_CHUNK = 256  # replicates at a time: a thousand images of each need megabytes


@dataclass(frozen=True)
class Counts:
    """What was found in the images of one experiment and condition, all (images,).

    Attributes:
        held_out: held-out elements at the threshold of counting.
        total: all elements at that threshold.
        seen: held-out elements at the lower threshold of quality.
        confidence: the sum of their confidences.
    """

    held_out: Array
    total: Array
    seen: Array
    confidence: Array


@dataclass(frozen=True)
class Quantity:
    """A value and its bootstrap replicates (replicates,), NaN where a replicate has none."""

    value: float
    replicates: Array

    @property
    def estimate(self) -> Estimate:
        """With its 95 % interval; null where it has no value."""
        if np.isnan(self.value):
            return Estimate.missing("no held-out element was detected")
        finite = self.replicates[np.isfinite(self.replicates)]
        (span,) = interval(finite[:, None])
        return Estimate.of(self.value, min(span.low, self.value), max(span.high, self.value))

    def scaled(self, factor: float) -> "Quantity":
        """Times a constant."""
        return Quantity(self.value * factor, self.replicates * factor)


def frequency(counts: Counts, replicates: int, random: np.random.Generator) -> Quantity:
    """Held-out detections / all detections; 0 where nothing at all was detected.

    Where none is held out, or all are, every resample is the same and would claim certainty. Replicates are
    then quantiles of Clopper and Pearson's bound over the images in which anything was detected: with none
    in n images the interval ends at 1 − 0.025^(1/n), or about 3.7/n, and at 1 where n is 0.
    """
    quantity = _ratio(counts.held_out, counts.total, 0.0, replicates, random)
    if quantity.value not in (0.0, 1.0):
        return quantity
    bound = _bound_of_none(int((counts.total > 0).sum()), replicates)
    return Quantity(quantity.value, bound if quantity.value == 0.0 else 1.0 - bound)


def _bound_of_none(pictures: int, replicates: int) -> Array:
    """Quantiles (replicates,) of Beta(1, images): which shares go with seeing none of them."""
    if pictures == 0:
        return np.ones(replicates)  # nothing was seen, so nothing is excluded
    levels = np.linspace(0.0, 1.0, replicates)
    return np.asarray(1.0 - (1.0 - levels) ** (1.0 / pictures))


def quality(counts: Counts, replicates: int, random: np.random.Generator) -> Quantity:
    """Mean confidence of the detector in held-out elements (supplement 4); NaN where none was seen."""
    return _ratio(counts.confidence, counts.seen, float("nan"), replicates, random)


def _ratio(
    above: Array, below: Array, empty: float, replicates: int, random: np.random.Generator
) -> Quantity:
    """Sum over sum, images resampled; `empty` is the value of 0/0."""
    ratios = np.empty(replicates)
    for start in range(0, replicates, _CHUNK):
        size = min(_CHUNK, replicates - start)
        chosen = random.integers(len(above), size=(size, len(above)))  # (b, images)
        ratios[start : start + size] = _divide(above[chosen].sum(1), below[chosen].sum(1), empty)
    return Quantity(float(_divide(above.sum(), below.sum(), empty)), ratios)


def _divide(above: Array, below: Array, empty: float) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below == 0, empty, np.true_divide(above, below))


def average(quantities: Sequence[Quantity], random: np.random.Generator) -> Estimate:
    """The mean over symmetric experiments, those without a value left out.

    Its interval resamples experiments, then the images of each.
    """
    known = [quantity for quantity in quantities if not np.isnan(quantity.value)]
    if not known:
        reason = "no experiment was finished" if not quantities else "no held-out element was detected"
        return Estimate.missing(reason)
    table = np.stack([quantity.replicates for quantity in known])  # (experiments, B)
    count, replicates = table.shape
    chosen = random.integers(count, size=(replicates, count))
    drawn = table[chosen, random.integers(replicates, size=(replicates, count))]  # (B, experiments)
    with np.errstate(invalid="ignore"):
        means = np.array(
            [row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in drawn]
        )
    return Quantity(float(np.mean([quantity.value for quantity in known])), means).estimate


@dataclass(frozen=True)
class Rise:
    """Kendall's tau-b of level and value, and the chance of one as large without any relation."""

    tau: float
    p_value: float


def rise(
    levels: Sequence[int],
    values: Sequence[float],
    random: np.random.Generator,
    blocks: Sequence[str] | None = None,
) -> Rise | None:
    """Does a quantity rise with diversity? A one-sided permutation test over experiments.

    Args:
        blocks: of each experiment, what it shares with others: values change places within a block alone.

    Returns:
        `None` where levels or values do not vary, there are fewer than three experiments, or no block has
        two levels.
    """
    x, y = np.asarray(levels, float), np.asarray(values, float)
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    if blocks is not None and len(set(zip(blocks, levels, strict=True))) == len(set(blocks)):
        return None
    first, second = np.triu_indices(len(x), 1)
    direction = np.sign(x[second] - x[first])  # (pairs,)

    def concordance(rows: Array) -> Array:
        """Concordant less discordant pairs of each row (..., experiments): tau but for a constant."""
        return np.asarray((np.sign(rows[..., second] - rows[..., first]) * direction).sum(-1))

    shuffled = np.tile(y, (PERMUTATIONS, 1))
    names = np.asarray(blocks if blocks is not None else [""] * len(y))
    for name in dict.fromkeys(names.tolist()):
        members = np.flatnonzero(names == name)
        shuffled[:, members] = random.permuted(shuffled[:, members], axis=1)
    as_large = int((concordance(shuffled) >= concordance(y)).sum())
    return Rise(float(stats.kendalltau(x, y).statistic), (1 + as_large) / (1 + PERMUTATIONS))
