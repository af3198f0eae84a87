"""The processes of one launch (`accelerate launch`, `torchrun`): the first owns the files and speaks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# The first process may compute features of a large data set while the others wait.
_LONGEST_WAIT = timedelta(days=7)


def rank() -> int:
    """This process's number among all of the launch; 0 without one."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """This process's number on this machine, which is the number of its device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """Whether this process writes files, reports and progress."""
    return rank() == 0


def size() -> int:
    """How many processes the launch has; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def wait_for_all(device: "torch.device") -> None:
    """Goes on when every process of the launch has come here.

    Args:
        device: that this process computes on, which decides how the processes speak to each other.
    """
    if size() == 1:
        return
    from accelerate import PartialState

    # The first call sets up the processes' group, which accelerate then uses everywhere.
    PartialState(cpu=device.type == "cpu", timeout=_LONGEST_WAIT).wait_for_everyone()


@contextmanager
def main_first(device: "torch.device") -> Iterator[None]:
    """The first process passes alone, then the others: what it left in a cache they find there."""
    if not is_main():
        wait_for_all(device)
    yield
    if is_main():
        wait_for_all(device)
