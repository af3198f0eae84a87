"""The UNet that is built for a model's latents."""

import pytest
import torch

from origcli.models.unet import build_unet
from origcli.settings import resolve


@pytest.mark.parametrize("channels", [(32, 64), (32, 32, 64, 64)])
def test_a_unet_is_built_for_its_latents(channels: tuple[int, ...]) -> None:
    settings, _ = resolve(
        {"unet": {"channels": channels, "norm_groups": 8, "attention_head_dim": 16}}, environment={}
    )
    unet = build_unet(settings.unet, (4, 8, 8), 16)
    with torch.no_grad():
        out = unet(torch.zeros(2, 4, 8, 8), torch.tensor([1, 2]), torch.zeros(2, 5, 16)).sample
    assert out.shape == (2, 4, 8, 8)
