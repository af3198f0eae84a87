"""Whether a UNet predicts the noise or the velocity, measured: Stable Diffusion 2's files do not say.

At the last timestep a sample is nearly noise alone. A model that predicts the noise then answers with nearly
what it is given; one that predicts v = α ε - σ x0 answers with nearly -x0, which has little to do with it.
"""

from typing import Any

import torch

_SIZE = 32  # of the latent, across
_LAST = 999


def correlation_with_noise(unet: Any) -> float:
    """The correlation of a UNet's answer with pure noise at the last timestep; the prompt is zeros."""
    config, dtype = unet.config, unet.dtype
    noise = torch.randn(1, config.in_channels, _SIZE, _SIZE, generator=torch.Generator().manual_seed(0))
    states = torch.zeros(1, 77, config.cross_attention_dim, dtype=dtype)
    with torch.no_grad():
        answer = unet(noise.to(dtype), torch.tensor([_LAST]), encoder_hidden_states=states).sample.float()
    pair = torch.stack([answer.flatten(), noise.flatten()])
    return float(torch.nan_to_num(torch.corrcoef(pair)[0, 1]))


def predicts_noise(correlation: float) -> bool:
    """What a correlation says."""
    return correlation > 0.5
