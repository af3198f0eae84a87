"""The denoising loss of learned tokens, and its exact gradient, at the least cost.

A lane is one picture at one m. All lanes run through the text encoder and the UNet together, in parts
that fit into memory; the gradient of the whole is the sum of the gradients of the parts. A prompt that
several samples of a lane share runs through the text encoder once, at its padded length, because the
UNet attends to the padding too.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from origcli.inversion.draws import Draws
from origcli.models.noising import add_noise, prediction_target, signal_and_noise
from origcli.models.pipeline import DiffusionModel, embedding_override, text_states
from origcli.runtime.device import learning_kernels, to_device
from origcli.runtime.memory import slices


@dataclass(frozen=True)
class Query:
    """A picture as the VAE's posterior, on the device, fp32.

    Attributes:
        name: for messages and files.
        key: hash of the pixels; seeds the picture's random numbers.
        mean, std: (v, c, h, w), unscaled; v is 2 where the mirror image is learned too, else 1.
    """

    name: str
    key: str
    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Samples:
    """b noisy latents of one picture, ready for the UNet; every m sees the same ones.

    Attributes:
        noisy, target: (b, c, h, w), on the device, fp32.
        timesteps: (b,), on the device.
        prompts: the p distinct prompts, as rows of `Lane.ids`, on the device.
        prompt_of: (b,), each sample's place in `prompts`, on the device.
    """

    noisy: Tensor
    target: Tensor
    timesteps: Tensor
    prompts: Tensor
    prompt_of: Tensor


@dataclass
class Lane:
    """One picture at one m: what is learned, and the prompts that it is learned in.

    Attributes:
        query: index of the picture.
        m: how many tokens.
        vectors: (m, d), fp32, the only thing that changes.
        ids, mask: (t, L), the templates with the lane's own token ids in their slots, on the device.
        slots: (m,), those token ids, which lie past the vocabulary.
    """

    query: int
    m: int
    vectors: nn.Parameter
    ids: Tensor
    mask: Tensor
    slots: Tensor


def make_samples(
    model: DiffusionModel,
    query: Query,
    draws: Draws,
    alphas_cumprod: Tensor,
    prompt_rows: Tensor,
) -> Samples:
    """Noises a picture's latents.

    Args:
        alphas_cumprod: (T,), on the CPU.
        prompt_rows: (t,), on the CPU: the first template that reads the same to the text encoder.
    """
    device = model.device
    signal, sigma = (to_device(x, device) for x in signal_and_noise(alphas_cumprod, draws.timesteps))
    noise, posterior = to_device(draws.noise, device), to_device(draws.posterior, device)
    views = to_device(draws.views, device)
    latents = (query.mean[views] + query.std[views] * posterior) * model.scaling_factor  # (b, c, h, w)
    prompts, prompt_of = prompt_rows[draws.templates].unique(return_inverse=True)
    return Samples(
        noisy=add_noise(latents, noise, signal, sigma),
        target=prediction_target(model.prediction_type, latents, noise, signal, sigma),
        timesteps=to_device(draws.timesteps, device),
        prompts=to_device(prompts, device),
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
        samples: by picture, as `Lane.query` counts; the same number of samples each.
        size: how many samples go through the UNet at once.
    """
    batch = len(samples[lanes[0].query].timesteps)
    together = max(1, size // batch)
    for lane in lanes:
        lane.vectors.grad = None
    losses = [
        _losses(model, lanes[part], samples, size, learn) for part in slices(len(lanes), together)
    ]  # [(lanes of the part,)]
    if learn and (scale := gradient_scale(model)) != 1.0:
        for lane in lanes:
            assert lane.vectors.grad is not None
            lane.vectors.grad /= scale
    return torch.cat(losses)


def _losses(
    model: DiffusionModel, lanes: Sequence[Lane], samples: Mapping[int, Samples], size: int, learn: bool
) -> Tensor:
    """`lane_losses` of lanes whose prompts fit into memory together."""
    batch = len(samples[lanes[0].query].timesteps)
    used = sorted({lane.query for lane in lanes})
    noisy, target, timesteps = (
        torch.cat([getattr(samples[i], name) for i in used]) for name in ("noisy", "target", "timesteps")
    )  # (pictures · b, …)
    kernels = learning_kernels(model.device, model.dtype) if learn else nullcontext()
    with torch.set_grad_enabled(learn), kernels:
        states = _states(model, lanes, samples)  # (prompts, L, d)
        first, prompt_of, source = 0, [], []
        for lane in lanes:
            prompt_of.append(samples[lane.query].prompt_of + first)
            first += len(samples[lane.query].prompts)
            start = used.index(lane.query) * batch
            source.append(torch.arange(start, start + batch, device=model.device))
        prompts, sources = torch.cat(prompt_of), torch.cat(source)  # (lanes · b,)
        # The UNet's part of the graph ends here: it can run in parts while the text encoder's is kept.
        leaf = states.detach().float().requires_grad_(learn)
        errors = []
        for part in slices(len(sources), size):
            at = sources[part]
            predicted = model.unet(
                noisy[at].to(model.dtype), timesteps[at], leaf[prompts[part]].to(model.dtype)
            ).sample
            error = (predicted.float() - target[at]).square().mean((1, 2, 3))  # (part,)
            if learn:
                (error.sum() * (gradient_scale(model) / batch)).backward()
            errors.append(error.detach())
        if learn:
            assert leaf.grad is not None
            states.backward(leaf.grad.to(states.dtype))
    return torch.cat(errors).view(len(lanes), batch).mean(1)


def _states(model: DiffusionModel, lanes: Sequence[Lane], samples: Mapping[int, Samples]) -> Tensor:
    """Text states (prompts, L, d) of every distinct prompt of every lane, lane after lane."""
    ids = torch.cat([lane.ids[samples[lane.query].prompts] for lane in lanes])
    mask = torch.cat([lane.mask[samples[lane.query].prompts] for lane in lanes])
    slots = torch.cat([lane.slots for lane in lanes])
    vectors = torch.cat([lane.vectors for lane in lanes])
    learned = embedding_override(model.text_encoder, slots, vectors) if len(slots) else nullcontext()
    with learned:
        return text_states(model.text_encoder, ids, mask)
