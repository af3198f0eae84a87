"""What counts as a launch of several processes, and what does not."""

import os
import socket
from datetime import timedelta

import pytest
import torch

from origcli.errors import UsageError
from origcli.runtime import distributed
from origcli.runtime.distributed import Launch, alone, is_main, launch, local_rank, wait_for_all

TWO = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "node", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def no_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TWO:
        monkeypatch.delenv(name, raising=False)


def test_a_launch_is_read() -> None:
    assert launch(TWO) == Launch(rank=1, local_rank=0, size=2)
    assert launch({**TWO, "RANK": " 0 "}).rank == 0


@pytest.mark.fault(31, "a rank without a launch counts for nothing")
@pytest.mark.parametrize("size", [None, "", " ", "1"])
@pytest.mark.parametrize("rank", ["1", "", "abc", "-1"])
def test_a_rank_without_a_launch_counts_for_nothing(size: str | None, rank: str) -> None:
    variables = {"RANK": rank, "LOCAL_RANK": rank} | ({} if size is None else {"WORLD_SIZE": size})
    assert launch(variables) == Launch(0, 0, 1)


@pytest.mark.fault(31, "a launch that is not usable is exit 2 with the variable's name")
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE=-2"),
        ({"RANK": ""}, "RANK="),
        ({"RANK": "abc"}, "RANK=abc"),
        ({"RANK": "2"}, "RANK=2"),
        ({"RANK": None}, "RANK is not set"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK=-1"),
        ({"LOCAL_RANK": None}, "LOCAL_RANK is not set"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ({"MASTER_PORT": None}, "MASTER_PORT is not set"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT=http"),
    ],
)
def test_a_launch_that_is_not_usable_names_the_variable(changes: dict[str, str | None], named: str) -> None:
    variables = {name: value for name, value in {**TWO, **changes}.items() if value is not None}
    with pytest.raises(UsageError) as caught:
        launch(variables)
    assert caught.value.message.startswith(named) and caught.value.exit_code == 2
    assert "torchrun" in caught.value.hint


def test_what_does_not_train_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries read these variables by themselves: accelerate MPI's, ultralytics RANK at its import."""
    others = {"PMI_SIZE": "4", "OMPI_COMM_WORLD_SIZE": "4", "ACCELERATE_MIXED_PRECISION": "fp8"}
    for name, value in {**TWO, **others, "RANK": "abc"}.items():
        monkeypatch.setenv(name, value)
    with alone():
        assert is_main() and local_rank() == 0
        assert not {*TWO, *others} & set(os.environ)
    assert os.environ["RANK"] == "abc" and os.environ["PMI_SIZE"] == "4"
    with pytest.raises(UsageError, match="RANK=abc"), alone(trains=True):
        raise AssertionError
    monkeypatch.setenv("RANK", "1")
    with alone(trains=True):
        assert not is_main() and "PMI_SIZE" not in os.environ
        assert os.environ["ACCELERATE_MIXED_PRECISION"] == "fp8"
    monkeypatch.setenv("WORLD_SIZE", "1")
    with alone(trains=True):
        assert is_main() and "RANK" not in os.environ and "LOCAL_RANK" not in os.environ


@pytest.mark.fault(31, "processes that never start are waited for ten minutes, not for days")
@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_never_start_are_not_waited_for(monkeypatch: pytest.MonkeyPatch, rank: str) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    for name, value in {**TWO, "RANK": rank, "MASTER_ADDR": "localhost", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, value)
    assert timedelta(minutes=1) < distributed._LONGEST_START < timedelta(hours=1)
    monkeypatch.setattr(distributed, "_LONGEST_START", timedelta(seconds=1))
    with pytest.raises(UsageError, match=f"WORLD_SIZE=2, but not all 2 processes came .*localhost:{port}"):
        wait_for_all(torch.device("cpu"))
    assert not torch.distributed.is_initialized()
