"""`origcli generalize` as a user runs it: the plan, a kill, a failure, and going on."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.command_line import PROGRAM, origcli, run_here
from tests.detection.tiny import write_tiny_detector
from tests.studies.toys import toml_of, toy_settings

FIRST, SECOND = "04-01-no-big-red-full-circle", "04-02-no-big-blue-empty-square"


def test_the_plan_names_and_hashes_every_experiment(tmp_path: Path) -> None:
    done = origcli("generalize", "--plan", "--levels", "4,60", "--repeats", "2", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["level"], row["held_out"]) for row in rows] == [
        (4, "big red full circle"),
        (4, "big blue empty square"),
        (60, "big red full circle"),
        (60, "big blue empty square"),
    ]
    assert len({row["experiment"] for row in rows}) == len({row["hash"] for row in rows}) == 4
    again = origcli(
        *("generalize", "--plan", "--levels", "4,60", "--repeats", "2", "--out", tmp_path / "study")
    )
    assert again.returncode == 0
    assert json.loads((tmp_path / "study" / "plan.json").read_text()) == rows


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--levels", "four"), "not a list of numbers"),
        (("--levels", "7"), "span 7 elements"),
        (("--repeats", "17"), "there are 16"),
        (("--only", "61-*", "--plan"), "no such experiment"),
    ],
)
def test_wrong_words_are_usage_errors(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = origcli("generalize", "--out", tmp_path / "study", *words)
    assert done.returncode == 2 and said in done.stderr
    assert not (tmp_path / "study" / "experiments").exists()


def test_without_its_detector_nothing_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(capsys, "generalize", "--out", tmp_path / "study", "--detector", tmp_path / "none")
    assert done.status == 4 and "no detector here" in done.err
    assert not (tmp_path / "study" / "experiments").exists()


def test_a_killed_run_goes_on_and_a_failed_experiment_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    study = tmp_path / "study"
    (tmp_path / "toy.toml").write_text(toml_of(toy_settings(write_tiny_detector(tmp_path / "detector"))))
    words = ["generalize", "--config", str(tmp_path / "toy.toml"), "--out", str(study), "--resume", "-q"]

    running = subprocess.Popen([PROGRAM, *words])
    deadline = time.monotonic() + 900
    while not (study / "experiments" / FIRST / "vae" / "report.json").exists():
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    trained = (study / "experiments" / FIRST / "vae" / "report.json").stat().st_mtime_ns

    (study / "experiments" / SECOND).mkdir(exist_ok=True)
    (study / "experiments" / SECOND / "vae").write_text("in the way")
    done = run_here(capsys, *words, "--format", "csv")
    assert done.status == 3, done.err
    assert (study / "experiments" / FIRST / "vae" / "report.json").stat().st_mtime_ns == trained
    lines = done.out.splitlines()
    assert lines[1].startswith(f"{FIRST},4,") and lines[-1].startswith(f"{SECOND},") and "io: " in lines[-1]
    assert done.out == (study / "report.csv").read_text()
    assert json.loads((study / "report.json").read_text())["status"] == "partial"

    (study / "experiments" / SECOND / "vae").unlink()
    done = run_here(capsys, *words, "--format", "json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert report["status"] == "complete" and report["errors"] == []
    assert {one["experiment"] for one in report["results"]} == {FIRST, SECOND}
    assert "<html" in (study / "report.html").read_text()
    assert str(tmp_path) not in json.dumps(report["provenance"]["settings"]["text_encoder"])
