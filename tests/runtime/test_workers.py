"""Units of work in processes of their own: their order, their errors, and how they stop."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import DeviceError, InputError, Interrupted
from origcli.runtime import interrupts
from origcli.runtime.workers import map_units


def _open_slow_first() -> Any:
    def work(unit: int) -> tuple[int, int]:
        time.sleep(0.5 if unit == 0 else 0)  # the first is the last to be done
        return unit, os.getpid()

    return work


def test_results_come_in_the_order_of_the_units_from_two_processes() -> None:
    found = list(map_units(_open_slow_first, range(6), 2))
    assert [unit for unit, _ in found] == list(range(6))
    assert len({process for _, process in found}) == 2 and os.getpid() not in {p for _, p in found}


def _open_unreadable() -> Any:
    raise InputError("no picture", "a hint")


def test_an_error_of_a_worker_comes_through() -> None:
    with pytest.raises(InputError, match="no picture") as caught:
        list(map_units(_open_unreadable, [1], 1))
    assert caught.value.hint == "a hint"


def _open_deadly() -> Any:
    return lambda unit: os._exit(9)


def test_a_worker_that_is_killed_is_told_with_the_way_on() -> None:
    with pytest.raises(DeviceError, match="killed") as caught:
        list(map_units(_open_deadly, [1], 1))
    assert "--resume" in caught.value.hint


def _open_endless(directory: Path) -> Any:
    def work(unit: int) -> None:
        with interrupts.handled():  # as every run has it
            (directory / f"begun-{unit}").touch()
            while not interrupts.pending():
                time.sleep(0.05)
            (directory / f"saved-{unit}").touch()
            interrupts.check()

    return work


def test_a_stop_lets_workers_come_to_their_safe_point(tmp_path: Path, monkeypatch: Any) -> None:
    def check() -> None:
        if len(list(tmp_path.glob("begun-*"))) == 2:
            raise Interrupted(2)

    monkeypatch.setattr(interrupts, "check", check)
    with pytest.raises(Interrupted):
        list(map_units(partial(_open_endless, tmp_path), range(3), 2))
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0", "saved-1"}
