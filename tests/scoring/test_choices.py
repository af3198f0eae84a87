"""Which metric goes with a model where none is named; what the metric of a report says of its model."""

from pathlib import Path

import pytest

from origcli.reports.envelope import ModelFacts
from origcli.scoring.choices import chosen_metric, knows_shapes_only
from origcli.settings import resolve
from origcli.weights.registry import ModelEntry, RegistryValues
from tests.reports.samples import provenance


@pytest.mark.parametrize(
    ("asked", "kept", "detector", "expected"),
    [
        ("auto", None, None, "dreamsim"),
        ("auto", None, "here", "elements"),
        ("auto", "clip", None, "clip"),
        ("auto", "clip", "here", "elements"),
        ("dinov2", "clip", "here", "dinov2"),
    ],
)
def test_auto_is_what_is_kept_with_a_model_or_what_fits(
    asked: str, kept: str | None, detector: str | None, expected: str
) -> None:
    values = RegistryValues(metric=kept)
    entry = ModelEntry("mine", "mine", Path("mine"), None, values, None)
    settings = resolve({"score": {"metric": asked}}, environment={})[0]
    path = None if detector is None else Path(detector)
    assert chosen_metric(entry, path, settings) == expected
    if kept is None:
        assert chosen_metric(None, path, settings) == expected


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("elements", True), ("dreamsim", False), ("dreamsim:dino_vitb16", False), ("unheard-of", False)],
)
def test_a_model_knows_shapes_only_where_its_metric_sees_nothing_else(metric: str, expected: bool) -> None:
    assert knows_shapes_only(provenance(metric=ModelFacts(name=metric))) is expected


def test_a_model_without_a_metric_may_know_more_than_shapes() -> None:
    assert not knows_shapes_only(provenance(metric=None))
