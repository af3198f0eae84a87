"""`origcli synth` as a person or a script runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from origcli.scenes.dataset import read_dataset
from tests.cli.command_line import PROGRAM, origcli

SYNTH = [str(PROGRAM), "synth"]
STOPPED = ["--count", "3000", "--resolution", "32", "--workers", "2", "--quiet"]


def synth(*words: Any, **environment: str) -> "subprocess.CompletedProcess[str]":
    return origcli("synth", *map(str, words), env={**os.environ, **environment})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run that nobody stops makes."""
    path = tmp_path_factory.mktemp("unbroken") / "set"
    assert synth(path, *STOPPED).returncode == 0
    return path


def test_a_set_is_made_and_told(tmp_path: Path) -> None:
    done = synth(
        tmp_path / "set", "--mixture", "originality", "--count", 50, "--resolution", 32, "--format", "json",
        "--preview", tmp_path / "sheets" / "sheet.png", "--workers", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts == json.loads((tmp_path / "set" / "dataset.json").read_text())
    dataset = read_dataset(tmp_path / "set")
    assert len(dataset) == 50 and dataset.resolution == 32
    assert set(facts["frequencies"]["kinds"]) == {"empty", "common", "rare", "rest"}
    with Image.open(tmp_path / "sheets" / "sheet.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 1000 and len(sheet.getcolors(1 << 24) or []) > 20


def test_all_that_shapes_a_set_may_be_said(tmp_path: Path) -> None:
    done = synth(
        tmp_path / "set", "--count", 60, "--resolution", 32, "--sizes", "big", "--colors", "red,blue",
        "--textures", "full", "--textures", "empty", "--shapes", "circle,star", "--hold-out", "blue circle",
        "--max-elements", 2, "--empty", 0, "--no-overlap", "--caption-order", "shuffled", "--seed", 5,
        "--shards", 2, "--quiet", "--format", "csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "kind,pictures,share,expected",
        "empty,0,0.0,0.0",
        "uniform,60,1.0,1.0",
    ]
    dataset = read_dataset(tmp_path / "set")
    assert dataset.facts["elements"] == [
        "big red full circle",
        "big red full star",
        "big red empty circle",
        "big red empty star",
        "big blue full star",
        "big blue empty star",
    ]
    assert {len(record["elements"]) for record in dataset.records} == {1, 2}
    assert dataset.recipe["seed"] == 5


def test_query_sets_are_of_one_kind(tmp_path: Path) -> None:
    for extra in ([], ["--fixed-location"]):
        path = tmp_path / f"set{len(extra)}"
        words = [
            "--mixture",
            "originality",
            "--category",
            "common",
            "--count",
            12,
            "--resolution",
            32,
            *extra,
        ]
        assert synth(path, *words).returncode == 0
        records = read_dataset(path).records
        assert {record["category"] for record in records} == {"common"}
        places = {(item["element"], item["x"], item["y"]) for r in records for item in r["elements"]}
        assert (len(places) <= 6) == bool(extra)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--hold-out", "blue cube"], ["cube", "triangle"]),
        (["--shapes", "circle,pentagon"], ["pentagon", "hexagon"]),
        (["--mixture", "common"], ["synth.mixture", "'uniform' or 'originality'"]),
        (["--category", "common"], ["--mixture originality"]),
        (["--resolution", "2000"], ["synth.resolution", "1024"]),
        (["--count", "-1"], ["synth.count"]),
        (["--caption-order", "random"], ["caption_order", "shuffled"]),
        (["--no-overlap", "--max-elements", "50"], ["no room"]),
        (["--workers", "0"], ["--workers"]),
    ],
)
def test_words_that_mean_nothing_are_answered(tmp_path: Path, words: list[str], named: list[str]) -> None:
    done = synth(tmp_path / "set", *words)
    assert done.returncode == 2
    assert all(name in done.stderr for name in named), done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert not (tmp_path / "set").exists()


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    done = synth(tmp_path / "set", "--mixture", "originality", "--dry-run", "--format", "json")
    plan = json.loads(done.stdout)
    assert plan["kinds"]["rare"]["pictures"] == 100 and len(plan["elements"]) == 15
    assert not (tmp_path / "set").exists()


def test_what_is_finished_is_not_written_over(tmp_path: Path) -> None:
    words = [tmp_path / "set", "--count", 5, "--resolution", 32]
    assert synth(*words).returncode == 0
    again = synth(*words)
    assert again.returncode == 2 and "--force" in again.stderr
    assert synth(*words, "--resume").returncode == 0
    other = synth(*words, "--resume", "--seed", 1)
    assert other.returncode == 2 and "seed 0, not 1" in other.stderr
    assert synth(*words, "--force", "--seed", 1).returncode == 0
    assert read_dataset(tmp_path / "set").recipe["seed"] == 1


def parts(path: Path) -> int:
    return len(list(path.glob(".parts/*.jsonl")))


@pytest.mark.fault(9, "exit 130 or 143, and resuming comes to the same bytes")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_stopped_run_goes_on(tmp_path: Path, unbroken: Path, number: signal.Signals, status: int) -> None:
    path = tmp_path / "set"
    words = [str(path), *STOPPED]
    process = subprocess.Popen([*SYNTH, *words], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while parts(path) < 1 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    # As a terminal does, to all processes of the group; a kill reaches the first alone.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == status and "Traceback" not in said
    assert 1 <= parts(path) < 3 and not (path / "dataset.json").exists()
    done = synth(*words, "--resume")
    assert done.returncode == 0, done.stderr
    for name in ("metadata.jsonl", "dataset.json", "images/00002/002999.png"):
        assert (path / name).read_bytes() == (unbroken / name).read_bytes()
    assert len(list(path.glob("images/*/*.png"))) == 3000 and not (path / ".parts").exists()


def test_a_disk_that_takes_no_more_is_told(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        "from origcli.cli.app import main; main(sys.argv[1:])"
    )
    words = [
        "synth",
        str(tmp_path / "set"),
        "--count",
        "400",
        "--resolution",
        "32",
        "--workers",
        "1",
        "--quiet",
    ]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 6, done.stderr
    assert str(tmp_path / "set") in done.stderr and "Traceback" not in done.stderr
    assert synth(*words[1:], "--resume").returncode == 0


def test_settings_come_from_the_environment_and_a_file(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[synth]\ncount = 3\nresolution = 32\nhold_out = ['star']\n")
    done = synth(tmp_path / "set", "--config", config, ORIGCLI_SYNTH_EMPTY="1.0")
    assert done.returncode == 0, done.stderr
    dataset = read_dataset(tmp_path / "set")
    assert dataset.captions == ["", "", ""] and len(dataset.facts["elements"]) == 48
