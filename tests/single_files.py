"""Single files in the layout of the original code, made of pipeline directories; LoRAs in both namings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from origcli.models.importing.names import original_unet_name
from tests.stable_diffusion import TEXT, UNET, VAE
from tests.tiny_models import clip_tokenizer

_VAE_INNER = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.attentions.0.to_q": "mid.attn_1.q",
    "mid_block.attentions.0.to_k": "mid.attn_1.k",
    "mid_block.attentions.0.to_v": "mid.attn_1.v",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out",
    "conv_norm_out": "norm_out",
}
# Of transformers: parts of names in the original code, for those of diffusers; the longest first.
_FLUX = {
    "single_transformer_blocks": "single_blocks",
    "transformer_blocks": "double_blocks",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "norm1_context.linear": "txt_mod.lin",
    "norm1.linear": "img_mod.lin",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "attn.to_add_out": "txt_attn.proj",
    "attn.to_out.0": "img_attn.proj",
    "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
    "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
}
_SD3 = {
    "transformer_blocks": "joint_blocks",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj": "x_embedder.proj",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
}
_OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def original_unet(unet: Any) -> dict[str, Tensor]:
    """A UNet's tensors under their original names."""
    named = {}
    for name, tensor in unet.state_dict().items():
        match = re.fullmatch(r"(.*\.(?:resnets|attentions)\.\d+)\.(.+)\.(weight|bias)", name)
        if match and ".attentions." in name:
            block = original_unet_name(f"{match[1]}.norm", unet).removesuffix(".norm")
            named[f"{block}.{match[2]}.{match[3]}"] = tensor
        else:
            module, _, kind = name.rpartition(".")
            named[f"{original_unet_name(module, unet)}.{kind}"] = tensor
    return {f"model.diffusion_model.{name}": tensor for name, tensor in named.items()}


def original_vae(vae: Any, prefix: str = "first_stage_model.") -> dict[str, Tensor]:
    """An autoencoder's tensors under their original names."""
    count = len(vae.config.block_out_channels)
    named = {}
    for name, tensor in vae.state_dict().items():
        for new, old in _VAE_INNER.items():
            name = name.replace(new, old)
        name = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", name)
        name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
        for i in range(count):
            name = name.replace(f"up_blocks.{i}.resnets.", f"up.{count - 1 - i}.block.")
            name = name.replace(f"up_blocks.{i}.upsamplers.0", f"up.{count - 1 - i}.upsample")
        name = name.replace("conv_shortcut", "nin_shortcut")
        if ".mid.attn_1." in name and name.endswith("weight") and ".norm." not in name:
            tensor = tensor[:, :, None, None]  # these were convolutions
        named[prefix + name] = tensor
    return named


def original_clip(encoder: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The tensors of OpenAI's text encoder under their original names, with the buffer that files hold."""
    bare = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    named = {f"{prefix}text_model.{name}": tensor for name, tensor in bare.items()}
    return {**named, f"{prefix}text_model.embeddings.position_ids": torch.arange(77)[None]}


def original_open_clip(encoder: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The tensors of OpenCLIP's text encoder under their original names."""
    named: dict[str, Tensor] = {f"{prefix}logit_scale": torch.tensor(4.6)}
    attention: dict[str, dict[str, Tensor]] = {}
    for name, tensor in encoder.state_dict().items():
        name = name.removeprefix("text_model.")
        if name == "text_projection.weight":
            named[f"{prefix}text_projection"] = tensor.T
            continue
        if match := re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name):
            key = f"{prefix}transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"
            attention.setdefault(key, {})[match[2]] = tensor
            continue
        for new, old in _OPEN_CLIP.items():
            name = name.replace(new, old)
        named[prefix + name] = tensor
    return named | {key: torch.cat([parts[p] for p in "qkv"]) for key, parts in attention.items()}


def original_layout(parts: Mapping[str, Any]) -> dict[str, Tensor]:
    """All tensors of a model under their original names.

    Args:
        parts: unet, vae, text_encoder and, for XL, text_encoder_2.
    """
    named = original_unet(parts["unet"]) | original_vae(parts["vae"])
    if "text_encoder_2" in parts:
        named |= original_clip(parts["text_encoder"], "conditioner.embedders.0.transformer.")
        return named | original_open_clip(parts["text_encoder_2"], "conditioner.embedders.1.model.")
    if parts["unet"].config.cross_attention_dim == 1024 or parts.get("open_clip"):
        return named | original_open_clip(parts["text_encoder"], "cond_stage_model.model.")
    return named | original_clip(parts["text_encoder"], "cond_stage_model.transformer.")


def original_transformer(transformer: Any, prefix: str = "model.diffusion_model.") -> dict[str, Tensor]:
    """The tensors of a transformer of Stable Diffusion 3 or FLUX under their original names."""
    is_flux = type(transformer).__name__ == "FluxTransformer2DModel"
    named: dict[str, Tensor] = {}
    stacked: dict[str, dict[int, Tensor]] = {}
    last = None if is_flux else f"transformer_blocks.{len(transformer.transformer_blocks) - 1}.norm1_context"
    for name, tensor in transformer.state_dict().items():
        single = name.startswith("single_transformer_blocks")
        if name.startswith("norm_out.linear.") or (last and name.startswith(last)):  # scale and shift
            tensor = torch.cat(tensor.chunk(2)[::-1])
        if name.startswith(("norm_out", "proj_out")):
            name = name.replace("norm_out.linear", "final_layer.adaLN_modulation.1")
            name = name.replace("proj_out", "final_layer.linear")
        if match := re.fullmatch(
            r"(.+)\.(attn2?)\.(to|add)_([qkv])(_proj)?\.(.+)|(.+)\.(proj_mlp)\.(.+)", name
        ):
            if match[8]:
                block, place, kind, stack = match[7], 3, match[9], "linear1"
            else:
                block, place, kind = match[1], "qkv".index(match[4]), match[6]
                image, text = (
                    ("img_attn", "txt_attn") if is_flux else (f"x_block.{match[2]}", "context_block.attn")
                )
                stack = "linear1" if single else f"{text if match[3] == 'add' else image}.qkv"
            stacked.setdefault(_renamed(f"{block}.{stack}.{kind}", is_flux), {})[place] = tensor
            continue
        if single:
            name = name.replace("attn.norm_q.weight", "norm.query_norm.scale")
            name = name.replace("attn.norm_k.weight", "norm.key_norm.scale")
            name = name.replace("norm.linear", "modulation.lin").replace("proj_out", "linear2")
        elif is_flux:
            name = name.replace("attn.norm_q.weight", "img_attn.norm.query_norm.scale")
            name = name.replace("attn.norm_k.weight", "img_attn.norm.key_norm.scale")
        else:
            name = re.sub(r"(attn2?)\.norm_([qk])\.", r"x_block.\1.ln_\2.", name)
            name = re.sub(r"(attn2?)\.to_out\.0", r"x_block.\1.proj", name)
        named[_renamed(name, is_flux)] = tensor
    for name, parts in stacked.items():
        named[name] = torch.cat([parts[place] for place in sorted(parts)])
    return {prefix + name: tensor.contiguous() for name, tensor in named.items()}


def _renamed(name: str, is_flux: bool) -> str:
    for new, old in (_FLUX if is_flux else _SD3).items():
        name = name.replace(new, old)
    return name


def original_encoder(encoder: Any, prefix: str) -> dict[str, Tensor]:
    """A text encoder's tensors as the files of Stable Diffusion 3 and FLUX have them."""
    named = {}
    for name, tensor in encoder.state_dict().items():
        if name == "encoder.embed_tokens.weight":  # the same tensor as shared.weight
            continue
        is_clip = type(encoder).__name__.startswith("CLIP")
        bare = is_clip and not name.startswith("text_")
        named[f"{prefix}{'text_model.' if bare else ''}{name}"] = tensor
    return named


def write_single_file(
    path: Path, parts: Mapping[str, Any], extra: Mapping[str, Tensor] | None = None, /, **metadata: str
) -> Path:
    """Writes a model as one file, with other tensors beside it."""
    tensors = {**original_layout(parts), **(extra or {})}
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, metadata)
    return path


def load_parts(directory: Path) -> dict[str, Any]:
    """The networks of a pipeline directory."""
    kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    if (directory / "text_encoder_2").is_dir():
        kinds["text_encoder_2"] = CLIPTextModelWithProjection
    return {part: kind.from_pretrained(directory / part) for part, kind in kinds.items()}


def stored(directory: Path) -> dict[str, Tensor]:
    """All tensors of a pipeline directory, as they lie in its files."""
    found = {}
    for path in sorted(directory.rglob("*.safetensors")):
        for name, tensor in load_file(path).items():
            found[f"{path.parent.name}.{name.removeprefix('text_model.')}"] = tensor
    return found


def write_tiny_xl(directory: Path, seed: int = 0) -> Path:
    """Stable Diffusion XL's kind of pipeline, a few numbers wide."""
    tokenizer = clip_tokenizer()
    tokenizer.model_max_length = 77
    width = 16
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": width,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    unet = {
        **UNET,
        "norm_num_groups": 2,
        "sample_size": 8,
        "block_out_channels": (8, 8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": 2,
        "cross_attention_dim": 2 * width,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + width,
    }
    vae = {**VAE, "norm_num_groups": 2, "block_out_channels": (4, 8, 8, 8), "scaling_factor": 0.13025}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        StableDiffusionXLPipeline(
            vae=AutoencoderKL(**vae),
            unet=UNet2DConditionModel(**unet),
            text_encoder=CLIPTextModel(CLIPTextConfig(**text)),
            text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**{**text, "hidden_act": "gelu"})),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        ).save_pretrained(directory)
    return directory


def lora_modules(parts: Mapping[str, Any], pattern: str) -> dict[tuple[str, str], Tensor]:
    """The weights that a LoRA may change, by part and module, of the modules whose names match."""
    return {
        (part, name): module.weight
        for part, network in parts.items()
        if part != "vae"
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and re.search(pattern, name)
    }


def low_rank(weight: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random A (r, in, …) and B (out, r, …) of a change to a weight."""
    down = torch.randn(rank, *weight.shape[1:], generator=generator)
    up = torch.randn(weight.shape[0], rank, *(1,) * (weight.ndim - 2), generator=generator)
    return down, up


def write_kohya_lora(
    path: Path,
    parts: Mapping[str, Any],
    pattern: str,
    *,
    rank: int = 2,
    alpha: float | None = 1.0,
    seed: int = 0,
) -> Path:
    """A LoRA as kohya's scripts name it: for XL by the original names of the UNet."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    xl = "text_encoder_2" in parts
    for (part, name), weight in lora_modules(parts, pattern).items():
        if part == "unet":
            stem = "lora_unet_" + (original_unet_name(name, parts["unet"]) if xl else name)
        else:
            prefix = {"text_encoder": "lora_te1_" if xl else "lora_te_", "text_encoder_2": "lora_te2_"}[part]
            bare = name.removeprefix("text_model.")
            stem = prefix + (bare if bare == "text_projection" else f"text_model_{bare}")
        stem = stem.replace(".", "_")
        tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"] = low_rank(
            weight, rank, generator
        )
        if alpha is not None:
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path


def write_diffusers_lora(
    path: Path, parts: Mapping[str, Any], pattern: str, *, rank: int = 2, seed: int = 0
) -> Path:
    """A LoRA as diffusers' scripts name it."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for (part, name), weight in lora_modules(parts, pattern).items():
        down, up = low_rank(weight, rank, generator)
        bare = name.removeprefix("text_model.")
        inner = name if part == "unet" or bare == "text_projection" else f"text_model.{bare}"
        tensors[f"{part}.{inner}.lora_A.weight"], tensors[f"{part}.{inner}.lora_B.weight"] = down, up
    save_file(tensors, path)
    return path
