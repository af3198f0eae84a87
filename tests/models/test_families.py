"""Each family against its own pipeline: what the denoiser gets, where the loop leads, what encoders get."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler
from torch import Tensor

from origcli.errors import UsageError
from origcli.models.conditioning import joined
from origcli.models.families.family import Drawing, Family, PipelineFamily
from origcli.models.families.known import FAMILIES
from origcli.models.noising import Flow
from tests.tiny_families import BUILDERS, RESOLUTION, build

PROMPT = "a photo of a big red circle"
OTHERS = ["a cat", PROMPT, "the clean small star and a dog"]
NAMES = list(BUILDERS)


def wrapped(name: str, dtype: torch.dtype = torch.float32) -> PipelineFamily:
    pipe = build(name).to(dtype)
    family = FAMILIES[type(pipe).__name__](pipe.components, _options(pipe), RESOLUTION)
    assert isinstance(family, PipelineFamily)
    return family


def _options(pipe: Any) -> dict[str, Any]:
    return {name: value for name, value in pipe.config.items() if name == "force_zeros_for_empty_prompt"}


@pytest.fixture(scope="session")
def made() -> Callable[[str], PipelineFamily]:
    """A family by name, built once."""
    kept: dict[str, PipelineFamily] = {}

    def get(name: str) -> PipelineFamily:
        if name not in kept:
            kept[name] = wrapped(name)
        return kept[name]

    return get


@pytest.fixture(params=NAMES)
def family(request: pytest.FixtureRequest, made: Callable[[str], PipelineFamily]) -> PipelineFamily:
    """Each of them."""
    return made(request.param)


def noise_of(family: Family, count: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(count, *family.latent_shape, generator=torch.Generator().manual_seed(seed))


def calls_of(family: PipelineFamily, prompt: str, drawing: Drawing, noise: Tensor) -> list[dict[str, Any]]:
    """What the pipeline's loop hands to its denoiser when it draws a prompt, and what it gets."""
    calls: list[dict[str, Any]] = []

    def note(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        calls.append({"args": args, **kwargs, "output": output[0]})

    handle = family.denoiser.register_forward_hook(note, with_kwargs=True)
    try:
        given, empty = family.condition([prompt]), family.unconditional()
        family.draw(given, empty, noise, drawing)
    finally:
        handle.remove()
    return calls


@pytest.mark.parametrize("guided", [False, True])
def test_predict_gives_the_denoiser_what_the_pipeline_gives_it(
    family: PipelineFamily, guided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = family.defaults.guidance if guided or family.unguided is None else family.unguided
    drawing = Drawing(steps=3, guidance=scale, scheduler="own")
    recorded: list[Any] = []
    step = type(family.scheduler).step

    def note(self: Any, output: Tensor, t: Any, sample: Tensor, **more: Any) -> Any:
        recorded.append((t, sample, output))
        return step(self, output, t, sample, **more)

    monkeypatch.setattr(type(family.scheduler), "step", note)
    calls = calls_of(family, PROMPT, drawing, noise_of(family))
    assert len(recorded) == 3 and len(calls) in (3, 6)

    given, empty = family.condition([PROMPT]), family.unconditional()
    sampler = family.sampler(drawing)
    for t, sample, output in recorded[:2]:
        latents = family.unpack(sample)
        if isinstance(family.noising, Flow):
            times = torch.as_tensor(t).reshape(1) / family.scheduler.config.num_train_timesteps
        else:
            sampler.set_timesteps(3)
            times = torch.as_tensor(t).reshape(1)
            latents = sampler.scale_model_input(latents, t)
        with torch.no_grad():
            predicted = family.predict(latents, times, given)
            if family.passes(drawing) == 2:
                free = family.predict(latents, times, empty)
                predicted = guide(family, predicted, free, scale)
        torch.testing.assert_close(predicted, family.unpack(output), rtol=1e-4, atol=1e-5)


def guide(family: PipelineFamily, predicted: Tensor, free: Tensor, scale: float) -> Tensor:
    """Guidance as each pipeline has it."""
    if family.pipeline == "ZImagePipeline":
        return predicted + scale * (predicted - free)
    guided = free + scale * (predicted - free)
    if family.pipeline == "QwenImagePipeline":  # the norm of each token is kept
        ours, theirs = family.pack(guided), family.pack(predicted)
        return family.unpack(ours * theirs.norm(dim=-1, keepdim=True) / ours.norm(dim=-1, keepdim=True))
    return guided


@pytest.mark.parametrize("guided", [False, True])
def test_the_target_leads_the_pipeline_back_to_the_latents(
    family: PipelineFamily, guided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sign, scale, packing, shift and schedule at once: a denoiser that knows the answer ends at it."""
    clean, noise = noise_of(family, seed=1), noise_of(family)
    scale = family.defaults.guidance if guided else (family.unguided or 0.0)
    drawing = Drawing(steps=6, guidance=scale, scheduler="own")
    given, empty = family.condition([PROMPT]), family.unconditional()
    sampler, at, flow = family.sampler(drawing), torch.ones(1), isinstance(family.noising, Flow)
    if not flow:
        sampler.set_timesteps(drawing.steps)
        at = torch.as_tensor(sampler.timesteps[0]).reshape(1)  # where the loop starts

    def knows(*args: Any, **kwargs: Any) -> Any:
        times = at if flow else kwargs.get("timestep", args[1] if len(args) > 1 else at)
        target = family.noising.mix(clean, noise, torch.as_tensor(times).reshape(-1)[:1].long())[1]
        return (as_output(family, target.repeat(calls, 1, 1, 1)),)

    monkeypatch.setattr(family.denoiser, "forward", knows)
    calls = 1
    family.denoiser.forward = lambda *args, **kwargs: Predicted(knows(*args, **kwargs)[0])
    predicted = family.predict(noise, at, given)
    torch.testing.assert_close(predicted, family.noising.mix(clean, noise, at.long())[1])

    monkeypatch.setattr(family.denoiser, "forward", knows)
    calls = 2 if family.passes(drawing) == 2 and family.pipeline != "QwenImagePipeline" else 1
    start = noise
    if not flow:  # the last step of training is not noise alone
        start = family.noising.mix(clean, noise, at.long())[0] / sampler.scale_model_input(
            torch.ones(1), at[0]
        )
        start = start / sampler.init_noise_sigma
    latents = family.draw(given, empty, start, drawing)
    torch.testing.assert_close(latents, clean, rtol=1e-3, atol=2e-3)


class Predicted:
    """A denoiser's output by attribute."""

    def __init__(self, sample: Any) -> None:
        self.sample = sample


def as_output(family: PipelineFamily, target: Tensor) -> Any:
    """A target in the form of the denoiser's output."""
    if family.pipeline == "ZImagePipeline":
        return [-one[:, None] for one in target]
    if family.pipeline.startswith("PixArt"):
        return torch.cat([target, torch.zeros_like(target)], 1)
    return family.pack(target)


def test_gradients_reach_the_vectors_of_every_encoder(family: PipelineFamily) -> None:
    names = family.words.names(0, 3)
    vectors = {
        one.key: (one.table.mean(0).repeat(3, 1) + 0.01 * torch.randn(3, one.width)).requires_grad_()
        for one in family.words.encoders
    }
    prompts = [f"a photo of {names[0]}", f"the {' '.join(names[1:])} and a cat"]
    with family.words.holding(vectors):
        given = family.condition(prompts)
    leaf = given.leaf()
    times = family.noising.times(torch.tensor([0.3, 0.7]))
    family.predict(noise_of(family, 2), times, leaf).square().mean().backward()
    given.backward(leaf)
    for key, vector in vectors.items():
        assert vector.grad is not None and bool((vector.grad.norm(dim=1) > 0).all()), key


def test_vectors_of_words_in_the_slots_are_those_words(family: PipelineFamily) -> None:
    """States, pooled vectors and masks: nothing tells a slot from the word whose vector it has."""
    names = family.words.names(0, 4)
    plain = ["a photo of cat dog in the dark", "a circle", "a big red star and my cat"]
    filled = [
        f"a photo of {names[0]} {names[1]} in the dark",
        f"a {names[2]}",
        f"a big red star and my {names[3]}",
    ]
    vectors = {}
    for encoder in family.words.encoders:
        rows, slots = encoder.ids(plain), encoder.ids(filled)
        assert [len(row) for row in rows] == [len(row) for row in slots]
        first = encoder.extended.convert_tokens_to_ids(names[0])
        ids = dict(
            (slot - first, word)
            for row, other in zip(rows, slots, strict=True)
            for word, slot in zip(row, other, strict=True)
            if slot >= first
        )
        vectors[encoder.key] = encoder.table[[ids[i] for i in range(4)]]
    expected = family.condition(plain)
    with family.words.holding(vectors):
        found = family.condition(filled)
    for name, part in expected.parts.items():
        torch.testing.assert_close(found.parts[name], part, rtol=1e-5, atol=1e-6)


def test_a_sample_is_the_same_in_any_batch(family: PipelineFamily) -> None:
    drawing = Drawing(steps=2, guidance=family.defaults.guidance, scheduler="own")
    given, empty = family.condition(OTHERS), family.unconditional()
    noise = torch.cat([noise_of(family, seed=i) for i in range(3)])
    times = family.noising.times(torch.tensor([0.2, 0.5, 0.8]))
    with torch.no_grad():
        together = family.predict(noise, times, given)
        drawn = family.draw(given, empty, noise, drawing)
    for size in (1, 2):
        for start in range(0, 3, size):
            part = slice(start, start + size)
            with torch.no_grad():
                alone = family.predict(noise[part], times[part], given[part])
                own = family.draw(given[part], empty, noise[part], drawing)
            torch.testing.assert_close(alone, together[part], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(own, drawn[part], rtol=1e-3, atol=1e-3 * float(drawn.abs().max()))


def test_conditioning_is_that_of_each_prompt_alone(family: PipelineFamily) -> None:
    """Joined, repeated and chosen rows say what the prompts say, whatever they are padded to."""
    together = joined([family.condition([prompt]) for prompt in OTHERS])
    assert len(together) == 3 and len(together.repeated(2)) == 6
    times = family.noising.times(torch.tensor([0.5]))
    with torch.no_grad():
        for row, prompt in enumerate(OTHERS):
            one = family.predict(noise_of(family), times, together[[row]])
            other = family.predict(noise_of(family), times, family.condition([prompt]))
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_predicts_nearly_the_same(name: str, made: Callable[[str], PipelineFamily]) -> None:
    exact, half = made(name), wrapped(name, torch.bfloat16)
    times = exact.noising.times(torch.tensor([0.4]))
    with torch.no_grad():
        expected = exact.predict(noise_of(exact), times, exact.condition([PROMPT]))
        found = half.predict(noise_of(exact), times, half.condition([PROMPT]))
    assert found.dtype == torch.bfloat16
    error = (found.float() - expected).norm() / expected.norm()
    assert float(error) < 0.1


def test_a_picture_goes_through_the_autoencoder_as_in_the_pipeline(family: PipelineFamily) -> None:
    """The way into the denoiser's scale is the inverse of the way out."""
    pixels = torch.rand(2, 3, RESOLUTION, RESOLUTION) * 2 - 1
    with torch.no_grad():
        mean, std = family.encode(pixels)
        assert mean.shape == std.shape == (2, *family.latent_shape)
        torch.testing.assert_close(family.to_vae(family.to_denoiser(mean)), mean, rtol=1e-4, atol=1e-5)
        latents = noise_of(family, 2)
        drawing = Drawing(2, family.defaults.guidance, "own")
        drawn = family.draw(family.condition([PROMPT]), family.unconditional(), latents[:1], drawing)
        ours = ((family.decode(drawn).clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1)
    with monkeypatched_output(family) as theirs:
        family.draw(family.condition([PROMPT]), family.unconditional(), latents[:1], drawing)
    torch.testing.assert_close(ours, torch.as_tensor(theirs[0]), atol=1 / 255, rtol=0)


@contextmanager
def monkeypatched_output(family: PipelineFamily) -> Iterator[list[Any]]:
    """The pipeline decodes what it draws, with its own code."""
    images: list[Any] = []
    pipe = family.pipe

    def call(**kwargs: Any) -> Any:
        result = pipe(**{**kwargs, "output_type": "np"})
        images.append(result[0])
        return pipe(**kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "pipe", Recorder(pipe, call))
        yield images


class Recorder:
    """A pipeline with another `__call__`."""

    def __init__(self, pipe: Any, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_of", (pipe, call))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of[0], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._of[0], name, value)

    def __call__(self, **kwargs: Any) -> Any:
        return self._of[1](**kwargs)


def test_a_flow_model_keeps_its_scheduler(family: PipelineFamily) -> None:
    drawing = Drawing(steps=2, guidance=2.0, scheduler="ddim")
    if isinstance(family.noising, Flow):
        with pytest.raises(UsageError, match=type(family.scheduler).__name__):
            family.check_drawing(drawing)
        return
    family.check_drawing(drawing)
    drawn = family.draw(family.condition([PROMPT]), family.unconditional(), noise_of(family), drawing)
    assert type(family.pipe.scheduler).__name__ == "DDIMScheduler" and bool(drawn.isfinite().all())


def test_prompts_that_an_encoder_would_cut_are_refused(family: PipelineFamily) -> None:
    longest = max(one.length for one in family.words.encoders)
    with pytest.raises(UsageError, match="longer than the text encoder"):
        family.words.check([" ".join(["cat"] * (longest + 1))])


def test_names_of_encoders_are_those_of_embedding_files() -> None:
    keys = {
        name: [text.key for text in family.texts]
        for name, family in FAMILIES.items()
        if name in ("StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline")
    }
    assert keys == {
        "StableDiffusionXLPipeline": ["clip_l", "clip_g"],
        "StableDiffusion3Pipeline": ["clip_l", "clip_g", "t5xxl"],
        "FluxPipeline": ["clip_l", "t5xxl"],
    }


def test_layers_that_are_computed_again_give_equal_gradients(name_of: str) -> None:
    """Gradient checkpointing, which little memory asks for, is exact to rounding."""
    family = wrapped(name_of)
    given = family.condition(OTHERS[:2]).learnable()
    times = family.noising.times(torch.tensor([0.3, 0.7]))

    def gradients() -> list[Tensor]:
        numbers = [part for part in given.parts.values() if part.requires_grad]
        loss = family.predict(noise_of(family, 2), times, given).square().mean()
        return list(torch.autograd.grad(loss, numbers))

    plain = gradients()
    assert family.compute_again() and not family.compute_again()
    for ours, expected in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-9)


@pytest.fixture(params=["sdxl", "sd3", "flux", "pixart_sigma", "sana", "z_image", "qwen_image"])
def name_of(request: pytest.FixtureRequest) -> str:
    """One name of each class of denoiser."""
    return str(request.param)


def test_text_encoders_wait_elsewhere_and_come_back(made: Callable[[str], PipelineFamily]) -> None:
    family = made("sd3")
    before = family.condition([PROMPT]).parts["states"]
    moved: list[tuple[str, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        for encoder in family.words.encoders:
            name = encoder.key
            patch.setattr(encoder.module, "to", lambda device, name=name: moved.append((name, str(device))))
        with family.text_encoders_on(torch.device("meta")):
            assert moved == [(key, "meta") for key in ("clip_l", "clip_g", "t5xxl")]
            moved.clear()
        assert moved == [(key, "cpu") for key in ("clip_l", "clip_g", "t5xxl")]
    assert torch.equal(family.condition([PROMPT]).parts["states"], before)


def test_a_scheduler_that_draws_noise_draws_each_samples_own() -> None:
    pipe = build("sdxl")
    parts = {
        **pipe.components,
        "scheduler": EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config),
    }
    family = FAMILIES[type(pipe).__name__](parts, {}, RESOLUTION)
    given, empty = family.condition([PROMPT] * 2), family.unconditional()
    noise, drawing = noise_of(family, 2), Drawing(3, 2.0, "own")
    whole = family.draw(given, empty, noise, drawing)
    torch.manual_seed(1)
    again = family.draw(given, empty, noise, drawing)
    alone = family.draw(given[1:], empty, noise[1:], drawing)
    assert torch.equal(whole, again)
    torch.testing.assert_close(alone, whole[1:], rtol=1e-3, atol=1e-3)
