"""Memory that is counted without a device: known sums, straight lines, and Stable Diffusion's size."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from origcli.inversion.cost import Footprint, Peak, count_footprint
from origcli.inversion.preparation import saved_bytes
from origcli.models.pipeline import load_pipeline
from origcli.runtime.context import Runtime
from origcli.runtime.footprint import PeakMemory, stand_in_tensors
from tests.stable_diffusion import UNET, stable_diffusion_without_weights

MIB = 1 << 20


def test_storages_count_while_they_live() -> None:
    with stand_in_tensors("cpu", torch.float32), PeakMemory() as memory:
        a = torch.zeros(MIB)  # 4 MiB
        b = a + 1
        view = b[:10]
        assert memory.current == memory.peak == 8 * MIB
        del a
        assert memory.current == 4 * MIB
        del b
        assert memory.current == 4 * MIB  # the view holds it
        del view
        assert (memory.current, memory.peak) == (0, 8 * MIB)


def test_what_backward_needs_is_kept() -> None:
    with stand_in_tensors("cpu", torch.bfloat16):
        layer = nn.Linear(1024, 1024, bias=False)
        with PeakMemory() as memory:
            memory.hold(layer)
            assert memory.current == 2 * MIB
            x = torch.zeros(1024, 1024, requires_grad=True)
            layer(x).relu().sum().backward()
    # 2 MiB each: the weights, the input, what the layer and relu give, the gradients of these
    assert 10 * MIB < memory.peak <= 14 * MIB


def test_a_stand_in_device_has_no_place_for_the_cpu() -> None:
    with stand_in_tensors("cuda", torch.float16):
        layer = nn.Linear(4, 4)
        assert layer(torch.zeros(1, 4)).dtype == torch.float16
        with pytest.raises(RuntimeError, match="device"):
            layer(torch.zeros(1, 4, device="cpu"))
    assert torch.get_default_dtype() == torch.float32


def test_a_tiny_model(tiny_clip_pipeline_dir: Any) -> None:
    model = load_pipeline(tiny_clip_pipeline_dir, Runtime())
    found = count_footprint(model)
    assert found.weights == sum(p.numel() * 4 for m in model.family.modules.values() for p in m.parameters())
    samples = SimpleNamespace(
        noisy=torch.zeros(1, *model.latent_shape), times=torch.zeros(1, dtype=torch.long)
    )
    kept = saved_bytes(model, cast(Any, samples))  # measured on a real pass, without what lives shortly
    assert kept < found.learning.bytes(1) < 2 * kept
    assert found.drawing.each < 2 * found.learning.each
    free = found.weights + found.learning.bytes(7)
    assert found.fitting(found.learning, free) == 7 and found.fitting(found.learning, free - 1) == 6
    assert found.fitting(found.learning, 0) == 0


def test_stable_diffusion_at_batch_20() -> None:
    found = count_footprint(stable_diffusion_without_weights())
    assert found.weights == pytest.approx(2 * (859.5e6 + 83.7e6 + 123.1e6), rel=1e-3)
    # Learning: 20 samples take more than a card of 16 GB has beside the weights, and fit into 24 GB.
    assert 14e9 < found.learning.bytes(20) < 20e9
    assert found.fitting(found.learning, int(24e9)) >= 20 > found.fitting(found.learning, int(16e9))
    assert found.drawing.bytes(20) < found.learning.bytes(20)
    with stand_in_tensors("cpu", torch.bfloat16):
        unet = UNet2DConditionModel(**UNET).requires_grad_(False)
        with PeakMemory() as memory:
            states = torch.zeros(20, 77, 768, requires_grad=True)
            latents, timesteps = torch.zeros(20, 4, 64, 64), torch.zeros(20, dtype=torch.long)
            unet(latents, timesteps, states).sample.float().square().mean().backward()
    assert found.learning.bytes(20) == pytest.approx(memory.peak, rel=0.03)  # the line is straight


def test_batches_that_fit() -> None:
    counted: list[str] = []
    peaks = {"learning": Peak(10, 5), "drawing": Peak(0, 7), "decoding": Peak(3, 9)}

    def count(kind: str) -> Peak:
        counted.append(kind)
        return peaks[kind]

    found = Footprint(100, count)
    assert found.learning.bytes(4) == 30
    assert found.fitting(found.drawing, 121) == 3 and found.fitting(found.decoding, 50) == 0
    assert found.fitting(found.learning, 200) == 18
    assert counted == ["learning", "drawing", "decoding"]  # each once, and nothing that nobody asks for
