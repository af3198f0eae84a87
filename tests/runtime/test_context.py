"""The runtime: opened before any model is loaded, and it leaves a record."""

import json
from pathlib import Path

import pytest
import torch

from origcli.errors import DeviceError, InputError, Interrupted, LockedError, UsageError
from origcli.runtime import interrupts
from origcli.runtime.atomic import write_json, write_text
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.progress import PlainProgress, SilentProgress
from origcli.settings import RuntimeSettings

ADDRESS = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
CPU = RuntimeSettings(device="cpu")


def test_it_hands_down_what_was_asked_for(tmp_path: Path) -> None:
    settings = RuntimeSettings(device="cpu", dtype="bf16", seed=7, offline=True, compile=True, threads=1)
    with open_runtime(settings, tmp_path / "run") as runtime:
        assert runtime.device == torch.device("cpu") and runtime.dtype == torch.bfloat16
        assert (runtime.seed, runtime.offline, runtime.compile) == (7, True, True)
        assert runtime.out == (tmp_path / "run").absolute()
        assert json.loads((runtime.out / "run.json").read_text())["state"] == "begun"
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["state"] == "finished" and record["seconds"] >= 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.json", ".written"}


def test_without_a_directory_it_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_runtime(CPU) as runtime:
        assert runtime.directory is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_stops_says_so_and_lets_go(tmp_path: Path) -> None:
    with pytest.raises(Interrupted), open_runtime(CPU, tmp_path) as runtime:
        write_json(runtime.out / "plan.json", {})
        raise Interrupted(15)
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "begun"
    with open_runtime(CPU, tmp_path):
        pass


def test_a_run_that_failed_before_it_wrote_anything_is_no_run(tmp_path: Path) -> None:
    """Words that are wrong, put right, work with the same --out."""
    with pytest.raises(InputError), open_runtime(CPU, tmp_path, existing="refuse"):
        raise InputError("no such data set")
    with open_runtime(CPU, tmp_path, existing="refuse") as runtime:
        write_json(runtime.out / "report.json", {})
    with pytest.raises(InputError), open_runtime(CPU, tmp_path):
        raise InputError("no such data set")
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "run.json", ".written"}


def test_a_device_that_is_not_there_is_found_before_the_directory_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError), open_runtime(RuntimeSettings(device="cuda"), tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_one_directory_has_one_runtime(tmp_path: Path) -> None:
    with open_runtime(CPU, tmp_path), pytest.raises(LockedError), open_runtime(CPU, tmp_path):
        pass


def test_a_run_can_be_started_over(tmp_path: Path) -> None:
    with open_runtime(CPU, tmp_path) as runtime:
        write_text(runtime.out / "old.txt", "")
    with pytest.raises(UsageError), open_runtime(CPU, tmp_path, existing="refuse"):
        pass
    with open_runtime(CPU, tmp_path, existing="replace") as runtime:
        assert not (runtime.out / "old.txt").exists()


def test_signals_are_handled_inside_only() -> None:
    with open_runtime(CPU):
        interrupts.check()
    assert not interrupts.pending()


def test_the_bare_runtime_is_the_cpu_in_fp32() -> None:
    runtime = Runtime()
    assert runtime.device.type == "cpu" and runtime.dtype == torch.float32 and runtime.seed == 0


def test_the_first_process_of_a_launch_owns_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("origcli.runtime.context.wait_for_all", lambda device: None)
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", **ADDRESS}.items():
        monkeypatch.setenv(name, value)
    with open_runtime(CPU, tmp_path, PlainProgress()) as first:
        assert isinstance(first.progress, PlainProgress)
        monkeypatch.setenv("RANK", "1")
        with open_runtime(CPU, tmp_path, PlainProgress(), existing="refuse") as second:
            assert second.out == first.out
            assert isinstance(second.progress, SilentProgress)
        monkeypatch.setenv("RANK", "0")
        assert json.loads((tmp_path / "run.json").read_text())["state"] == "begun"
