"""The score path on a device that this machine lacks: tensors without data, of which no two devices may mix.

`python -m tests.placement cuda|gpu`: on `cuda` forward passes can run; `gpu` is a backend made of
nothing, on which a step of learning can run, backward too.
"""

import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import CLIPTextConfig, CLIPTextModel

from origcli.generation import sampling
from origcli.inversion.denoising import Lane, Samples, lane_losses
from origcli.inversion.placeholders import filled
from origcli.models import words
from origcli.models.families import stable_diffusion
from origcli.models.families.family import Drawing
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.pipeline import DiffusionModel
from origcli.perception.dreamsim_towers import KINDS, Tower, _architecture
from origcli.settings import resolve
from tests.stable_diffusion import TEXT, UNET, VAE
from tests.tiny_models import clip_tokenizer

DTYPE = torch.float16


class Steps:
    """A scheduler of two steps; the real ones compute their factors on the host, which needs data."""

    timesteps = (981, 1)
    init_noise_sigma = 1.0

    def set_timesteps(self, steps: int, device: str) -> None:
        assert device == "cpu"

    def scale_model_input(self, latents: Tensor, timestep: int) -> Tensor:
        return latents

    def step(self, predicted: Tensor, timestep: int, latents: Tensor) -> Any:
        return SimpleNamespace(prev_sample=latents - 0.1 * predicted)


def moved(module: torch.nn.Module, device: torch.device) -> Any:
    """What `.to(device)` does, which cannot exchange tensors without data."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            weights = torch.empty_like(parameter, device=device, requires_grad=False)
            setattr(part, name, torch.nn.Parameter(weights, requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty_like(buffer, device=device))
    return module.eval()


def narrow_model(device: torch.device) -> DiffusionModel:
    """Stable Diffusion's parts, narrow and without data, in fp16."""
    torch.set_default_dtype(DTYPE)
    unet = {"block_out_channels": (20, 40, 80, 80), "norm_num_groups": 2, "attention_head_dim": 2}
    text = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    parts = (
        AutoencoderKL(**{**VAE, "block_out_channels": (8, 16, 32, 32), "norm_num_groups": 2}),
        UNet2DConditionModel(**{**UNET, **unet, "cross_attention_dim": 48, "sample_size": 8}),
        CLIPTextModel(CLIPTextConfig(**{**TEXT, **text, "projection_dim": 48})),
    )
    torch.set_default_dtype(torch.float32)  # what is made from here on has its dtype from the code
    names = ("vae", "unet", "text_encoder")
    networks = dict(zip(names, (moved(part, device) for part in parts), strict=True))
    tokenizer = clip_tokenizer()
    tokenizer.model_max_length = 77
    family = OnDevice({**networks, "tokenizer": tokenizer, "scheduler": DDIMScheduler()})
    return DiffusionModel(
        name="narrow",
        source="",
        weights_hash="",
        family=family,
        device=device,
        dtype=DTYPE,
        guidance=7.5,
    )


class OnDevice(StableDiffusion):
    """With a sampler that computes nothing on the host."""

    def sampler(self, drawing: Drawing) -> Any:
        return Steps()


def lane(model: DiffusionModel, first: int, m: int) -> Lane:
    """A lane of m tokens in three templates."""
    vectors = torch.zeros(m, 48, dtype=torch.float32, device=model.device)
    templates = ("a photo of {S}", "a {S}", "my {S}")
    return Lane(0, m, {"clip": torch.nn.Parameter(vectors)}, filled(model.words, templates, m, first), first)


def samples(device: torch.device) -> Samples:
    """Four samples in two prompts."""
    latents = torch.zeros(4, 4, 8, 8, dtype=torch.float32, device=device)
    return Samples(
        noisy=latents,
        target=latents,
        times=torch.zeros(4, dtype=torch.long, device=device),
        prompts=[0, 1],
        prompt_of=torch.zeros(4, dtype=torch.long, device=device),
    )


def check(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> None:
    assert (tensor.device.type, tensor.dtype) == (device.type, dtype), tensor


def learn(device: torch.device) -> None:
    """A step of inversion, back to the vectors."""
    model = narrow_model(device)
    lanes = [lane(model, 0, 1), lane(model, 1, 3)]
    check(lane_losses(model, lanes, {0: samples(device)}, 4, True), device, torch.float32)
    for one in lanes:
        assert one.vectors["clip"].grad is not None
        check(one.vectors["clip"].grad, device, torch.float32)


def measure(device: torch.device, towers: list[Tower]) -> None:
    """Everything else: encoding, L_det, drawing, decoding, DreamSim's features."""
    model = narrow_model(device)
    mean, std = model.family.encode(torch.zeros(1, 3, 64, 64, dtype=DTYPE, device=device))
    check(mean, device, DTYPE)
    check(std, device, DTYPE)
    check(lane_losses(model, [lane(model, 0, 2)], {0: samples(device)}, 4, False), device, torch.float32)
    with torch.no_grad():
        given = model.family.condition(["a cat", "a dog"])
        latents = sampling.sample_latents(model, given, [1, 2], resolve({}, environment={})[0].draw)
        check(latents, device, DTYPE)
        check(model.family.decode(latents), device, DTYPE)
        for tower in towers:
            pixels = torch.zeros(2, 3, 224, 224, device=device)
            check(moved(tower, device)(pixels), device, torch.float32)


def run(kind: str) -> None:
    """Goes through a score's work on a device.

    Raises:
        RuntimeError: tensors of two devices, or of two dtypes, met.
    """
    device = torch.device(kind, 0)
    words.to_device = lambda tensor, device: tensor.to(device)  # type: ignore[attr-defined]  # nothing is pinned
    # Nothing mends a wrong dtype on the way.
    stable_diffusion.autocast = lambda *arguments: nullcontext()  # type: ignore[attr-defined]
    kinds = (KINDS["dino_vitbase16_pretrain.pth"], KINDS["clip_vitb16_pretrain.pth.tar"])
    towers = [
        Tower(_architecture().vit_base(patch_size=16), torch.zeros(768, 512) if one.clip else None, one)
        for one in kinds
    ]
    with FakeTensorMode(allow_non_fake_inputs=True):
        if kind == "cuda":
            measure(device, towers)
        else:
            learn(device)
    sys.stdout.write(f"all on {device}\n")


if __name__ == "__main__":
    if sys.argv[1] != "cuda":
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

        _setup_privateuseone_for_python_backend(sys.argv[1])
    run(sys.argv[1])
