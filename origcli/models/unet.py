"""The denoising UNet and its noise schedule."""

from pathlib import Path
from typing import Any

from origcli.models.loading import load_part
from origcli.settings import UNetSettings

# The noise schedule of Stable Diffusion.
_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def build_unet(settings: UNetSettings, latent_shape: tuple[int, int, int], text_width: int) -> Any:
    """A randomly initialized UNet2DConditionModel.

    Cross-attention at every level but the lowest where there are four levels, as Stable Diffusion
    has it; at every level where there are fewer.
    """
    from diffusers import UNet2DConditionModel

    channels, size, _ = latent_shape
    levels = len(settings.channels)
    plain = 1 if levels >= 4 else 0
    down = ("CrossAttnDownBlock2D",) * (levels - plain) + ("DownBlock2D",) * plain
    up = ("UpBlock2D",) * plain + ("CrossAttnUpBlock2D",) * (levels - plain)
    head = settings.attention_head_dim
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=settings.channels,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=settings.layers_per_block,
        # diffusers calls the number of heads attention_head_dim here, for old checkpoints' sake.
        attention_head_dim=tuple(max(1, width // head) for width in settings.channels),
        norm_num_groups=settings.norm_groups,
        cross_attention_dim=text_width,
    )


def load_unet(path: Path) -> Any:
    """A frozen UNet2DConditionModel, from its directory or from a run or pipeline that holds it in `unet/`.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    from diffusers import UNet2DConditionModel

    return load_part(UNet2DConditionModel, path, "UNet")


def build_scheduler(settings: UNetSettings) -> Any:
    """A DDIMScheduler that carries the training's noise schedule into the pipeline directory."""
    from diffusers import DDIMScheduler

    zero = (
        {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if settings.zero_terminal_snr else {}
    )
    return DDIMScheduler(prediction_type=settings.prediction, **_SCHEDULE, **zero)
