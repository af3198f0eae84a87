"""`origcli fetch`: what it says, and its exit statuses."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from origcli.scoring import fetching
from origcli.weights import downloads
from origcli.weights.downloads import RemoteFile
from origcli.weights.fetchable import State
from tests.cli.command_line import run_here
from tests.serving import Files, file_server

Run = Callable[..., tuple[int, str, str]]
DATA = b"weights"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(downloads, "LONGEST_WAIT_S", 0.0)
    remote = RemoteFile("https://example.invalid/yolov8n.pt", len(DATA), hashlib.sha256(DATA).hexdigest())
    monkeypatch.setitem(fetching.WEIGHT_FILES, "yolov8n", remote)

    def call(*words: str) -> tuple[int, str, str]:
        return run_here(capsys, *words)

    return call


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    with file_server({"/yolov8n.pt": DATA}) as files:
        monkeypatch.setenv("ORIGCLI_MIRROR", files.url)
        yield files


def test_the_list_needs_nothing_to_be_here(run: Run) -> None:
    status, out, err = run("fetch", "--list", "--format", "csv")
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(out))}
    assert (status, err) == (0, "") and set(rows) == set(fetching.names())
    assert {row["state"] for row in rows.values()} == {"not here"}


@pytest.mark.fault(22, "`fetch --verify` finds it, `fetch` repairs it")
def test_fetch_verify_damage_mend(run: Run, mirror: Files, tmp_path: Path) -> None:
    status, out, _ = run("fetch", "yolov8n", "--format", "json")
    (row,) = json.loads(out)
    assert status == 0 and row["state"] == "here" and Path(row["path"]).read_bytes() == DATA
    assert run("fetch", "--verify")[0] == 0
    Path(row["path"]).write_bytes(b"changed")
    status, out, err = run("fetch", "--verify", "--format", "json")
    assert status == 4 and "origcli fetch yolov8n" in err and "changed" in out
    assert run("fetch", "yolov8n", "-q")[::2] == (0, "")
    assert run("fetch", "yolov8n", "--verify")[0] == 0


def test_all_that_is_damaged_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(name: str, **_: Any) -> State:
        return State(name, "", "", Path(name), problem="changed")

    monkeypatch.setattr(fetching, "state", damaged)
    status, _, err = run("fetch", "sd15", "clip", "--verify")
    assert status == 4 and "sd15: changed; clip: changed" in err and "origcli fetch sd15 clip" in err


def test_a_variant_that_is_not_here(run: Run, monkeypatch: pytest.MonkeyPatch, mirror: Files) -> None:
    status, _, err = run("fetch", "sd15", "--variant", "fp16", "--offline")
    assert status == 4 and "sd15" in err
    assert run("fetch", "yolov8n", "--variant", "fp16")[0] == 0  # has one kind of weights
    before = len(mirror.paths)
    assert run("fetch", "yolov8n", "--variant", "fp16")[0] == 0 and len(mirror.paths) == before


def test_offline_asks_no_network(run: Run, mirror: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, err = run("fetch", "yolov8n", "sd15", "--offline")
    assert status == 4 and "yolov8n sd15" in err and "not here" in out
    monkeypatch.setenv("ORIGCLI_OFFLINE", "true")
    assert run("fetch", "yolov8n")[0] == 4 and mirror.paths == []


def test_a_server_that_lies_is_exit_4(run: Run, mirror: Files) -> None:
    mirror.content["/yolov8n.pt"] = b"garbage"
    status, out, err = run("fetch", "yolov8n")
    assert status == 4 and out == "" and "Traceback" not in err and "hint" in err


@pytest.mark.parametrize(
    "words", [(), ("sd16",), ("../x",), ("a/b/c",), ("dreamsim:x",), ("yolov8n", "--variant", "fp8")]
)
def test_wrong_words_are_exit_2(run: Run, words: tuple[str, ...]) -> None:
    status, out, err = run("fetch", *words)
    assert status == 2 and out == "" and "hint" in err
