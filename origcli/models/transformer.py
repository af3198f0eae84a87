"""The denoising transformer of Stable Diffusion 3 (MMDiT, Esser et al. 2024), and its noise schedule."""

from typing import Any

from origcli.settings import TransformerSettings


def build_transformer(settings: TransformerSettings, latent_shape: tuple[int, int, int]) -> Any:
    """A randomly initialized SD3Transformer2DModel that reads texts as wide as the text encoders together."""
    from diffusers import SD3Transformer2DModel

    channels, size, _ = latent_shape
    text = sum(settings.text_widths)
    return SD3Transformer2DModel(
        sample_size=size,
        patch_size=settings.patch_size,
        in_channels=channels,
        out_channels=channels,
        num_layers=settings.layers,
        attention_head_dim=settings.width // settings.heads,
        num_attention_heads=settings.heads,
        joint_attention_dim=text,
        caption_projection_dim=settings.width,
        pooled_projection_dim=text,
        pos_embed_max_size=size // settings.patch_size,
        qk_norm="rms_norm" if settings.normalize_queries else None,
    )


def build_flow_scheduler(settings: TransformerSettings) -> Any:
    """A FlowMatchEulerDiscreteScheduler with the training's shift."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=settings.shift)
