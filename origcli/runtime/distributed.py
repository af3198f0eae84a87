"""The processes of one launch (`accelerate launch`, `torchrun`): the first owns the files and speaks."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from origcli.errors import UsageError

if TYPE_CHECKING:
    import torch

# The first process may compute features of a large data set while the others wait.
_LONGEST_WAIT = timedelta(days=7)
# Until all processes of a launch have started: machines of a cluster do not start together.
_LONGEST_START = timedelta(minutes=10)

_REMEDY = "start all processes with accelerate launch or torchrun, or unset WORLD_SIZE"
# What libraries take for a launch, whoever set it: array jobs, schedulers, MPI, a shell of yesterday.
_OF_LAUNCHES = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
        *("MASTER_ADDR", "MASTER_PORT"),
    }
)
_OF_MPI = ("OMPI_COMM_WORLD_", "PMI_", "MV2_COMM_WORLD_")
_OF_ACCELERATE = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_")


@dataclass(frozen=True)
class Launch:
    """A process's place in a launch of several.

    Attributes:
        rank: its number among all.
        local_rank: its number on this machine, which is the number of its device.
        size: how many there are.
    """

    rank: int
    local_rank: int
    size: int


_ALONE = Launch(0, 0, 1)


def launch(environment: Mapping[str, str] | None = None) -> Launch:
    """The launch that the environment tells of: there is one where WORLD_SIZE is a number above 1.

    Without it no other variable counts: `RANK` alone is a usual name in array jobs.

    Raises:
        UsageError: a variable of the launch is missing, or no number of it.
    """
    variables = os.environ if environment is None else environment
    text = variables.get("WORLD_SIZE", "").strip()
    if not text:
        return _ALONE
    size = int(text) if text.isdecimal() else 0
    if size < 1:
        raise UsageError(f"WORLD_SIZE={text}: should be a number of processes", _REMEDY)
    if size == 1:
        return _ALONE
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not variables.get(name, "").strip():
            raise UsageError(f"{name} is not set, but WORLD_SIZE={size}", _REMEDY)
    _number("MASTER_PORT", variables, 1 << 16)
    return Launch(_number("RANK", variables, size), _number("LOCAL_RANK", variables, size), size)


def _number(name: str, variables: Mapping[str, str], below: int) -> int:
    """A variable that has to be a number from 0 to one less than `below`."""
    text = variables.get(name, "").strip()
    if text.isdecimal() and int(text) < below:
        return int(text)
    size = variables["WORLD_SIZE"]
    given = f"{name}={text}" if name in variables else f"{name} is not set"
    raise UsageError(f"{given}: should be a number under {below} with WORLD_SIZE={size}", _REMEDY)


@contextmanager
def alone(trains: bool = False) -> Iterator[None]:
    """Hides from this process, its children and all libraries what is no launch of this command.

    Only training runs in several processes. Any other command works alone, whatever variables are set; so
    does a training without a launch, which keeps the precision and parts of a batch that accelerate set.

    Raises:
        UsageError: the command trains, and its launch is not usable.
    """
    hidden = [name for name in os.environ if name.startswith(_OF_MPI)]
    if not trains:
        hidden += [name for name in os.environ if name in _OF_LAUNCHES or name.startswith(_OF_ACCELERATE)]
    elif launch() == _ALONE:
        hidden += [name for name in os.environ if name in _OF_LAUNCHES]
    before = {name: os.environ.pop(name) for name in hidden}
    try:
        yield
    finally:
        os.environ.update(before)


def local_rank() -> int:
    """This process's number on this machine, which is the number of its device; 0 without a launch."""
    return launch().local_rank


def is_main() -> bool:
    """Whether this process writes files, reports and progress."""
    return launch().rank == 0


def wait_for_all(device: "torch.device") -> None:
    """Goes on when every process of the launch has come here.

    Args:
        device: that this process computes on, which decides how the processes speak to each other.

    Raises:
        UsageError: the others did not start within ten minutes.
    """
    here = launch()
    if here == _ALONE:
        return
    from accelerate import PartialState

    _join(here, device)
    PartialState(cpu=device.type == "cpu", timeout=_LONGEST_WAIT).wait_for_everyone()


def _join(here: Launch, device: "torch.device") -> None:
    """Sets up the group of processes, which accelerate then uses everywhere.

    Left to itself, it would wait for processes that were never started as long as for work.
    """
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    if distributed.is_initialized():
        return
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        answers = rendezvous("env://", here.rank, here.size, timeout=_LONGEST_START)
        store, rank, size = next(iter(answers))
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"WORLD_SIZE={here.size}, but not all {here.size} processes came to MASTER_ADDR and MASTER_PORT "
            f"({address}) within {_LONGEST_START}: {str(error).splitlines()[0]}",
            _REMEDY,
        ) from error
    store.set_timeout(_LONGEST_WAIT)
    backend = "cuda:nccl,cpu:gloo" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_LONGEST_WAIT)


@contextmanager
def main_first(device: "torch.device") -> Iterator[None]:
    """The first process passes alone, then the others: what it left in a cache they find there."""
    if not is_main():
        wait_for_all(device)
    yield
    if is_main():
        wait_for_all(device)
