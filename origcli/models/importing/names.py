"""What the original code of Stable Diffusion calls the modules of a UNet; kohya's scripts use it for XL."""

import re
from typing import Any

_OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def original_unet_name(module: str, network: Any) -> str:
    """The original name of a module of diffusers' UNet.

    Args:
        module: e.g. `down_blocks.1.attentions.0.proj_in`.
        network: the UNet.
    """
    if module in _OUTER:
        return _OUTER[module]
    if match := _MIDDLE.fullmatch(module):
        kind, number, inner = match.groups()
        place = 1 if kind == "attentions" else 2 * int(number)
        return f"middle_block.{place}.{_RESIDUAL.get(inner, inner)}"
    layers = network.config.layers_per_block
    match = _BLOCK.fullmatch(module)
    if match is None or not isinstance(layers, int):
        return module
    side, block, kind, number, inner = match.groups()
    first = int(block) * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op"
    if kind == "upsamplers":
        attends = hasattr(network.up_blocks[int(block)], "attentions")
        return f"output_blocks.{first + layers}.{2 if attends else 1}.conv"
    place = first + int(number)
    where = f"input_blocks.{place + 1}" if side == "down" else f"output_blocks.{place}"
    return f"{where}.{0 if kind == 'resnets' else 1}.{_RESIDUAL.get(inner, inner)}"
