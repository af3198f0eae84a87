"""What each family of models takes in memory, counted on tensors without data: the table of docs/scale.md.

    python benchmarks/families.py [NAME ...]

Denoisers have the sizes that diffusers' classes have by default, which are those of published models (what
differs is given here), in bf16, at 1024 pixels; the weights of text encoders are added from their published
sizes. A sample goes forward and back through the denoiser, once as it is and once with layers computed again
on the way back.
"""

import argparse
from collections.abc import Callable
from typing import Any

import diffusers
import torch

from origcli.runtime.footprint import PeakMemory, stand_in_tensors

GB = 1e9
# Weights of the text encoders, in billions: CLIP-L, CLIP-bigG, T5-XXL's encoder, Gemma 2, Qwen3, Qwen2.5-VL.
TEXT = {
    "sdxl": 0.123 + 0.695,
    "sd35-medium": 0.123 + 0.695 + 4.76,
    "flux-dev": 0.123 + 4.76,
    "pixart-sigma": 4.76,
    "sana": 2.61,
}
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}


def sdxl() -> tuple[Any, Callable[[int, bool], Any]]:
    unet = diffusers.UNet2DConditionModel(**SDXL)
    return (
        unet,
        lambda n, learn: (
            unet(
                torch.zeros(n, 4, 128, 128),
                torch.zeros(n, dtype=torch.long),
                torch.zeros(n, 77, 2048, requires_grad=learn),
                added_cond_kwargs={"text_embeds": torch.zeros(n, 1280), "time_ids": torch.zeros(n, 6)},
            ).sample
        ),
    )


def sd35_medium() -> tuple[Any, Callable[[int, bool], Any]]:
    net = diffusers.SD3Transformer2DModel(
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
    )
    return (
        net,
        lambda n, learn: (
            net(
                torch.zeros(n, 16, 128, 128),
                torch.zeros(n, 333, 4096, requires_grad=learn),
                torch.zeros(n, 2048),
                torch.zeros(n),
            ).sample
        ),
    )


def flux_dev() -> tuple[Any, Callable[[int, bool], Any]]:
    net = diffusers.FluxTransformer2DModel(guidance_embeds=True)
    return (
        net,
        lambda n, learn: (
            net(
                hidden_states=torch.zeros(n, 4096, 64),
                encoder_hidden_states=torch.zeros(n, 512, 4096, requires_grad=learn),
                pooled_projections=torch.zeros(n, 768),
                timestep=torch.zeros(n),
                guidance=torch.zeros(n),
                txt_ids=torch.zeros(512, 3),
                img_ids=torch.zeros(4096, 3),
            ).sample
        ),
    )


def pixart_sigma() -> tuple[Any, Callable[[int, bool], Any]]:
    net = diffusers.PixArtTransformer2DModel(
        sample_size=128, caption_channels=4096, interpolation_scale=2, use_additional_conditions=False
    )
    return (
        net,
        lambda n, learn: (
            net(
                torch.zeros(n, 4, 128, 128),
                encoder_hidden_states=torch.zeros(n, 300, 4096, requires_grad=learn),
                encoder_attention_mask=torch.ones(n, 300, dtype=torch.long),
                timestep=torch.zeros(n, dtype=torch.long),
                added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            ).sample
        ),
    )


def sana() -> tuple[Any, Callable[[int, bool], Any]]:
    net = diffusers.SanaTransformer2DModel()
    return (
        net,
        lambda n, learn: (
            net(
                torch.zeros(n, 32, 32, 32),
                encoder_hidden_states=torch.zeros(n, 300, 2304, requires_grad=learn),
                encoder_attention_mask=torch.ones(n, 300, dtype=torch.long),
                timestep=torch.zeros(n),
            ).sample
        ),
    )


NETWORKS = {
    "sdxl": sdxl,
    "sd35-medium": sd35_medium,
    "flux-dev": flux_dev,
    "pixart-sigma": pixart_sigma,
    "sana": sana,
}


def row(name: str) -> str:
    """A model's row of the table."""
    weights, plain, frugal = counted(NETWORKS[name])
    return f"| `{name}` | {weights:.1f} GB | {2 * TEXT[name]:.1f} GB | {plain:.1f} GB | {frugal:.1f} GB |"


def counted(build: Callable[[], Any]) -> tuple[float, float, float]:
    """GB of the denoiser's weights, and of a sample forward and back, plain and with layers made again."""
    with stand_in_tensors("cpu", torch.bfloat16):
        net, predict = build()
        net.requires_grad_(False).eval()
        peaks = []
        for again in (False, True):
            if again:
                net.enable_gradient_checkpointing()
            with PeakMemory() as memory:
                memory.hold(net)
                weights = memory.current
                predict(1, True).float().square().mean().backward()
            peaks.append(memory.peak - weights)
    return weights / GB, peaks[0] / GB, peaks[1] / GB


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    print("| model | denoiser | text encoders | a sample | the same, layers computed again |")
    print("|---|---|---|---|---|")
    for name in parser.parse_args().names:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
