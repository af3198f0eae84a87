"""Weights that the processes of a launch share out (FSDP): each holds a part of them.

Accelerate shares out a twin of the job's network. The job's own stays whole: it is what previews, reports
and pipelines are made of, and gets the averaged weights when they are asked for.
"""

import copy
from collections import Counter
from collections.abc import Iterable

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from origcli.errors import UsageError


def shares_out(accelerator: Accelerator) -> bool:
    """Whether the launch asks for FSDP.

    Raises:
        UsageError: it asks for another way of sharing out, or for the first FSDP, whose parameters lose
            their names and shapes.
    """
    spread = accelerator.distributed_type
    if spread in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UsageError(
            f"accelerate is configured for {spread.value}, which is not supported",
            "configure it for FSDP (fsdp_version: 2), or for data parallel processes (MULTI_GPU)",
        )
    if spread != DistributedType.FSDP:
        return False
    if not accelerator.is_fsdp2:
        raise UsageError(
            "accelerate is configured for the first version of FSDP, which is not supported",
            "set fsdp_version: 2 in its configuration (accelerate launch --fsdp_version 2)",
        )
    return True


def twin(objective: nn.Module, trained: nn.Module, accelerator: Accelerator) -> tuple[nn.Module, nn.Module]:
    """A copy of both, to be shared out; chooses what becomes a unit, which is gathered when it computes.

    These are the blocks that the configuration names, by default those that diffusers and transformers do
    not split, as far as this network has them.

    Args:
        trained: `objective` itself or a part of it.
    """
    name = next(name for name, module in objective.named_modules() if module is trained)
    # FSDP refuses parameters that lie in memory in another order than their shape's.
    whole = copy.deepcopy(objective).to(memory_format=torch.contiguous_format)
    plugin = accelerator.state.fsdp_plugin
    named = [block for block in plugin.transformer_cls_names_to_wrap or () if block]
    plugin.transformer_cls_names_to_wrap = units(whole, named or getattr(trained, "_no_split_modules", []))
    return whole, whole.get_submodule(name)


def units(network: nn.Module, blocks: Iterable[str]) -> list[str]:
    """Those classes of `blocks` that the network has and that share no parameter with another module.

    Torch refuses a parameter in two units, such as the embeddings of words that are the last layer, too.
    """
    owners = Counter(p for module in network.modules() for p in module.parameters(recurse=False))
    here = {type(module).__name__ for module in network.modules()}
    tied = {
        type(module).__name__
        for module in network.modules()
        if any(owners[parameter] > 1 for parameter in module.parameters())
    }
    return sorted(set(blocks) & here - tied)
