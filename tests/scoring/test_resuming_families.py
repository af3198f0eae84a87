"""A score of each family that was killed ends in the bytes of one that was not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from origcli.images.inputs import Input
from origcli.scoring import store
from origcli.settings import Settings
from tests.chaos.processes import contents
from tests.scoring.runs import score
from tests.tiny_families import BUILDERS, write_tiny_family

pytestmark = pytest.mark.usefixtures("pixel_metric")


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "sana" else pytest.mark.slow) for name in BUILDERS]
)
def test_a_killed_score_is_resumed_byte_for_byte(
    name: str,
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two images together and one by itself, each learned twice."""
    model = write_tiny_family(tmp_path / "model", name)
    settings = tiny_settings(
        score={"model": str(model), "together": 2, "repeats": 2, "samples": 2, "ceiling_samples": 2},
        invert={"steps": 2},
    )
    score(settings, tmp_path / "whole", pictures)
    real, left = store._write, [6]

    def write(path: Path, data: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_write", write)
        with pytest.raises(Killed):
            score(settings, tmp_path / "killed", pictures)
    assert not (tmp_path / "killed" / "report.json").exists()
    score(settings, tmp_path / "killed", pictures)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
