"""What the original code of Stable Diffusion 3 and FLUX calls the weights of their transformers (MMDiT).

There queries, keys and values are one weight, above each other, and the last modulations have the shift
before the scale; in diffusers they are apart, and the scale is first. Checkpoints and kohya's LoRAs use these
names. diffusers' own conversion of FLUX has the widths of FLUX.1 dev written into it, and it has none for
LoRAs of Stable Diffusion 3, so both are here; a test holds them to diffusers' conversions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_Table = Mapping[str, tuple[str, ...]]  # original module -> modules of diffusers, in the order of their rows

_FLUX_OUTER: _Table = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    "final_layer.linear": ("proj_out",),
}
_FLUX_DOUBLE: _Table = {
    "img_mod.lin": ("norm1.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn.norm.query_norm": ("attn.norm_q",),
    "img_attn.norm.key_norm": ("attn.norm_k",),
    "img_attn.proj": ("attn.to_out.0",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mod.lin": ("norm1_context.linear",),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn.norm.query_norm": ("attn.norm_added_q",),
    "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    "txt_attn.proj": ("attn.to_add_out",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
_FLUX_SINGLE: _Table = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
    "linear2": ("proj_out",),
}
_SD3_OUTER: _Table = {
    "x_embedder.proj": ("pos_embed.proj",),
    "context_embedder": ("context_embedder",),
    "t_embedder.mlp.0": ("time_text_embed.timestep_embedder.linear_1",),
    "t_embedder.mlp.2": ("time_text_embed.timestep_embedder.linear_2",),
    "y_embedder.mlp.0": ("time_text_embed.text_embedder.linear_1",),
    "y_embedder.mlp.2": ("time_text_embed.text_embedder.linear_2",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    "final_layer.linear": ("proj_out",),
}
_SD3_JOINT: _Table = {
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn.ln_q": ("attn.norm_q",),
    "x_block.attn.ln_k": ("attn.norm_k",),
    "x_block.attn.proj": ("attn.to_out.0",),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block.attn2.ln_q": ("attn2.norm_q",),
    "x_block.attn2.ln_k": ("attn2.norm_k",),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block.attn.ln_q": ("attn.norm_added_q",),
    "context_block.attn.ln_k": ("attn.norm_added_k",),
    "context_block.attn.proj": ("attn.to_add_out",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
}
# Class of diffusers -> original list of blocks, the same in diffusers (empty: none), and what is in a block.
_LAYOUTS = {
    "FluxTransformer2DModel": (
        ("", "", _FLUX_OUTER),
        ("double_blocks", "transformer_blocks", _FLUX_DOUBLE),
        ("single_blocks", "single_transformer_blocks", _FLUX_SINGLE),
    ),
    "SD3Transformer2DModel": (("", "", _SD3_OUTER), ("joint_blocks", "transformer_blocks", _SD3_JOINT)),
}
_SCALES = ("query_norm", "key_norm")  # whose weight is called scale


@dataclass(frozen=True)
class Place:
    """Where the original code keeps the weight and the bias of a module.

    Attributes:
        module: the original module.
        height: the number of rows that its weight has.
        rows: which of them, in the order of diffusers, as (first, end); empty for all as they are.
    """

    module: str
    height: int
    rows: tuple[tuple[int, int], ...] = ()

    def cut(self, tensor: Tensor) -> Tensor:
        """The rows of an original tensor; one of another height is left as it is, and fits nothing."""
        if not self.rows or tensor.shape[0] != self.height:
            return tensor
        return torch.cat([tensor[first:end] for first, end in self.rows])


def original_places(network: nn.Module) -> dict[str, Place]:
    """By diffusers' names of the modules, where the original code keeps them; empty for other networks."""
    heights = {
        name.removesuffix(".weight"): weight.shape[0]
        for name, weight in network.named_parameters()
        if name.endswith(".weight")
    }
    places: dict[str, Place] = {}
    for theirs, ours, table in _LAYOUTS.get(type(network).__name__, ()):
        blocks = [name for name, _ in network.get_submodule(ours).named_children()] if ours else [""]
        for block in blocks:
            for original, modules in table.items():
                named = [_join(ours, block, module) for module in modules]
                own = {name: heights[name] for name in named if name in heights}
                places |= _stacked(network, _join(theirs, block, original), own)
    return places


def from_original(network: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's tensors by diffusers' names, as far as a file has them.

    Args:
        network: the transformer, with or without weights.
        prefix: of its tensors in the file.
        tensors: of the file, by their original names.
    """
    places = original_places(network)
    made = {}
    for name in network.state_dict():
        module, _, kind = name.rpartition(".")
        place = places.get(module)
        if place is None:  # the table of positions, which is no module
            original = module
        else:
            original = f"{place.module}.{'scale' if place.module.endswith(_SCALES) else kind}"
        tensor = tensors.get(prefix + original)
        if tensor is not None:
            made[name] = tensor if place is None else place.cut(tensor)
    return made


def _stacked(network: nn.Module, original: str, heights: Mapping[str, int]) -> dict[str, Place]:
    """The places of modules whose rows lie above each other in an original module."""
    places: dict[str, Place] = {}
    total, first = sum(heights.values()), 0
    for name, height in heights.items():
        rows: tuple[tuple[int, int], ...] = ((first, first + height),) if len(heights) > 1 else ()
        if _scales_first(network, name):
            rows = ((height // 2, height), (0, height // 2))
        places[name] = Place(original, total, rows)
        first += height
    return places


def _scales_first(network: nn.Module, module: str) -> bool:
    """Whether a module is a modulation that has the scale first, where the original code has the shift."""
    from diffusers.models.normalization import AdaLayerNormContinuous

    return isinstance(network.get_submodule(module.rpartition(".")[0]), AdaLayerNormContinuous)


def _join(*names: str) -> str:
    return ".".join(name for name in names if name)
