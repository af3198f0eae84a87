"""Makes accelerate share out weights on CPUs as it does on GPUs alone, though torch can on both.

`python -m tests.training.fsdp_on_cpu train-unet …` is `origcli train-unet …` under it.
"""

import sys
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

_begin = AcceleratorState.__init__


def _sharing(state: AcceleratorState, *words: Any, **named: Any) -> None:
    _begin(state, *words, **named)
    state.distributed_type = DistributedType.FSDP
    if state.__dict__.get("fsdp_plugin") is None:
        state.fsdp_plugin = FullyShardedDataParallelPlugin()  # as the launch's environment has it


def share_out() -> None:
    """From now on every accelerator of this process shares out its weights."""
    AcceleratorState.__init__ = _sharing


if __name__ == "__main__":
    from origcli.cli.app import main

    share_out()
    sys.exit(main())
