"""Tiny random networks that embed pictures, laid out as their repositories on the hub are."""

from pathlib import Path

from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
)

from tests.tiny_models import clip_tokenizer

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def write_clip(directory: Path) -> None:
    tokenizer = clip_tokenizer()
    text = {
        **SIZE,
        "intermediate_size": 32,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 24,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {**SIZE, "intermediate_size": 32, "image_size": 32, "patch_size": 8, "projection_dim": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        directory
    )


def write_dinov2(directory: Path) -> None:
    Dinov2Model(Dinov2Config(**SIZE, image_size=32, patch_size=8)).save_pretrained(directory)
    # As the published one: the shorter side to 8/7 of what is cropped, ImageNet's mean and deviation.
    BitImageProcessorPil(
        size={"shortest_edge": 37},
        crop_size={"height": 32, "width": 32},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(directory)
