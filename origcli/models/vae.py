"""The variational autoencoder: pixels in [-1, 1] to latents and back.

Latent z of pixels x: z ~ N(mean(x), std(x)²), times the model's scaling factor.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from origcli.errors import NonFiniteError
from origcli.models.loading import load_part
from origcli.settings import VaeSettings

OVERFLOW_HINT = "try --dtype fp32: fp16 overflows in some VAEs"


def build_vae(settings: VaeSettings, resolution: int) -> Any:
    """A randomly initialized AutoencoderKL; each level after the first halves the resolution."""
    from diffusers import AutoencoderKL

    levels = len(settings.channels)
    return AutoencoderKL(
        sample_size=resolution,
        block_out_channels=settings.channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=settings.layers_per_block,
        latent_channels=settings.latent_channels,
        norm_num_groups=settings.norm_groups,
        scaling_factor=1.0,
    )


def load_vae(path: Path) -> Any:
    """A frozen AutoencoderKL, from its directory or from a run or pipeline that holds it in `vae/`.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    from diffusers import AutoencoderKL

    return load_part(AutoencoderKL, path, "VAE")


def encode_moments(vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, both (n, c, h/f, w/f) and unscaled, of pixels (n, 3, h, w)."""
    posterior = vae.encode(pixels).latent_dist
    return posterior.mean, posterior.std


def decode_latents(vae: Any, latents: Tensor) -> Tensor:
    """Pixels (n, 3, h, w), not clipped, of scaled latents (n, c, h/f, w/f)."""
    pixels: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    return pixels


def fold_normalization(vae: Any, mean: Tensor, std: Tensor) -> None:
    """Makes the latents of the training data zero-mean and unit-variance in each channel.

    The change goes into the 1×1 convolutions at either side of the latent, so that what is decoded
    stays the same and any diffusers code sees it: pipelines have a scaling factor but no shift.

    Args:
        mean, std: (c,), of posterior samples over the training data.
    """
    channels = mean.numel()
    quant, post = vae.quant_conv, vae.post_quant_conv
    with torch.no_grad():
        quant.bias[:channels] -= mean
        quant.weight[:channels] /= std.view(-1, 1, 1, 1)
        quant.bias[:channels] /= std
        quant.bias[channels:] -= 2 * std.log()  # log-variances
        post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)  # W (std z + mean) + b
        post.weight *= std.view(1, -1, 1, 1)


def to_pixels(
    images: Sequence[Image.Image] | np.ndarray[Any, Any], device: torch.device | str = "cpu"
) -> Tensor:
    """Pixels (n, 3, h, w) in [-1, 1], fp32, of RGB images of one size or a uint8 (n, h, w, 3) array."""
    array = images if isinstance(images, np.ndarray) else np.stack([np.asarray(image) for image in images])
    pixels = torch.from_numpy(np.ascontiguousarray(array)).to(device).permute(0, 3, 1, 2)
    return pixels.to(torch.float32, memory_format=torch.channels_last) / 127.5 - 1


def to_array(pixels: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 (n, h, w, 3) of pixels (n, 3, h, w) in [-1, 1], clipped and rounded.

    Raises:
        NonFiniteError: a pixel is NaN or infinite. A NaN would silently become a black image.
    """
    if not bool(torch.isfinite(pixels).all()):
        raise NonFiniteError("the decoder gave NaN or infinite pixels", OVERFLOW_HINT)
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.asarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def to_images(pixels: Tensor) -> list[Image.Image]:
    """RGB images of pixels (n, 3, h, w) in [-1, 1]."""
    return [Image.fromarray(array) for array in to_array(pixels)]
