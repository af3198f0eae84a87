"""Hundreds of scores in one process: memory stays flat, no file stays open, none is left behind.

SOAK_SCORES is how many there are.
"""

import gc
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from origcli.images.inputs import Input
from origcli.runtime.context import open_runtime
from origcli.scoring.run import Request, score_images
from tests.measuring import pixel_metric, tiny_settings

__all__ = ["pixel_metric", "tiny_settings"]

SCORES = int(os.environ.get("SOAK_SCORES", "500"))
_WARM = 0.2  # the share of the scores after which nothing new should be loaded or grow


@pytest.mark.slow
@pytest.mark.usefixtures("pixel_metric")
def test_many_scores_in_one_process(
    tmp_path: Path, tiny_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    settings = tiny_settings()
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "a.png")
    process, measured = psutil.Process(), []
    for number in range(SCORES):
        with open_runtime(settings.runtime, tmp_path / "out", existing="replace") as runtime:
            report = score_images(Request([Input(tmp_path / "a.png", "a")]), settings, runtime)
        assert len(report.results) == 1 and not report.errors
        if number >= SCORES * _WARM:
            gc.collect()
            measured.append((process.memory_info().rss, process.num_fds(), process.num_threads()))
    memory, files, threads = zip(*measured, strict=True)
    quarter = max(1, len(memory) // 4)
    first, last = (sum(part) / quarter for part in (memory[:quarter], memory[-quarter:]))
    logging.info("%d scores: %.0f MB, and at the end %.0f MB", SCORES, first / 1e6, last / 1e6)
    assert last <= first * 1.05
    assert set(files) == {files[0]} and set(threads) == {threads[0]}
    assert list((tmp_path / "temporary").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "out", "temporary"}
