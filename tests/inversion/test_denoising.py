"""The loss and its gradient are those of plain textual inversion, however the work is cut up."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from origcli.inversion.denoising import Lane, Samples, lane_losses, make_samples
from origcli.inversion.draws import Draws, step_draws
from origcli.inversion.embeddings import initial_vectors
from origcli.inversion.preparation import encode, make_lanes
from origcli.models.pipeline import DiffusionModel

TEMPLATES = ("a photo of a {S}", "a rendering of the {S}", "the {S} and my cat")
COUNTS = (1, 2, 5)
BATCH = 6


def draws(model: DiffusionModel, key: str = "k", step: int = 0) -> Draws:
    return step_draws(
        0,
        key,
        step,
        size=BATCH,
        noising=model.noising,
        templates=len(TEMPLATES),
        latent_shape=model.latent_shape,
    )


def own(lane: Lane) -> nn.Parameter:
    """The vectors of the model's one encoder."""
    return next(iter(lane.vectors.values()))


def lanes_of(model: DiffusionModel, pictures: int = 1, counts: Sequence[int] = COUNTS) -> list[Lane]:
    """Lanes whose vectors differ in every row."""
    lanes = make_lanes(model, TEMPLATES, "mean", counts, pictures)
    for lane in lanes:
        source = torch.Generator().manual_seed(lane.m + 10 * lane.image)
        own(lane).data += 0.02 * torch.randn(own(lane).shape, generator=source)
    return lanes


def samples_of(
    model: DiffusionModel, pictures: Sequence[Image.Image], lanes: Sequence[Lane]
) -> dict[int, Samples]:
    rows = model.words.first_equal(lanes[0].prompts)
    return {
        i: make_samples(model, query, draws(model, query.key), rows)
        for i, query in enumerate(encode(model, picture, f"p{i}") for i, picture in enumerate(pictures))
    }


def gradients(lanes: Sequence[Lane]) -> list[Tensor]:
    return [gradient(lane).clone() for lane in lanes]


def plain_step(model: DiffusionModel, image: Image.Image, vectors: Tensor) -> tuple[float, Tensor]:
    """Loss and gradient of a step as the public example takes it, with nothing of ours but the draws.

    New tokens in tokenizer and vocabulary, every sample's prompt through the text encoder, the whole
    batch through the UNet, gradient to the whole embedding table.
    """
    from diffusers import DDPMScheduler
    from torchvision.transforms.functional import to_tensor

    m, drawn = len(vectors), draws(model, encode(model, image, "p").key)
    one = model.words.encoders[0]
    tokenizer, encoder = copy.deepcopy(one.tokenizer), copy.deepcopy(one.module)
    names = [f"<new{i}>" for i in range(m)]
    tokenizer.add_tokens(names)
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = encoder.get_input_embeddings().weight.requires_grad_()
    with torch.no_grad():
        table[-m:] = vectors
        posterior = model.vae.encode(to_tensor(image)[None] * 2 - 1).latent_dist
        latents = (posterior.mean + posterior.std * drawn.posterior) * model.vae.config.scaling_factor
    scheduler = DDPMScheduler.from_config(model.scheduler.config)
    noisy = scheduler.add_noise(latents, drawn.noise, drawn.times)
    prompts = [TEMPLATES[i].replace("{S}", " ".join(names)) for i in drawn.templates.tolist()]
    words = tokenizer(prompts, padding="max_length", max_length=one.length, return_tensors="pt")
    mask = words.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
    states = encoder(words.input_ids, attention_mask=mask)[0]
    predicted = model.denoiser(noisy, drawn.times, states).sample
    if scheduler.config.prediction_type == "epsilon":
        target = drawn.noise
    else:
        target = scheduler.get_velocity(latents, drawn.noise, drawn.times)
    loss = F.mse_loss(predicted, target)
    loss.backward()
    return loss.item(), table.grad[-m:]


def test_gradients_are_those_of_a_plain_textual_inversion_step(
    model: DiffusionModel, pictures: list[Image.Image]
) -> None:
    lanes = lanes_of(model)
    losses = lane_losses(model, lanes, samples_of(model, pictures[:1], lanes), 7, learn=True)
    for lane, loss in zip(lanes, losses.tolist(), strict=True):
        plain_loss, plain_gradient = plain_step(model, pictures[0], own(lane).detach())
        assert loss == pytest.approx(plain_loss, rel=1e-5)
        torch.testing.assert_close(own(lane).grad, plain_gradient, rtol=1e-3, atol=1e-8)
        assert plain_gradient.norm(dim=1).min() > 1e-6  # far above the tolerance


def test_every_one_of_the_m_rows_gets_a_gradient_of_its_own(
    model: DiffusionModel, pictures: list[Image.Image]
) -> None:
    lanes = lanes_of(model)
    lane_losses(model, lanes, samples_of(model, pictures[:1], lanes), 100, learn=True)
    for gradient in gradients(lanes):
        assert gradient.norm(dim=1).min() > 0
        assert len(gradient.unique(dim=0)) == len(gradient)


def test_joint_lanes_have_the_gradients_of_solo_ones(
    model: DiffusionModel, pictures: list[Image.Image]
) -> None:
    lanes = lanes_of(model, pictures=2)
    samples = samples_of(model, pictures[:2], lanes)
    joint = lane_losses(model, lanes, samples, 1000, learn=True)
    together = gradients(lanes)
    for i, lane in enumerate(lanes):
        alone = lane_losses(model, [lane], samples, 1000, learn=True)
        torch.testing.assert_close(alone[0], joint[i], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(own(lane).grad, together[i], rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("size", [1, 4, 5, 6, 13, 1000])
def test_micro_batches_change_nothing_beyond_rounding(
    bert: DiffusionModel, pictures: list[Image.Image], size: int
) -> None:
    lanes = lanes_of(bert, pictures=2)
    samples = samples_of(bert, pictures[:2], lanes)
    whole = lane_losses(bert, lanes, samples, 1000, learn=True)
    expected = gradients(lanes)
    parts = lane_losses(bert, lanes, samples, size, learn=True)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-7)
    for gradient, other in zip(gradients(lanes), expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-8)


def test_nothing_of_the_model_changes_or_gets_a_gradient(
    model: DiffusionModel, pictures: list[Image.Image]
) -> None:
    modules: list[nn.Module] = [*model.family.modules.values()]
    before = [parameter.clone() for module in modules for parameter in module.parameters()]
    lanes = lanes_of(model)
    samples = samples_of(model, pictures[:1], lanes)
    optimizer = torch.optim.Adam([own(lane) for lane in lanes], lr=0.1)
    start = [own(lane).detach().clone() for lane in lanes]
    lane_losses(model, lanes, samples, 100, learn=True)
    optimizer.step()
    after = [parameter for module in modules for parameter in module.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert all(parameter.grad is None for parameter in after)
    assert all((own(lane) != old).any(1).all() for lane, old in zip(lanes, start, strict=True))


def test_distinct_prompts_run_once(model: DiffusionModel, pictures: list[Image.Image]) -> None:
    lanes = lanes_of(model)
    rows: list[int] = []
    handle = model.words.encoders[0].module.register_forward_hook(
        lambda module, args, kwargs, output: rows.append(len(args[0] if args else kwargs["input_ids"])),
        with_kwargs=True,
    )
    try:
        lane_losses(model, lanes, samples_of(model, pictures[:1], lanes), 100, learn=True)
    finally:
        handle.remove()
    distinct = len(set(draws(model, encode(model, pictures[0], "p").key).templates.tolist()))
    assert rows == [distinct * len(COUNTS)] and distinct < BATCH


def test_templates_that_read_the_same_are_one_prompt(bert: DiffusionModel) -> None:
    lanes = make_lanes(bert, ("a  {S}", "the {S}", "A {S}", "the {S}"), "mean", [2], 1)
    assert bert.words.first_equal(lanes[0].prompts).tolist() == [0, 1, 0, 1]


def gradient(lane: Lane) -> torch.Tensor:
    found = own(lane).grad
    assert found is not None
    return found


def test_a_loss_that_is_no_number_stays_in_its_lane(
    bert: DiffusionModel, pictures: list[Image.Image]
) -> None:
    lanes = lanes_of(bert)
    own(lanes[1]).data[0, 0] = torch.nan
    losses = lane_losses(bert, lanes, samples_of(bert, pictures[:1], lanes), 100, learn=True)
    assert losses.isfinite().tolist() == [True, False, True]
    assert [bool(gradient(lane).isfinite().all()) for lane in lanes] == [True, False, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_in_half_precision_point_the_same_way(
    tiny_bert_pipeline_dir: Any, bert: DiffusionModel, pictures: list[Image.Image], dtype: torch.dtype
) -> None:
    from pathlib import Path

    from origcli.models.pipeline import load_pipeline
    from origcli.runtime.context import Runtime

    assert isinstance(tiny_bert_pipeline_dir, Path)
    half = load_pipeline(tiny_bert_pipeline_dir, Runtime(dtype=dtype))
    lanes, exact = lanes_of(half), lanes_of(bert)
    for lane, other in zip(lanes, exact, strict=True):
        own(lane).data = own(other).data.clone()
    lane_losses(half, lanes, samples_of(half, pictures[:1], lanes), 100, learn=True)
    lane_losses(bert, exact, samples_of(bert, pictures[:1], exact), 100, learn=True)
    for lane, other in zip(lanes, exact, strict=True):
        ours, theirs = gradient(lane), gradient(other)
        assert ours.dtype == torch.float32
        assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.98
        assert 0.9 < ours.norm() / theirs.norm() < 1.1


def test_mirror_images_are_learned_only_when_asked(bert: DiffusionModel, pictures: list[Image.Image]) -> None:
    from PIL import ImageOps

    once = encode(bert, pictures[0], "p")
    both = encode(bert, pictures[0], "p", flip=True)
    assert len(once.mean) == 1 and len(both.mean) == 2
    torch.testing.assert_close(both.mean[:1], once.mean)
    torch.testing.assert_close(both.mean[1:], encode(bert, ImageOps.mirror(pictures[0]), "p").mean)


def test_initial_vectors_are_copied_into_each_lane(bert: DiffusionModel) -> None:
    lanes = make_lanes(bert, TEMPLATES, "mean", COUNTS, 2)
    assert [(lane.image, lane.m) for lane in lanes] == [(q, m) for q in range(2) for m in COUNTS]
    own(lanes[0]).data += 1
    assert torch.equal(own(lanes[3]), initial_vectors(bert, "mean", 1)["bert"])
    assert [slot for lane in lanes for slot in lane.slots] == list(range(2 * sum(COUNTS)))
