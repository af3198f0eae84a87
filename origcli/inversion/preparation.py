"""What inversion needs before its first step: latents of the pictures, token ids of the prompts."""

import hashlib
from collections.abc import Sequence

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from origcli.errors import ModelError, NonFiniteError
from origcli.inversion.denoising import Lane, Query, Samples, make_samples
from origcli.inversion.draws import fixed_draws
from origcli.inversion.embeddings import initial_vectors
from origcli.inversion.placeholders import prompt_ids
from origcli.inversion.templates import without_slot
from origcli.models.pipeline import DiffusionModel, tokenize
from origcli.models.vae import encode_moments, to_pixels
from origcli.runtime.machine import usable_bytes

PREDICTIONS = ("epsilon", "v_prediction")


def image_key(image: Image.Image) -> str:
    """Hash of a picture's pixels: equal pictures draw equal random numbers, whatever they are called."""
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()[:32]


def noise_schedule(model: DiffusionModel) -> Tensor:
    """ᾱ_t of the model's training (T,), fp32, on the CPU.

    Raises:
        ModelError: the model predicts something else than ε or v.
    """
    from diffusers import DDPMScheduler

    if model.prediction_type not in PREDICTIONS:
        raise ModelError(
            f"{model.name}: predicts {model.prediction_type}", f"supported are {', '.join(PREDICTIONS)}"
        )
    # By way of DDPM, because samplers such as Euler change the schedule that they carry.
    schedule: Tensor = DDPMScheduler.from_config(model.scheduler.config).alphas_cumprod
    return schedule.float()


def encode(model: DiffusionModel, image: Image.Image, name: str, flip: bool = False) -> Query:
    """The moments of a picture's latents, computed once; with `flip`, those of its mirror image too.

    Raises:
        NonFiniteError: the VAE gave NaN or infinite numbers.
    """
    views = [image, ImageOps.mirror(image)] if flip else [image]
    with torch.no_grad():
        mean, std = encode_moments(model.vae, to_pixels(views, model.device).to(model.dtype))
    mean, std = mean.float(), std.float()
    if not bool(torch.isfinite(mean).all() and torch.isfinite(std).all()):
        raise NonFiniteError(
            f"{name}: the VAE's latents are NaN or infinite", "try --dtype fp32: fp16 overflows in some VAEs"
        )
    return Query(name=name, key=image_key(image), mean=mean, std=std)


def make_lanes(
    model: DiffusionModel, templates: Sequence[str], start: str, token_counts: Sequence[int], pictures: int
) -> list[Lane]:
    """A lane for each picture and m, in that order; each has token ids of its own past the vocabulary.

    Raises:
        UsageError: a template with the most tokens is too long, or the initial words are unknown.
    """
    device = model.device
    prompts = {m: prompt_ids(model.tokenizer, templates, m) for m in token_counts}
    starts = {m: initial_vectors(model, start, m) for m in token_counts}

    lanes: list[Lane] = []
    first = len(model.tokenizer)  # the placeholder's ids follow the vocabulary
    for query in range(pictures):
        for m, (ids, mask, slots) in prompts.items():
            own = torch.where(ids >= slots[0], ids + (first - slots[0]), ids)
            lanes.append(
                Lane(
                    query=query,
                    m=m,
                    vectors=nn.Parameter(starts[m].clone().to(device)),
                    ids=own.to(device),
                    mask=mask.to(device),
                    slots=torch.arange(first, first + m, device=device),
                )
            )
            first += m
    return lanes


def empty_lane(model: DiffusionModel, templates: Sequence[str], query: int) -> Lane:
    """A picture at m = 0: the templates with their slots taken out, nothing to learn."""
    ids, mask = tokenize(model.tokenizer, [without_slot(template) for template in templates])
    device = model.device
    return Lane(
        query=query,
        m=0,
        vectors=nn.Parameter(torch.zeros(0, model.embedding_width, device=device)),
        ids=ids.to(device),
        mask=mask.to(device),
        slots=torch.zeros(0, dtype=torch.long, device=device),
    )


def first_equal_rows(ids: Tensor) -> Tensor:
    """For each row of ids (t, L) the first row equal to it (t,), on the CPU.

    A small vocabulary can make one prompt of several templates.
    """
    rows = [tuple(row) for row in ids.tolist()]
    return torch.tensor([rows.index(row) for row in rows])


def fixed_samples(
    model: DiffusionModel,
    query: Query,
    seed: int,
    size: int,
    alphas_cumprod: Tensor,
    prompt_rows: Tensor,
) -> Samples:
    """The samples of L_det."""
    draws = fixed_draws(
        seed,
        query.key,
        size=size,
        timesteps=len(alphas_cumprod),
        templates=len(prompt_rows),
        latent_shape=tuple(query.mean.shape[1:]),  # type: ignore[arg-type]
    )
    return make_samples(model, query, draws, alphas_cumprod, prompt_rows)


def first_micro_batch(model: DiffusionModel, samples: Samples, total: int) -> int:
    """How many of `total` samples go through the UNet at once, to begin with: what memory holds."""
    return max(1, min(total, usable_bytes(model.device) // saved_bytes(model, samples)))


def saved_bytes(model: DiffusionModel, samples: Samples) -> int:
    """Bytes that the UNet keeps of one sample for the backward pass, its weights not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.unet.parameters()}
    # Held here until all are counted, or an address would be given out again; never in the graph, which no
    # backward pass frees and which would hold itself and the weights for ever.
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage

    width = model.unet.config.cross_attention_dim
    states = torch.zeros(
        1, model.max_length, width, device=model.device, dtype=model.dtype, requires_grad=True
    )
    with torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
        model.unet(samples.noisy[:1].to(model.dtype), samples.timesteps[:1], states)
    return sum(storage.nbytes() for storage in kept.values())
