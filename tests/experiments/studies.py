"""A metric for studies on a tiny random model: every picture is inside its domain."""

from pathlib import Path

import numpy as np
import pytest

from tests.measuring import PixelDistance


class NarrowDistance(PixelDistance):
    """Between 0.5 and 0.6, so that floor and ceiling are alike."""

    def between(self, a: np.ndarray, b: np.ndarray) -> float:
        return 0.5 + 0.1 * super().between(a, b)


@pytest.fixture
def narrow_metric(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every metric is `NarrowDistance`, and a scale of any width is wide enough."""
    monkeypatch.setattr("origcli.experiments.opening.open_metric", lambda *_, **__: NarrowDistance())
    monkeypatch.setattr("origcli.experiments.measure.LEAST_RANGE", -10.0)
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
