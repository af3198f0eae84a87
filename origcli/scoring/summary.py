"""What many results say together: groups, comparisons, ranks. Kept small, whatever the number of images."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from origcli.reports.schema import (
    Estimate,
    GroupComparison,
    GroupPoint,
    GroupSummary,
    RankCorrelation,
    ScoreResult,
    ScoreSummary,
    VerdictKind,
)
from origcli.reports.score import NO_THRESHOLD
from origcli.scoring.measure import Array, interval, originality, spans_enough
from origcli.scoring.statistics import (
    LEAST_FOR_A_TEST,
    estimate,
    permutation_p_value,
    rank_correlation,
    resampled,
    resampled_groups,
    roc_auc,
)

# Groups by how original they are expected to be; others stand between, by name.
_EXPECTED = {"common": 0, "rare": 2, "original": 3, "unseen": 3}
_MOST_GROUPS = 6  # of a domain that are compared pair by pair
_MOST_RESAMPLED = 5000  # images of a comparison whose interval is bootstrapped
_PERMUTATIONS = 9999


@dataclass(frozen=True)
class _Member:
    """What is kept of one result.

    Attributes:
        counts: the m that were measured.
        mean_l_det: `None` where not every m up to M was measured: the loss falls with m, so the mean over
            fewer of them is no score to compare.
    """

    counts: tuple[int, ...]
    distances: Array  # (repeats, counts, samples)
    l_det: tuple[float, ...] | None  # (counts,)
    mean_l_det: float | None
    floor: float
    originality: float | None


@dataclass
class _Group:
    name: str
    domain: str | None
    members: list[_Member] = field(default_factory=list)
    out_of_domain: int = 0
    tokens: Counter[str] = field(default_factory=Counter)


class Tally:
    """Takes results one by one and sums them up at the end.

    Args:
        replicates: of each bootstrap.
        seed: of the resampling.
    """

    def __init__(self, replicates: int, seed: int) -> None:
        self.replicates = replicates
        self.ceiling = 0.0  # of all results: they share model, metric and settings
        self.random = np.random.default_rng(seed)
        self.images = 0
        self.verdicts: Counter[str] = Counter()
        self.groups: dict[str, _Group] = {}
        self.pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def add(self, result: ScoreResult) -> None:
        """Counts one result in."""
        self.images += 1
        self.ceiling = result.ceiling.value or self.ceiling
        self.verdicts[result.verdict.kind] += 1
        member = _member(result)
        if member is not None and member.originality is not None:
            if member.mean_l_det is not None:
                self.pairs["l_det"].append((member.originality, member.mean_l_det))
            if result.l_det_0.value is not None:
                self.pairs["l_det_0"].append((member.originality, result.l_det_0.value))
        if result.group is None:
            return
        group = self.groups.setdefault(result.group, _Group(result.group, result.domain))
        if result.verdict.kind == VerdictKind.out_of_domain:
            group.out_of_domain += 1
        elif member is not None:
            group.members.append(member)
            group.tokens[result.tokens_needed.text or NO_THRESHOLD] += 1

    def summary(self) -> ScoreSummary:
        """Everything counted so far."""
        return ScoreSummary(
            images=self.images,
            verdicts={str(kind): count for kind, count in sorted(self.verdicts.items())},
            groups=tuple(self._group(self.groups[name]) for name in sorted(self.groups)),
            comparisons=tuple(self._comparisons()),
            correlations=tuple(
                self._correlation(name, pairs) for name, pairs in self.pairs.items() if len(pairs) > 1
            ),
        )

    def _group(self, group: _Group) -> GroupSummary:
        curve, score = self._curve(group.members)
        return GroupSummary(
            name=group.name,
            domain=group.domain,
            count=len(group.members),
            out_of_domain=group.out_of_domain,
            curve=curve,
            originality=score,
            tokens_needed=dict(sorted(group.tokens.items())),
        )

    def _curve(self, members: Sequence[_Member]) -> tuple[tuple[GroupPoint, ...], Estimate]:
        """A group's mean curve and mean originality, with intervals."""
        if len({(member.counts, member.distances.shape) for member in members}) != 1:
            reason = "its images were not all measured at the same m" if members else "no image was measured"
            return (), Estimate.missing(reason)
        distances = np.stack([member.distances for member in members])  # (N, R, M, n)
        curves = distances.mean(axis=(1, 3))  # (N, M)
        floors = np.array([member.floor for member in members])
        scored = all(member.originality is not None for member in members)
        scored = scored and spans_enough(float(floors.max()), self.ceiling)
        means, scores = [], []
        for images, resampled_curves in resampled_groups(distances, self.replicates, self.random):
            means.append(resampled_curves.mean(axis=0))
            if scored:
                scores.append(originality(resampled_curves, floors[images], self.ceiling).mean())
        spans = interval(np.array(means))
        points = tuple(
            GroupPoint(m=m, distance=estimate(float(value), span), l_det=_mean_l_det(members, place))
            for place, (m, value, span) in enumerate(
                zip(members[0].counts, curves.mean(axis=0), spans, strict=True)
            )
        )
        if not scored:
            return points, Estimate.missing("an image of the group has no originality")
        value = float(originality(curves, floors, self.ceiling).mean())
        return points, estimate(value, interval(np.array(scores)[:, None])[0])

    def _comparisons(self) -> list[GroupComparison]:
        domains: dict[str | None, list[_Group]] = defaultdict(list)
        for group in self.groups.values():
            domains[group.domain].append(group)
        return [
            comparison
            for domain in sorted(domains, key=lambda name: name or "")
            if len(domains[domain]) <= _MOST_GROUPS
            for lower, higher in combinations(sorted(domains[domain], key=_expected_rank), 2)
            for comparison in self._comparison(domain, lower, higher)
        ]

    def _comparison(self, domain: str | None, lower: _Group, higher: _Group) -> list[GroupComparison]:
        comparisons = []
        for score in ("originality", "l_det"):
            attribute = "mean_l_det" if score == "l_det" else score
            low, high = (
                [value for member in group.members if (value := getattr(member, attribute)) is not None]
                for group in (lower, higher)
            )
            if not low or not high:
                continue
            auc = roc_auc(high, low)
            assert auc is not None
            few = len(low) + len(high) <= _MOST_RESAMPLED
            tested = min(len(low), len(high)) >= LEAST_FOR_A_TEST
            spans = [
                resampled(statistic, [high, low], self.replicates, self.random) if few else None
                for statistic in (roc_auc, _difference)
            ]
            comparisons.append(
                GroupComparison(
                    domain=domain,
                    lower=lower.name,
                    higher=higher.name,
                    score="l_det" if score == "l_det" else "originality",
                    auc=estimate(auc, spans[0]),
                    difference=estimate(_difference(high, low), spans[1]),
                    p_value=permutation_p_value(high, low, self.random) if tested else None,
                    permutations=_PERMUTATIONS if tested else 0,
                )
            )
        return comparisons

    def _correlation(self, name: str, pairs: Sequence[tuple[float, float]]) -> RankCorrelation:
        value = rank_correlation([first for first, _ in pairs], [second for _, second in pairs])
        return RankCorrelation(
            first="originality",
            second=name,
            spearman=Estimate.missing("too few images, or one score does not vary")
            if value is None
            else Estimate.of(value),
            count=len(pairs),
        )


def _member(result: ScoreResult) -> _Member | None:
    if not result.curve or result.floor.value is None:
        return None
    counts = tuple(point.m for point in result.curve)
    losses = tuple(loss for point in result.curve if (loss := point.l_det.value) is not None)
    known = len(losses) == len(counts)
    whole = known and len(counts) == result.tokens_needed.maximum
    return _Member(
        counts=counts,
        distances=np.array([point.distances for point in result.curve]).transpose(1, 0, 2),
        l_det=losses if known else None,
        mean_l_det=float(np.mean(losses)) if whole else None,
        floor=result.floor.value,
        originality=result.originality.value,
    )


def _mean_l_det(members: Sequence[_Member], place: int) -> Estimate:
    losses = [member.l_det[place] for member in members if member.l_det]
    return Estimate.of(float(np.mean(losses))) if losses else Estimate.missing("no tokens were learned")


def _difference(a: Sequence[float], b: Sequence[float]) -> float:
    return float(np.mean(a) - np.mean(b))


def _expected_rank(group: _Group) -> tuple[int, str]:
    return _EXPECTED.get(group.name.rpartition("/")[2].lower(), 1), group.name
