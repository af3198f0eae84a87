"""Which samples stand for a result."""

from pathlib import Path

from origcli.reports.chosen_samples import nearest, telling_point, typical, with_tokens, without_tokens
from origcli.reports.schema import CurvePoint, ScoreResult, TokensNeeded
from tests.reports import samples


def point(m: int, *distances: float, files: str = "abcd") -> CurvePoint:
    return CurvePoint(
        m=m, distance=samples.estimate(0.4), distances=(distances,), l_det=samples.estimate(0.1),
        drawings=tuple(f"{file}{m}" for file in files[: len(distances)]),
    )  # fmt: skip


def measured(*points: CurvePoint, **needed: object) -> ScoreResult:
    return samples.result(None).model_copy(
        update={"curve": points, "tokens_needed": TokensNeeded.model_validate({"maximum": 5, **needed})}
    )


def test_the_typical_sample_is_that_of_median_distance() -> None:
    found = typical(with_tokens(point(1, 0.9, 0.1, 0.4, 0.5)))
    assert found is not None and (found.file, found.number, found.distance) == ("c1", 3, 0.4)
    kept = typical(with_tokens(point(1, 0.9, 0.1).model_copy(update={"drawings": ("a1",)})))
    assert kept is not None and kept.file == "a1", "among those whose files were kept"
    unknown = point(1, 0.9).model_copy(update={"distances": (), "drawings": ("a1", "b1")})
    first = typical(with_tokens(unknown))
    assert first is not None and (first.file, first.distance) == ("a1", None)
    assert typical([]) is None


def test_of_equally_near_samples_that_with_the_fewest_tokens_is_the_nearest() -> None:
    found = nearest(measured(point(1, 0.5, 0.2), point(2, 0.2, 0.3), kind="reached", m=1))
    assert found is not None and (found.m, found.file) == (1, "b1")
    assert nearest(measured(kind="not-measured")) is None


def test_the_telling_point_is_that_of_the_verdict_or_the_last() -> None:
    points = (point(1, 0.5), point(2, 0.4), point(3, 0.3))
    for needed, m in (
        ({"kind": "reached", "m": 2}, 2),
        ({"kind": "undecided", "m": 1}, 1),
        ({"kind": "not-reached"}, 3),
        ({"kind": "no-threshold"}, 3),
    ):
        found = telling_point(measured(*points, **needed))
        assert found is not None and found.m == m
    assert telling_point(measured(kind="not-measured")) is None


def test_samples_without_tokens_come_in_the_order_of_their_seeds(tmp_path: Path) -> None:
    result = samples.result(tmp_path, drawings=3)
    found = without_tokens(result)
    assert [(one.m, one.number, one.distance) for one in found] == [
        (0, number, distance) for number, distance in enumerate(result.distances_0, 1)
    ]
    assert without_tokens(samples.result(None)) == [], "no file was kept"
