"""The bundled detector on 2,000 scenes: the figures that it has to reach, and what a VAE costs it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `benchmarks/counting.py` measures."""
    path = tmp_path_factory.mktemp("counting") / "figures.json"
    words: list[str | Path] = [sys.executable, ROOT / "benchmarks" / "counting.py", "--json", path]
    subprocess.run(words, cwd=path.parent, check=True, capture_output=True, timeout=1800)
    return json.loads(path.read_text())


@pytest.mark.slow
def test_it_counts_all_elements(figures: Any) -> None:
    seen = figures["all, scenes"]
    assert seen["images"] == 2000
    assert seen["map50"] >= 0.98
    assert seen["precision_at_threshold"] >= 0.99 and seen["recall_at_threshold"] >= 0.95
    assert seen["exact_multisets"] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["map50", "precision_at_threshold", "recall_at_threshold"])
def test_the_vae_costs_at_most_two_points(figures: Any, name: str) -> None:
    assert figures["big full, round trips"][name] >= figures["big full, scenes"][name] - 0.02
