"""docs/slurm-array.sh under a scheduler that sets what SLURM sets, and nothing else."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from origcli.cli.demo import examples
from tests.cli.command_line import PROGRAM, origcli
from tests.docs.test_commands import TINY

SCRIPT = Path(__file__).parents[2] / "docs" / "slurm-array.sh"
OPTIONS = ("--model", "shapes", "--max-tokens", "1", "--threads", "1", "--quiet", "--no-cache")


def task(
    number: int | None, *words: str | Path, directory: Path, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """One task of the array."""
    environment = {**os.environ, **TINY, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", **variables}
    if number is not None:
        environment |= {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": "1"}
    return subprocess.run(
        ["bash", SCRIPT, *words], cwd=directory, env=environment, capture_output=True, text=True, timeout=600
    )


def test_tasks_score_parts_that_are_merged(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\n" + "".join(f"{one.path}\n" for one in examples()))
    words = ("2", "list.csv", "runs/big", *OPTIONS)
    for part in (1, 2):
        done = task(part, *words, directory=tmp_path)
        assert done.returncode == 0, done.stderr
    parts = (tmp_path / "runs/big").glob("part-*")
    assert origcli("report", "merge", *parts, "--out", tmp_path / "whole").returncode == 0
    report = json.loads((tmp_path / "whole/report.json").read_text("utf-8"))
    assert len(report["results"]) == 2 and report["parts"] is None


@pytest.mark.parametrize(
    ("number", "words", "told"),
    [
        (None, ("2", "list.csv", "out"), "sbatch --array=1-2"),
        (3, ("2", "list.csv", "out"), "task 3 of 2"),
        (0, ("2", "list.csv", "out"), "task 0 of 2"),
        (1, ("2", "list.csv"), "directory of the run"),
    ],
)
def test_wrong_words_are_told(number: int | None, words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = task(number, *words, directory=tmp_path)
    assert done.returncode != 0 and told in done.stderr and not list(tmp_path.iterdir())
