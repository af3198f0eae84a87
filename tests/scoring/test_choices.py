"""Which metric goes with a model where none is named."""

from pathlib import Path

import pytest

from origcli.scoring.choices import chosen_metric
from origcli.settings import resolve
from origcli.weights.registry import ModelEntry, RegistryValues


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
