from typing import Any

import numpy as np
import pytest

from origcli.reports.schema import Estimate, Verdict
from origcli.scoring.summary import Tally
from tests.scoring.results import score_result


def summary(results: Any) -> Any:
    tally = Tally(200, seed=0)
    for result in results:
        tally.add(result)
    return tally.summary()


def group(name: Any, levels: Any, threshold: Any = None) -> Any:
    return [
        score_result(
            f"{name.replace('/', '-')}-{i}",
            curve=(level, level - 0.1),
            spread=0.05,
            group=name,
            threshold=threshold,
            l_det=(0.05 + level / 100, 0.04 + level / 100),
        )
        for i, level in enumerate(levels)
    ]


def test_groups_have_curves_with_intervals() -> None:
    results = [*group("common", (0.3, 0.34, 0.32)), *group("original", (0.5, 0.54))]
    found = summary(results)
    common, original = found.groups
    assert (common.name, common.count, original.count) == ("common", 3, 2)
    assert [point.distance.value for point in common.curve] == pytest.approx([0.32, 0.22])
    assert all(p.distance.low < p.distance.value < p.distance.high for p in common.curve)
    expected = np.mean([result.originality.value for result in results[:3]])
    assert common.originality.value == pytest.approx(expected)
    assert common.originality.low < expected < common.originality.high
    assert common.curve[0].l_det.value == pytest.approx(0.0532)


def test_groups_of_a_domain_are_compared_lower_first() -> None:
    results = [
        *group("houses/original", (0.5, 0.52, 0.54, 0.56, 0.58)),
        *group("houses/common", (0.3, 0.32, 0.34, 0.36, 0.38)),
        *group("art/common", (0.4, 0.45)),
        *group("lone", (0.4,)),
    ]
    by_score = {c.score: c for c in summary(results).comparisons}
    assert set(by_score) == {"originality", "l_det"}
    for comparison in by_score.values():
        assert (comparison.domain, comparison.lower, comparison.higher) == (
            "houses",
            "houses/common",
            "houses/original",
        )
        assert comparison.auc.value == 1 and comparison.p_value == pytest.approx(2 / 252)
    assert by_score["originality"].difference.value == pytest.approx(0.2 / 0.6)
    assert by_score["originality"].difference.low > 0


def test_a_group_of_fewer_than_five_images_has_no_p_value() -> None:
    common = group("common", (0.3, 0.31, 0.32, 0.33, 0.34))
    for unseen, tested in (((0.5, 0.51, 0.52, 0.53), False), ((0.5, 0.51, 0.52, 0.53, 0.54), True)):
        found = summary([*common, *group("unseen", unseen)]).comparisons
        assert found and {one.p_value is not None for one in found} == {tested}
        assert {one.permutations for one in found} == {9999 if tested else 0}


def test_kinds_are_ordered_by_how_original_they_are_expected_to_be() -> None:
    results = [*group("unseen", (0.5,)), *group("rare", (0.4,)), *group("common", (0.3,))]
    pairs = [(c.lower, c.higher) for c in summary(results).comparisons if c.score == "originality"]
    assert pairs == [("common", "rare"), ("common", "unseen"), ("rare", "unseen")]


def test_verdicts_tokens_and_ranks_are_counted() -> None:
    results = group("common", (0.3, 0.4, 0.5), threshold=0.25)
    out = results[0].model_copy(update={"verdict": Verdict(kind="out-of-domain", words="x")})
    found = summary([*results, out])
    assert found.images == 4
    assert found.verdicts == {"not-redrawn": 2, "out-of-domain": 1, "redrawn": 1}
    assert found.groups[0].out_of_domain == 1 and found.groups[0].tokens_needed == {"2": 1, "> 2": 2}
    ranks = {(c.first, c.second): c for c in found.correlations}
    assert ranks["originality", "l_det"].spearman.value == pytest.approx(1)
    assert ranks["originality", "l_det_0"].spearman.value is None


def test_a_group_measured_at_different_token_counts_has_no_curve() -> None:
    results = [
        score_result("a", curve=(0.5, 0.4), group="g"),
        score_result("b", curve=(0.5,), group="g"),
    ]
    (one,) = summary(results).groups
    assert one.curve == () and "same m" in one.originality.reason


def test_a_group_keeps_the_token_counts_that_were_measured() -> None:
    one = score_result("a", curve=(0.5, 0.4), group="g", l_det=(0.06, 0.05))
    (found,) = summary([one.model_copy(update={"curve": one.curve[1:]})]).groups
    assert [(point.m, point.distance.value) for point in found.curve] == [(2, pytest.approx(0.4))]
    assert found.curve[0].l_det.value == pytest.approx(0.05)


def test_losses_are_not_compared_where_learning_stopped_at_different_token_counts() -> None:
    results = [score_result(name, group=name) for name in ("common", "original")]
    stopped = results[0].model_copy(update={"curve": results[0].curve[:1]})
    assert {c.score for c in summary(results).comparisons} == {"originality", "l_det"}
    assert {c.score for c in summary([stopped, results[1]]).comparisons} == {"originality"}


def test_images_without_groups_are_summed_up_without_any() -> None:
    found = summary([score_result("a"), score_result("b", curve=(0.6, 0.5))])
    assert found.images == 2 and not found.groups and not found.comparisons


def test_a_group_on_a_scale_without_range_has_no_originality() -> None:
    """Numbers that `score` cannot have written end in no traceback."""
    tally = Tally(20, 0)
    made_up = score_result(curve=(0.5, 0.4), floor=0.1, originality=0.3, group="a")
    tally.add(made_up.model_copy(update={"floor": Estimate.of(0.69)}))
    (group,) = tally.summary().groups
    assert group.originality.value is None and group.curve
