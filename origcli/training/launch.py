"""What `accelerate launch` decides of a training: processes, precision, parts of a batch, trackers."""

import atexit
import os
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType, GradientAccumulationPlugin, LoggerType

from origcli.errors import UsageError
from origcli.runtime.context import Runtime

_SHARED_OUT = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16"}


def open_accelerator(runtime: Runtime, directory: Path, track: str | None) -> Accelerator:
    """The accelerator of one training, in the runtime's precision.

    Raises:
        UsageError: the tracker is not there, or the launch shares out the weights among its processes.
    """
    if track:
        require_tracker(track)
    # It keeps the precision of the first training of a process and refuses another one.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision=_PRECISIONS.get(runtime.dtype, "no"),
        cpu=runtime.device.type == "cpu",
        log_with=track,
        project_dir=str(directory) if track else None,
        # The loop takes the mean over the parts itself; accelerate would divide by their number once more.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if accelerator.distributed_type in _SHARED_OUT:
        raise UsageError(
            f"accelerate is configured for {accelerator.distributed_type.value}, which is not supported",
            "configure it for data parallel processes (MULTI_GPU): each of them holds all weights",
        )
    if accelerator.num_processes > 1:
        atexit.unregister(_leave_group)  # one training may follow another
        atexit.register(_leave_group)
    return accelerator


def _leave_group() -> None:
    """Ends the group's threads while Python still runs: one that asks for it later aborts the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def accumulation_steps() -> int:
    """In how many parts a process's batch is to go through the model: `--gradient_accumulation_steps`.

    Raises:
        UsageError: the launch says something else than a number.
    """
    asked = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "").strip() or "1"
    if not asked.isdecimal() or int(asked) < 1:
        raise UsageError(
            f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS={asked}: should be a number of steps",
            "set it with accelerate launch --gradient_accumulation_steps",
        )
    return int(asked)


def require_tracker(name: str) -> None:
    """Accelerate would continue without a tracker that is not there.

    Raises:
        UsageError: it knows none of this name, or its package is not installed.
    """
    known = [str(tracker) for tracker in LoggerType if tracker != LoggerType.ALL]
    if name not in known:
        raise UsageError(f"unknown tracker {name!r}", f"choose from {', '.join(known)}")
    if name not in map(str, get_available_trackers()):
        raise UsageError(
            f"the tracker {name} is not installed", "origcli[trackers] has tensorboard and wandb"
        )
