"""What inversion needs before its first step: latents of the images, prompts of the lanes."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from origcli.errors import NonFiniteError
from origcli.inversion.denoising import Lane, Posterior, Samples, make_samples
from origcli.inversion.draws import fixed_draws
from origcli.inversion.embeddings import initial_vectors
from origcli.inversion.placeholders import filled
from origcli.inversion.templates import without_slot
from origcli.models.pipeline import DiffusionModel
from origcli.models.vae import OVERFLOW_HINT, to_pixels
from origcli.runtime.machine import usable_bytes
from origcli.runtime.memory import is_out_of_memory, release


def image_key(image: Image.Image) -> str:
    """Hash of an image's pixels: equal images draw equal random numbers, whatever they are called."""
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()[:32]


def encode(model: DiffusionModel, image: Image.Image, name: str, flip: bool = False) -> Posterior:
    """The moments of an image's latents, computed once; with `flip`, those of its mirror image too.

    Raises:
        NonFiniteError: the VAE gave NaN or infinite numbers.
    """
    views = [image, ImageOps.mirror(image)] if flip else [image]
    with torch.no_grad():
        mean, std = model.family.encode(to_pixels(views, model.device))
    mean, std = mean.float(), std.float()
    if not bool(torch.isfinite(mean).all() and torch.isfinite(std).all()):
        raise NonFiniteError(f"{name}: the VAE's latents are NaN or infinite", OVERFLOW_HINT)
    return Posterior(name=name, key=image_key(image), mean=mean, std=std)


def make_lanes(
    model: DiffusionModel, templates: Sequence[str], start: str, token_counts: Sequence[int], images: int
) -> list[Lane]:
    """A lane for each image and m, in that order; each has placeholders of its own.

    Raises:
        UsageError: a template with the most tokens is too long, or the initial words are unknown.
    """
    starts = {m: initial_vectors(model, start, m) for m in token_counts}
    lanes: list[Lane] = []
    first = 0
    for image in range(images):
        for m in token_counts:
            lanes.append(
                Lane(
                    image=image,
                    m=m,
                    vectors={
                        key: nn.Parameter(vectors.clone().to(model.device))
                        for key, vectors in starts[m].items()
                    },
                    prompts=filled(model.words, templates, m, first),
                    first=first,
                )
            )
            first += m
    return lanes


def empty_lane(templates: Sequence[str], image: int) -> Lane:
    """An image at m = 0: the templates with their slots taken out, nothing to learn."""
    prompts = tuple(without_slot(template) for template in templates)
    return Lane(image=image, m=0, vectors={}, prompts=prompts, first=0)


def fixed_samples(
    model: DiffusionModel,
    posterior: Posterior,
    seed: int,
    size: int,
    prompt_rows: Tensor,
) -> Samples:
    """The samples of L_det."""
    draws = fixed_draws(
        seed,
        posterior.key,
        size=size,
        noising=model.noising,
        templates=len(prompt_rows),
        latent_shape=tuple(posterior.mean.shape[1:]),  # type: ignore[arg-type]
    )
    return make_samples(model, posterior, draws, prompt_rows)


def first_micro_batch(
    model: DiffusionModel, samples: Samples, total: int, say: Callable[[str], None] = lambda message: None
) -> int:
    """How many of `total` samples go through the denoiser at once, to begin with: what memory holds.

    Where it does not hold one, the denoiser is set to keep less and to compute the rest again.
    """
    free = usable_bytes(model.device)
    needed = _saved_or_more(model, samples, free)
    if needed > free and model.family.compute_again():
        say("little memory: layers are computed again on the way back (gradient checkpointing)")
        needed = _saved_or_more(model, samples, free)
    return max(1, min(total, free // needed))


def _saved_or_more(model: DiffusionModel, samples: Samples, free: int) -> int:
    """`saved_bytes`, and more than is free where memory runs out while they are counted."""
    try:
        return max(1, saved_bytes(model, samples))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release()
    return free + 1


def saved_bytes(model: DiffusionModel, samples: Samples) -> int:
    """Bytes that the denoiser keeps of one sample for the backward pass, its weights not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.denoiser.parameters()}
    # Held here until all are counted, or an address would be given out again; never in the graph, which no
    # backward pass frees and which would hold itself and the weights for ever.
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage

    given = model.unconditional.learnable()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
        model.family.predict(samples.noisy[:1], samples.times[:1], given)
    return sum(storage.nbytes() for storage in kept.values())
