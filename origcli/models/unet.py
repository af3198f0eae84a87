"""The denoising UNet, its noise schedule, and what it is asked to predict."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from origcli.models.checkpoints import load_part
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
    """A randomly initialised UNet2DConditionModel.

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


def signal_and_noise(alphas_cumprod: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(ᾱ_t) and sqrt(1 − ᾱ_t), both (n, 1, 1, 1), for timesteps (n,). Ho et al. 2020, eq. 4."""
    alpha = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt(), (1 - alpha).sqrt()


def add_noise(latents: Tensor, noise: Tensor, signal: Tensor, sigma: Tensor) -> Tensor:
    """x_t = sqrt(ᾱ_t) x_0 + sqrt(1 − ᾱ_t) ε."""
    return signal * latents + sigma * noise


def prediction_target(kind: str, latents: Tensor, noise: Tensor, signal: Tensor, sigma: Tensor) -> Tensor:
    """ε, or v = sqrt(ᾱ_t) ε − sqrt(1 − ᾱ_t) x_0 (Salimans and Ho 2022)."""
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return signal * noise - sigma * latents
    raise ValueError(f"no prediction is called {kind!r}")


def min_snr_weight(kind: str, signal: Tensor, sigma: Tensor, gamma: float) -> Tensor:
    """Weight (n, 1, 1, 1) of the error: min(SNR, γ) / SNR, or / (SNR + 1) for v (Hang et al. 2023)."""
    snr = (signal / sigma).square()
    if kind == "epsilon":
        return torch.clamp(gamma / snr, max=1)  # 1 at an SNR of zero, too
    return torch.clamp(snr, max=gamma) / (snr + 1)
