"""Stable Diffusion 1.5: its true configuration, and pipelines of its shape at a fraction of the width."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.pipeline import DiffusionModel, save_pipeline
from tests.tiny_models import clip_tokenizer

UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}
VAE: dict[str, Any] = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}
TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


def stable_diffusion_without_weights() -> DiffusionModel:
    """Stable Diffusion 1.5 in bf16, at its true size, without data."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            networks = {
                "vae": AutoencoderKL(**VAE),
                "unet": UNet2DConditionModel(**UNET),
                "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT)),
            }
    finally:
        torch.set_default_dtype(before)
    tokenizer = clip_tokenizer()
    tokenizer.model_max_length = TEXT["max_position_embeddings"]
    return DiffusionModel(
        name="sd15",
        source="",
        weights_hash="",
        family=StableDiffusion({**networks, "tokenizer": tokenizer, "scheduler": PNDMScheduler(**SCHEDULER)}),
        device=torch.device("cpu"),
        dtype=torch.bfloat16,
        guidance=7.5,
    )


def write_narrow_pipeline(
    directory: Path,
    divisor: int = 32,
    seed: int = 0,
    *,
    unet_changes: Mapping[str, Any] | None = None,
    scheduler: Any = None,
) -> Path:
    """Stable Diffusion 1.5 with all its blocks, 1/`divisor` as wide, for 64 px, with random weights."""
    tokenizer = clip_tokenizer()
    tokenizer.model_max_length = TEXT["max_position_embeddings"]
    groups = {"norm_num_groups": 2}

    def narrow(widths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(width // divisor * 2 for width in widths)

    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": 48,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    unet: dict[str, Any] = {
        **UNET,
        **groups,
        "sample_size": 8,
        "cross_attention_dim": 48,
        "attention_head_dim": 2,
    }
    unet |= {"block_out_channels": narrow(UNET["block_out_channels"]), **(unet_changes or {})}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_pipeline(
            directory,
            vae=AutoencoderKL(**{**VAE, **groups, "block_out_channels": narrow(VAE["block_out_channels"])}),
            unet=UNet2DConditionModel(**unet),
            text_encoder=CLIPTextModel(CLIPTextConfig(**text)),
            tokenizer=tokenizer,
            scheduler=scheduler or PNDMScheduler(**SCHEDULER),
        )
    return directory


def lay_out_as_published(directory: Path) -> Path:
    """Rewrites a pipeline as the files of 2022 on the hub are: older names of weights and of vocabularies."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    path = directory / "vae" / "diffusion_pytorch_model.safetensors"
    weights = {}
    for name, value in load_file(path).items():
        for new, old in names.items() if ".attentions." in name else ():
            name = name.replace(f".{new}.", f".{old}.")
        weights[name] = value
    save_file(weights, path, {"format": "pt"})
    path = directory / "text_encoder" / "model.safetensors"
    weights = {f"text_model.{name}": value for name, value in load_file(path).items()}
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(weights, path, {"format": "pt"})

    folder = directory / "tokenizer"
    model = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), "utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    for name in ("bos_token", "eos_token", "unk_token"):
        flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        config[name] = {"__type": "AddedToken", "content": config[name], **flags}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")

    path = directory / "model_index.json"
    index = json.loads(path.read_text("utf-8"))
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    path.write_text(json.dumps(index), "utf-8")
    (directory / "safety_checker").mkdir()
    (directory / "safety_checker" / "config.json").write_text("not even read", "utf-8")
    return directory
