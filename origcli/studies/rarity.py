"""Rarity: does the measure rank what the model saw often, seldom and never (supplement 6.1)?

A model was trained where circles with squares are common, circles with triangles rare, and squares with
triangles never meet. Query images of the three kinds are made apart from all training data, and measured.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import numpy as np
from scipy import stats

from origcli.images.inputs import Input
from origcli.reports.figures import group_curves
from origcli.reports.schema import Estimate, GroupSummary, ScoreResult, VerdictKind
from origcli.reports.studies import OrderTest, PairTest, RarityReport, RarityResult, RaritySummary
from origcli.reports.study_page import write_study_html
from origcli.reports.writers import write_report
from origcli.runtime.atomic import make_directory, write_bytes
from origcli.runtime.context import Runtime
from origcli.runtime.seeding import derive_seed
from origcli.scenes.scene import boxes_meet
from origcli.scoring.statistics import LEAST_FOR_A_TEST, estimate, permutation_p_value, resampled, roc_auc
from origcli.settings import Settings
from origcli.studies.occurrence import PERMUTATIONS, rise
from origcli.studies.queries import (
    QUERIES,
    SCORE,
    Category,
    ScoredQueries,
    make_queries,
    model_resolution,
    query_recipe,
    score,
    study_provenance,
)

CATEGORIES: tuple[Category, ...] = get_args(Category)
APART = 1 / 16  # of the width, between the boxes of elements that stand apart; ours

Scores = Mapping[Category, Sequence[float]]


def run_rarity(settings: Settings, runtime: Runtime, cache: Path | None = None) -> RarityReport:
    """Makes the query sets, scores them and tests their order; writes the reports and a figure.

    Args:
        cache: directory of results kept by content.

    Raises:
        ModelError: the model is missing.
    """
    own = settings.rarity
    resolution = model_resolution(settings, runtime)
    inputs: list[Input] = []
    hashes: dict[Category, str] = {}
    close: set[str] = set()
    for category in CATEGORIES:
        recipe = query_recipe(settings, category, own.queries, resolution)
        data, made = make_queries(runtime.out / QUERIES, category, recipe, own.seed, runtime)
        hashes[category] = data.hash
        inputs += made
        close |= {
            image.name for image, record in zip(made, data.records, strict=True) if stands_close(record)
        }
    measured = score(inputs, settings, runtime, cache)
    random = np.random.default_rng(derive_seed(runtime.seed, "rarity"))
    apart = [result for result in measured.results if result.id not in close]
    report = RarityReport(
        status=measured.report.status,
        provenance=study_provenance(measured, "rarity", settings, hashes),
        results=tuple(category_results(measured, hashes)),
        errors=measured.report.errors,
        summary=RaritySummary(
            tests=order_tests(measured.results, settings.score.bootstrap, random),
            apart=order_tests(apart, settings.score.bootstrap, random),
            close=len(close),
            gap=APART,
            score_report=SCORE,
        ),
        figures=tuple(_write_figures(runtime.out, measured)),
    )
    write_report(runtime.out, report)
    write_study_html(runtime.out, report)
    return report


def stands_close(record: Mapping[str, Any]) -> bool:
    """Whether two elements of an image, as its data set's metadata has them, are nearer than `APART`.

    What nearly touches is harder to draw and to detect, however often it was seen.
    """
    boxes = [tuple(element["box"]) for element in record["elements"]]
    return any(boxes_meet(box, other, APART) for box, other in combinations(boxes, 2))


def order_tests(
    results: Sequence[ScoreResult], replicates: int, random: np.random.Generator
) -> tuple[OrderTest, ...]:
    """The test of each score."""
    return tuple(
        order_test(name, scores_of(results, value), replicates, random) for name, value in SCORES.items()
    )


def category_results(measured: ScoredQueries, hashes: Mapping[Category, str]) -> list[RarityResult]:
    """The summary of each category, as the score run has it."""
    groups = {group.name: group for group in groups_of(measured)}
    summaries = []
    for category, digest in hashes.items():
        group = groups.get(category)
        if group is not None:
            summaries.append(
                RarityResult(
                    category=category,
                    images=group.count,
                    out_of_domain=group.out_of_domain,
                    curve=group.curve,
                    originality=group.originality,
                    tokens_needed=group.tokens_needed,
                    dataset_hash=digest,
                )
            )
    return summaries


def groups_of(measured: ScoredQueries) -> tuple[GroupSummary, ...]:
    """The groups of the score run."""
    return measured.report.summary.groups if measured.report.summary else ()


def _tokens_rank(result: ScoreResult) -> float | None:
    """Tokens needed as a number: more than M is M + 1, in doubt at m is half a token more than m."""
    needed = result.tokens_needed
    match needed.kind:
        case "reached":
            return float(needed.m or 0)
        case "undecided":
            return (needed.m or 0) + 0.5
        case "not-reached":
            return (needed.maximum or 0) + 1.0
    return None


def _mean_loss(result: ScoreResult) -> float | None:
    losses = [point.l_det.value for point in result.curve if point.l_det.value is not None]
    return float(np.mean(losses)) if losses else None


SCORES: Mapping[str, Callable[[ScoreResult], float | None]] = {
    "originality": lambda result: result.originality.value,
    "tokens_needed": _tokens_rank,
    "distance_1": lambda result: result.curve[0].distance.value if result.curve else None,
    "l_det": _mean_loss,
}


def scores_of(results: Sequence[ScoreResult], value: Callable[[ScoreResult], float | None]) -> Scores:
    """The scores of the images that have one, by category; those out of domain have none."""
    scores: dict[Category, list[float]] = {category: [] for category in CATEGORIES}
    for result in results:
        score = None if result.verdict.kind == VerdictKind.out_of_domain else value(result)
        if score is not None:
            scores[result.group].append(score)  # type: ignore[index]  # the groups are the categories
    return scores


def order_test(name: str, scores: Scores, replicates: int, random: np.random.Generator) -> OrderTest:
    """Whether a score rises from common over rare to unseen: over images, and for each pair of categories.

    Args:
        scores: by category, in the order expected.
    """
    lists = [list(scores[category]) for category in CATEGORIES]
    ranks = [rank for rank, values in enumerate(lists) for _ in values]
    trend = rise(ranks, [value for values in lists for value in values], random)
    means = {c: float(np.mean(values)) for c, values in scores.items() if len(values)}
    complete = len(means) == len(CATEGORIES)
    tau = Estimate.missing("fewer than three images, or the score does not vary")
    if trend is not None:
        span = resampled(kendall, lists, replicates, random) if complete else None
        tau = estimate(trend.tau, span)
    return OrderTest(
        score=name,  # a key of SCORES
        images=len(ranks),
        means=means,
        in_order=means["common"] < means["rare"] < means["unseen"] if complete else None,
        kendall_tau=tau,
        p_value=None if trend is None else trend.p_value,
        test=f"{PERMUTATIONS} permutations of the images' categories, one-sided",
        pairs=tuple(
            _pair_test(lower, higher, scores, replicates, random)
            for lower, higher in combinations(CATEGORIES, 2)
        ),
    )


def kendall(*lists: Sequence[float]) -> float | None:
    """Kendall's tau-b of the place of a list and its values; `None` where they do not vary."""
    ranks = [rank for rank, values in enumerate(lists) for _ in values]
    tau = float(stats.kendalltau(ranks, np.concatenate(lists)).statistic)
    return None if np.isnan(tau) else tau


def _pair_test(
    lower: Category, higher: Category, scores: Scores, replicates: int, random: np.random.Generator
) -> PairTest:
    above, below = scores[higher], scores[lower]
    auc = roc_auc(above, below)
    if auc is None:
        return PairTest(lower=lower, higher=higher, auc=Estimate.missing("a category has no image"))
    span = resampled(roc_auc, [above, below], replicates, random)
    tested = min(len(above), len(below)) >= LEAST_FOR_A_TEST
    return PairTest(
        lower=lower,
        higher=higher,
        auc=estimate(auc, span),
        p_value=permutation_p_value(above, below, random) if tested else None,
    )


def _write_figures(directory: Path, measured: ScoredQueries) -> list[str]:
    """The curves of the categories, from common to unseen."""
    order = {category: place for place, category in enumerate(CATEGORIES)}
    groups = sorted(groups_of(measured), key=lambda group: order[group.name])  # type: ignore[index]
    if not any(group.curve for group in groups):
        return []
    metric = measured.report.provenance.metric
    make_directory(directory / "figures")
    names = []
    for form in ("png", "pdf"):
        name = f"figures/rarity.{form}"
        data = group_curves(groups, metric.name if metric else "perceptual", form)
        write_bytes(directory / name, data)
        names.append(name)
    return names
