"""The processes of one launch (`accelerate launch`, `torchrun`): the first owns the files and speaks."""

import os


def rank() -> int:
    """This process's number among all of the launch; 0 without one."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """This process's number on this machine, which is the number of its device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """Whether this process writes files, reports and progress."""
    return rank() == 0
