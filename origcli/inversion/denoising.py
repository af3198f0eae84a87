"""The denoising loss of learned tokens, and its exact gradient, at the least cost.

A lane is one image at one m. All lanes run through the text encoders and the denoiser together, in parts
that fit into memory; the gradient of the whole is the sum of the gradients of the parts. A prompt that
several samples of a lane share runs through the text encoders once, at its padded length, because
denoisers attend to the padding too.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from origcli.inversion.draws import Draws, distinct_prompts
from origcli.models.conditioning import Conditioning
from origcli.models.pipeline import DiffusionModel
from origcli.runtime.device import learning_kernels, to_device
from origcli.runtime.memory import slices


@dataclass(frozen=True)
class Posterior:
    """An image as the VAE's posterior, on the device, fp32.

    Attributes:
        name: for messages and files.
        key: hash of the pixels; seeds the image's random numbers.
        mean, std: (v, c, h, w), unscaled; v is 2 where the mirror image is learned too, else 1.
    """

    name: str
    key: str
    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Samples:
    """b noisy latents of one image, ready for the denoiser; every m sees the same ones.

    Attributes:
        noisy, target: (b, c, h, w), on the device, fp32.
        times: (b,), on the device.
        prompts: the p distinct prompts, as places in `Lane.prompts`.
        prompt_of: (b,), each sample's place in `prompts`, on the device.
    """

    noisy: Tensor
    target: Tensor
    times: Tensor
    prompts: Sequence[int]
    prompt_of: Tensor


@dataclass
class Lane:
    """One image at one m: what is learned, and the prompts that it is learned in.

    Attributes:
        image: index of the image.
        m: how many tokens.
        vectors: by encoder, each (m, d), fp32, the only thing that changes; empty where m is 0.
        prompts: the t templates with the lane's own placeholders in their slots.
        first: the first of those placeholders, the others follow.
    """

    image: int
    m: int
    vectors: dict[str, nn.Parameter]
    prompts: tuple[str, ...]
    first: int

    @property
    def slots(self) -> range:
        """The lane's placeholders."""
        return range(self.first, self.first + self.m)


def make_samples(model: DiffusionModel, posterior: Posterior, draws: Draws, prompt_rows: Tensor) -> Samples:
    """Noises an image's latents.

    Args:
        prompt_rows: (t,), on the CPU: the first template that reads the same to the text encoders.
    """
    device = model.device
    noise, deviations = to_device(draws.noise, device), to_device(draws.posterior, device)
    views = to_device(draws.views, device)
    sampled = posterior.mean[views] + posterior.std[views] * deviations  # (b, c, h, w)
    latents = model.family.to_denoiser(sampled)
    noisy, target = model.noising.mix(latents, noise, draws.times)
    prompts, prompt_of = distinct_prompts(draws, prompt_rows)
    return Samples(
        noisy=noisy,
        target=target,
        times=to_device(draws.times, device),
        prompts=prompts,
        prompt_of=to_device(prompt_of, device),
    )


def gradient_scale(model: DiffusionModel) -> float:
    """What the loss is multiplied by on its way back, so that fp16 gradients do not vanish.

    A power of two near the number of values that the mean is taken over; 1 where numbers have fp32's range.
    """
    if model.dtype != torch.float16:
        return 1.0
    channels, height, width = model.latent_shape
    return float(2 ** (channels * height * width).bit_length())


def lane_losses(
    model: DiffusionModel, lanes: Sequence[Lane], samples: Mapping[int, Samples], size: int, learn: bool
) -> Tensor:
    """Each lane's loss (lanes,): the mean of its samples' squared errors, on the device.

    With `learn`, sets the gradient of each lane's vectors to that of its own loss: the vectors of one
    lane have no part in another's, so the gradient of the sum over lanes is each lane's own.

    Args:
        samples: by image, as `Lane.image` counts; the same number of samples each.
        size: how many samples go through the denoiser at once.
    """
    batch = len(samples[lanes[0].image].times)
    together = max(1, size // batch)
    learned = [vectors for lane in lanes for vectors in lane.vectors.values()]
    for vectors in learned:
        vectors.grad = None
    losses = [
        _losses(model, lanes[part], samples, size, learn) for part in slices(len(lanes), together)
    ]  # [(lanes of the part,)]
    if learn and (scale := gradient_scale(model)) != 1.0:
        for vectors in learned:
            assert vectors.grad is not None
            vectors.grad /= scale
    return torch.cat(losses)


def _losses(
    model: DiffusionModel, lanes: Sequence[Lane], samples: Mapping[int, Samples], size: int, learn: bool
) -> Tensor:
    """`lane_losses` of lanes whose prompts fit into memory together."""
    batch = len(samples[lanes[0].image].times)
    rows = _gathered(model, lanes, samples)
    scale = gradient_scale(model) / batch if learn else None
    kernels = learning_kernels(model.device, model.dtype) if learn else nullcontext()
    with torch.set_grad_enabled(learn), kernels:
        given = _conditions(model, lanes, samples)
        # The denoiser's part of the graph ends here: it can run in parts while the text encoders' is kept.
        leaf = given.leaf()
        errors = [_errors(model, rows, leaf, part, scale) for part in slices(len(rows.sources), size)]
        if learn:
            given.backward(leaf)
    return torch.cat(errors).view(len(lanes), batch).mean(1)


@dataclass(frozen=True)
class _Rows:
    """What the denoiser predicts: a row for each sample of each lane, lane after lane.

    Attributes:
        noisy, target, times: of the images, each once, (images · b, …).
        sources: (lanes · b,): where these have a row's image.
        prompts: (lanes · b,): where the conditioning of all distinct prompts has a row's prompt.
    """

    noisy: Tensor
    target: Tensor
    times: Tensor
    sources: Tensor
    prompts: Tensor


def _gathered(model: DiffusionModel, lanes: Sequence[Lane], samples: Mapping[int, Samples]) -> _Rows:
    """The rows of all lanes."""
    used = sorted({lane.image for lane in lanes})
    noisy, target, times = (
        torch.cat([getattr(samples[i], name) for i in used]) for name in ("noisy", "target", "times")
    )
    batch, first, sources, prompts = len(samples[used[0]].times), 0, [], []
    for lane in lanes:
        picture = samples[lane.image]
        start = used.index(lane.image) * batch
        sources.append(torch.arange(start, start + batch, device=model.device))
        prompts.append(picture.prompt_of + first)
        first += len(picture.prompts)
    return _Rows(noisy, target, times, torch.cat(sources), torch.cat(prompts))


def _errors(
    model: DiffusionModel, rows: _Rows, conditions: Conditioning, part: slice, scale: float | None
) -> Tensor:
    """The squared error of each row of a part.

    Args:
        scale: of the errors' sum, whose gradient is added to that of the conditions; `None` for no gradient.
    """
    at = rows.sources[part]
    predicted = model.family.predict(rows.noisy[at], rows.times[at], conditions[rows.prompts[part]])
    error = (predicted.float() - rows.target[at]).square().mean((1, 2, 3))
    if scale is not None:
        (error.sum() * scale).backward()
    return error.detach()


def _conditions(model: DiffusionModel, lanes: Sequence[Lane], samples: Mapping[int, Samples]) -> Conditioning:
    """The conditioning of every distinct prompt of every lane, lane after lane."""
    prompts = [lane.prompts[row] for lane in lanes for row in samples[lane.image].prompts]
    slots = [slot for lane in lanes for slot in lane.slots]
    vectors = {
        encoder.key: torch.cat([lane.vectors[encoder.key] for lane in lanes if lane.m])
        for encoder in model.words.encoders
        if slots
    }
    with model.words.holding(vectors, slots):
        return model.family.condition(prompts)
