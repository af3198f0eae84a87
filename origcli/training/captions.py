"""The ways of putting a caption: by itself, in the prompt of the measure, in prompts of textual inversion.

Tokens are learned in such prompts: words that the denoiser never saw around a caption would cost the
learned tokens something, and not always the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from origcli.inversion.templates import fill, read_templates, without_slot

_PHOTO = "a photo of {S}"  # the prompt of the measure (supplement 6.2)
_TEMPLATES_A_CAPTION = 3  # beside it, of the prompts of textual inversion


@dataclass(frozen=True)
class Ways:
    """Captions, and the prompts that they are put in.

    Attributes:
        prompts: all captions, once for each way of putting them; the first way is the caption alone.
        dropped: what is left of each template without a caption; the first is the empty prompt.
        templates: (captions, ways): the row of `dropped` for each caption and way.
    """

    prompts: tuple[tuple[str, ...], ...]
    dropped: tuple[str, ...]
    templates: np.ndarray[Any, np.dtype[np.int64]]


def put_captions(captions: Sequence[str], template_probability: float, tokenizer: Any) -> Ways:
    """The prompts of captions; by themselves alone where no template is ever taken.

    Args:
        tokenizer: says how long a prompt may be.
    """
    templates, of_way = ["{S}"], np.zeros((len(captions), 1), np.int64)
    if template_probability:
        templates += [_PHOTO, *read_templates("object")]
        of_way = ways_to_put(captions, templates, tokenizer)
    prompts = tuple(
        tuple(_put(caption, templates[row]) for caption, row in zip(captions, way, strict=True))
        for way in of_way.T
    )
    return Ways(prompts, tuple(_put("", template) for template in templates), of_way)


def ways_to_put(
    captions: Sequence[str], templates: Sequence[str], tokenizer: Any
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The templates of each caption, (captions, ways): the first two, and some of the rest in turn.

    A template that would make a caption longer than the text encoder holds gives way to the first one.

    Args:
        templates: the bare `{S}`, the prompt of the measure, and others.
    """
    bare = np.zeros((len(captions), 1), np.int64)
    others = len(templates) - 2
    turn = np.arange(len(captions) * _TEMPLATES_A_CAPTION).reshape(len(captions), -1) % others
    ways = np.concatenate([bare, bare + 1, turn + 2], axis=1)
    for way in ways.T[1:]:
        put = [_put(caption, templates[row]) for caption, row in zip(captions, way, strict=True)]
        lengths = [len(ids) for ids in tokenizer(put, truncation=False, verbose=False)["input_ids"]]
        way[np.array(lengths) > tokenizer.model_max_length] = 0
    return ways


def _put(caption: str, template: str) -> str:
    """A caption in a template; of the template alone where there is no caption."""
    return fill(template, caption) if caption else without_slot(template)


def choose_way(uniform: Tensor, template_probability: float, ways: int) -> Tensor:
    """Which way a caption is put, (n,): 0, by itself, or with `template_probability` one of the others.

    Args:
        uniform: in [0, 1), (n,).
        ways: how many there are, the bare caption counted.
    """
    if ways == 1:
        return torch.zeros_like(uniform, dtype=torch.long)
    others = ways - 1
    return torch.where(
        uniform < template_probability,
        1 + (uniform / max(template_probability, 1e-12) * others).long().clamp(max=others - 1),
        0,
    )


def choose_part(uniform: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Whether a text's summary alone tells of the caption, and whether all but the summary do, both (n,).

    Each with half the probability, as Stable Diffusion 3 (Esser et al. 2024) learns to draw from any of its
    text encoders.

    Args:
        uniform: in [0, 1), (n,).
    """
    return uniform < probability / 2, uniform >= 1 - probability / 2
