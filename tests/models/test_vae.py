"""The VAE's arithmetic: moments, normalization folded into the weights, pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from origcli.errors import NonFiniteError
from origcli.models.vae import (
    build_vae,
    decode_latents,
    encode_moments,
    fold_normalization,
    to_array,
    to_images,
    to_pixels,
)
from origcli.settings import resolve


@pytest.fixture
def vae() -> torch.nn.Module:
    settings, _ = resolve({"vae": {"channels": (8, 8, 8, 8), "norm_groups": 4}}, environment={})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_vae(settings.vae, 64).eval().requires_grad_(False)


def test_a_vae_of_four_levels_makes_latents_an_eighth_as_wide(vae: torch.nn.Module) -> None:
    mean, std = encode_moments(vae, torch.zeros(2, 3, 64, 64))
    assert mean.shape == std.shape == (2, 4, 8, 8)
    assert decode_latents(vae, mean).shape == (2, 3, 64, 64)


def test_folding_normalises_the_latents_and_leaves_the_pictures(vae: torch.nn.Module) -> None:
    pixels = torch.rand(8, 3, 64, 64) * 2 - 1
    mean, std = encode_moments(vae, pixels)
    before = decode_latents(vae, mean)
    center, spread = torch.tensor([1.0, -2.0, 0.5, 3.0]), torch.tensor([0.5, 2.0, 1.0, 0.1])
    fold_normalization(vae, center, spread)
    new_mean, new_std = encode_moments(vae, pixels)
    shape = (1, -1, 1, 1)
    assert torch.allclose(new_mean, (mean - center.view(shape)) / spread.view(shape), atol=1e-4)
    assert torch.allclose(new_std, std / spread.view(shape), rtol=1e-3)
    assert torch.allclose(decode_latents(vae, new_mean), before, atol=1e-4)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_pictures_survive_the_way_to_pixels_and_back(seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    assert (to_array(to_pixels(array)) == array).all()
    images = to_images(to_pixels([Image.fromarray(picture) for picture in array]))
    assert (np.stack([np.asarray(image) for image in images]) == array).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_picture_that_is_not_finite_is_no_picture(bad: float) -> None:
    pixels = torch.zeros(1, 3, 4, 4)
    pixels[0, 0, 0, 0] = bad
    with pytest.raises(NonFiniteError):
        to_array(pixels)
