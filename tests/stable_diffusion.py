"""Stable Diffusion 1.5: its true configuration, and pipelines of its shape at a fraction of the width."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from origcli.models.pipeline import save_pipeline
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


def write_narrow_pipeline(directory: Path, divisor: int = 32, seed: int = 0) -> Path:
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
    unet = {**UNET, **groups, "sample_size": 8, "cross_attention_dim": 48, "attention_head_dim": 2}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_pipeline(
            directory,
            vae=AutoencoderKL(**{**VAE, **groups, "block_out_channels": narrow(VAE["block_out_channels"])}),
            unet=UNet2DConditionModel(**{**unet, "block_out_channels": narrow(UNET["block_out_channels"])}),
            text_encoder=CLIPTextModel(CLIPTextConfig(**text)),
            tokenizer=tokenizer,
            scheduler=PNDMScheduler(**SCHEDULER),
        )
    return directory
