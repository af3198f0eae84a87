"""Counting work: samples, operations, and the budgets that the presets promise."""

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from origcli.inversion import cost
from origcli.inversion.preparation import saved_bytes
from origcli.inversion.templates import read_templates
from origcli.models.pipeline import DiffusionModel, load_pipeline
from origcli.models.unet import build_unet
from origcli.runtime.context import Runtime
from origcli.settings import resolve


def test_fast_takes_at_most_9000_unet_samples_an_image_and_paper_what_the_supplement_says() -> None:
    templates = len(read_templates("object"))
    fast, paper = (
        cost.work(resolve(presets=(name,), environment={})[0].invert, 5, templates)
        for name in ("fast", "paper")
    )
    assert fast.samples <= 9000
    assert paper.learned == 2000 * 20 * 5
    assert paper.evaluated < paper.learned / 500


def test_distinct_prompts_of_a_batch() -> None:
    assert cost.expected_distinct(1, 27) == pytest.approx(1)
    assert cost.expected_distinct(20, 27) == pytest.approx(14.3, abs=0.05)
    drawn = [len(torch.randint(27, (20,)).unique()) for _ in range(2000)]
    assert sum(drawn) / 2000 == pytest.approx(cost.expected_distinct(20, 27), abs=0.2)


def test_operations_of_a_linear_part_are_two_a_weight_and_token(model: DiffusionModel) -> None:
    flops = cost.count_flops(model)
    own = model.words.encoders[0]
    encoder, width, length = own.module, own.width, own.length
    linear = sum(
        parameter.numel()
        for name, parameter in encoder.named_parameters()
        if parameter.ndim == 2 and "embed" not in name and "pooler" not in name
    )
    projections = 2 * linear * length
    attention = 2 * 2 * 2 * length**2 * width  # two layers, scores and values
    assert flops.text == pytest.approx(projections + attention, rel=0.01)
    assert flops.text_backward >= projections
    assert flops.vae > 0 and 0.5 < flops.unet_backward / flops.unet < 2


def test_stable_diffusion_takes_what_is_known_of_it() -> None:
    """0.8 TFLOP forward at 512 pixels."""
    unet = resolve(presets=("paper",), environment={})[0].unet
    with torch.device("meta"):
        built = build_unet(unet, (4, 64, 64), 768).requires_grad_(False)
        latents, states = torch.zeros(1, 4, 64, 64), torch.zeros(1, 77, 768, requires_grad=True)
        timesteps = torch.zeros(1, dtype=torch.long)
    forward, backward = cost._count(lambda: built(latents, timesteps, states).sample)
    assert forward / 1e12 == pytest.approx(0.80, abs=0.03)
    assert backward / 1e12 == pytest.approx(0.91, abs=0.08)


def test_the_rate_is_measured_in_a_moment() -> None:
    assert cost.measured_rate(Runtime()) > 1e8


def test_looking_at_the_memory_of_a_step_keeps_no_weights(tiny_bert_pipeline_dir: Path) -> None:
    model = load_pipeline(tiny_bert_pipeline_dir, Runtime())
    samples: Any = SimpleNamespace(noisy=torch.zeros(1, 4, 8, 8), times=torch.tensor([10]))
    assert saved_bytes(model, samples) > 0
    weights = [weakref.ref(parameter) for parameter in model.denoiser.parameters()]
    del model
    gc.collect()
    assert not [one for one in weights if one() is not None]
