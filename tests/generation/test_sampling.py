"""Drawing: each picture its own seed, in any batch, and as diffusers' pipeline draws it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from origcli.errors import DeviceError, NonFiniteError
from origcli.generation import sampling
from origcli.models.conditioning import Conditioning
from origcli.models.families.family import Drawing
from origcli.models.families.known import FAMILIES
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.pipeline import DiffusionModel, load_pipeline
from origcli.runtime.context import Runtime
from origcli.runtime.seeding import noise
from origcli.settings import DrawSettings

STEPS = 4


def settings(**changes: Any) -> DrawSettings:
    values = {"steps": STEPS, "scheduler": "ddim", "batch_size": 8, "guidance": 3.0}
    return DrawSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def model(tiny_bert_pipeline_dir: Path) -> DiffusionModel:
    return load_pipeline(tiny_bert_pipeline_dir, Runtime())


def arrays(images: Any) -> np.ndarray:
    return np.stack([np.asarray(image) for image in images]).astype(int)


@pytest.mark.parametrize("scheduler", ["ddim", "dpm", "euler", "pndm"])
def test_batching_changes_nothing_beyond_rounding(model: DiffusionModel, scheduler: str) -> None:
    prompts, seeds = ["big red circle", "small blue square", ""], [5, 6, 7]
    whole = sampling.draw_prompts(model, prompts, seeds, settings(scheduler=scheduler), Runtime())
    single = sampling.draw_prompts(
        model, prompts, seeds, settings(scheduler=scheduler, batch_size=1), Runtime()
    )
    assert np.abs(arrays(whole) - arrays(single)).max() <= 1
    assert np.abs(arrays(whole[:1]) - arrays(whole[1:2])).max() > 1


@pytest.mark.parametrize("scheduler", ["ddim", "dpm", "euler", "pndm"])
def test_a_sampler_never_reads_from_the_device(model: DiffusionModel, scheduler: str) -> None:
    device = torch.device("meta")  # which has no numbers to read
    sampler = model.family.sampler(Drawing(STEPS, 3.0, scheduler))
    sampler.set_timesteps(STEPS, device="cpu")
    latents = torch.zeros(2, *model.latent_shape, device=device)
    assert len(sampler.timesteps) >= STEPS
    for timestep in sampler.timesteps:
        given = sampler.scale_model_input(latents, timestep)
        latents = sampler.step(torch.zeros_like(given), timestep, latents).prev_sample
    assert latents.device == device and latents.shape == (2, *model.latent_shape)


@pytest.mark.parametrize("kind", ["bert", "clip"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_plain_diffusers_pipeline_draws_the_same(
    request: pytest.FixtureRequest, kind: str, guidance: float
) -> None:
    from diffusers import DiffusionPipeline

    directory = request.getfixturevalue(f"tiny_{kind}_pipeline_dir")
    ours = load_pipeline(directory, Runtime())
    theirs = DiffusionPipeline.from_pretrained(directory, safety_checker=None)
    theirs.set_progress_bar_config(disable=True)
    start = torch.stack([noise(ours.latent_shape, seed, "draw") for seed in (1, 2)])
    prompts = ["a photo of a cat", "big green star"]
    expected = theirs(prompts, num_inference_steps=STEPS, guidance_scale=guidance, latents=start).images
    drawn = sampling.draw_prompts(ours, prompts, [1, 2], settings(guidance=guidance), Runtime())
    assert np.abs(arrays(drawn) - arrays(expected)).max() <= 1


def test_the_models_own_guidance_is_the_default(model: DiffusionModel) -> None:
    assert model.drawing(settings(guidance=None)) == Drawing(STEPS, 7.5, "ddim")
    assert model.drawing(settings(guidance=0.0)).guidance == 0.0
    assert model.drawing(settings(steps="auto", scheduler="auto")) == Drawing(50, 3.0, "ddim")


@pytest.mark.parametrize(
    ("steps", "scheduler", "expected"),
    [
        ("auto", "quick", (20, "dpm")),
        (30, "quick", (30, "dpm")),
        ("auto", "ddim", (50, "ddim")),  # naming another solver takes back its steps, too
    ],
)
def test_quick_is_fewer_steps_of_dpm(
    model: DiffusionModel, steps: int | str, scheduler: str, expected: tuple[int, str]
) -> None:
    drawing = model.drawing(settings(steps=steps, scheduler=scheduler))
    assert (drawing.steps, drawing.scheduler) == expected


@pytest.mark.parametrize("family", [kind for kind in FAMILIES.values() if kind is not StableDiffusion])
def test_families_without_a_quick_way_sample_as_ever(family: Any) -> None:
    quick = family.settled(settings(steps="auto", scheduler="quick"))
    assert quick == family.settled(settings(steps="auto", scheduler="auto"))


@pytest.mark.fault(14, "sampling halves its batch")
def test_memory_that_runs_out_halves_the_batch(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = sampling.sample_latents, []

    def scarce(model: DiffusionModel, given: Conditioning, *rest: Any) -> torch.Tensor:
        sizes.append(len(given))
        if len(given) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, given, *rest)

    expected = sampling.draw_prompts(model, ["cat"] * 5, range(5), settings(), Runtime())
    monkeypatch.setattr(sampling, "sample_latents", scarce)
    drawn = sampling.draw_prompts(model, ["cat"] * 5, range(5), settings(), Runtime())
    assert sizes == [5, 2, 2, 1]
    assert np.abs(arrays(drawn) - arrays(expected)).max() <= 1


def test_the_first_batch_is_what_memory_holds(model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = sampling.sample_latents, []

    def counted(model: DiffusionModel, given: Conditioning, *rest: Any) -> torch.Tensor:
        sizes.append(len(given))
        return real(model, given, *rest)

    monkeypatch.setattr(sampling, "sample_latents", counted)
    monkeypatch.setattr(sampling, "usable_bytes", lambda device: 5 * model.forward_bytes)
    sampling.draw_prompts(model, ["cat"] * 5, range(5), settings(guidance=3.0), Runtime())
    assert sizes == [2, 2, 1]
    sizes.clear()
    sampling.draw_prompts(model, ["cat"] * 5, range(5), settings(guidance=1.0), Runtime())
    assert sizes == [5]  # unguided, a picture is one sample
    monkeypatch.setattr(sampling, "usable_bytes", lambda device: 1)
    assert sampling.most_at_once(model, settings()) == 1


def test_what_one_sample_takes_holds_its_latent_but_not_the_weights(model: DiffusionModel) -> None:
    channels, height, width = model.latent_shape
    weights = sum(parameter.nbytes for parameter in model.denoiser.parameters())
    assert 4 * channels * height * width < model.forward_bytes < weights + 4 * channels * height * width


def test_memory_that_never_suffices_is_a_device_error(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(sampling, "sample_latents", never)
    with pytest.raises(DeviceError, match="out of memory"):
        sampling.draw_prompts(model, ["cat"], [0], settings(), Runtime())


@pytest.mark.fault(13, "no black image is made of it")
def test_nan_latents_are_never_a_black_picture(model: DiffusionModel) -> None:
    with pytest.raises(NonFiniteError):
        sampling.decode(model, torch.full((1, *model.latent_shape), float("nan")))


def test_half_precision_draws_nearly_the_same(tiny_bert_pipeline_dir: Path, model: DiffusionModel) -> None:
    half = load_pipeline(tiny_bert_pipeline_dir, Runtime(dtype=torch.bfloat16))
    drawn = sampling.draw_prompts(half, ["cat"], [3], settings(), Runtime())
    expected = sampling.draw_prompts(model, ["cat"], [3], settings(), Runtime())
    assert np.abs(arrays(drawn) - arrays(expected)).mean() < 8
