"""Placeholder tokens: their names, and the token ids of a prompt that has them.

A placeholder of m vectors is m tokens, named as diffusers' `load_textual_inversion` names them:
`<origcli-cat-m3>`, `<origcli-cat-m3>_1`, `<origcli-cat-m3>_2`. Names are lower-case: tokenizers that
lower-case a prompt drop all but the first vector of any other. The names of a sweep end in `-mK>`
and not in `_K`, which the loader would take for the vectors of one token.
"""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from origcli.errors import ModelError, UsageError
from origcli.images.inputs import slug
from origcli.inversion.templates import fill
from origcli.models.pipeline import tokenize

_SLOT_TOKEN = "<origcli-slot>"


def placeholder(name: str, m: int) -> str:
    """The token that m vectors learned for a picture load under: `<origcli-NAME-mM>`."""
    return f"<origcli-{slug(name)}-m{m}>"


def vector_tokens(token: str, m: int) -> list[str]:
    """The m tokens of a placeholder, as diffusers names them."""
    return [token, *(f"{token}_{i}" for i in range(1, m))]


def check_placeholders(tokenizer: Any, names: Sequence[str], token_counts: Sequence[int]) -> None:
    """Makes sure that every placeholder is new to the tokenizer and means one thing.

    Raises:
        UsageError: two pictures share a placeholder, or the model's vocabulary has it already.
    """
    vocabulary = tokenizer.get_vocab()
    owners: dict[str, str] = {}
    for name in names:
        for m in token_counts:
            token = placeholder(name, m)
            if token in owners:
                raise UsageError(
                    f"{owners[token]!r} and {name!r} would share the placeholder {token}",
                    "give the pictures different names",
                )
            owners[token] = name
            if taken := [word for word in vector_tokens(token, m) if word in vocabulary]:
                raise UsageError(
                    f"the model's vocabulary has {taken[0]} already",
                    "use a model without embeddings of its own",
                )


def prompt_ids(tokenizer: Any, templates: Sequence[str], m: int) -> tuple[Tensor, Tensor, list[int]]:
    """Token ids of the templates with m placeholder tokens in their slots.

    The tokenizer is copied, so that its vocabulary stays as it was.

    Returns:
        ids and attention mask, both (t, L), and the m ids of the placeholder, which lie past the vocabulary.

    Raises:
        UsageError: a template with m tokens is longer than the text encoder holds.
        ModelError: the tokenizer does not keep the placeholder's tokens whole.
    """
    extended = copy.deepcopy(tokenizer)
    tokens = vector_tokens(_SLOT_TOKEN, m)
    extended.add_tokens(tokens)
    slots: list[int] = extended.convert_tokens_to_ids(tokens)
    ids, mask = tokenize(extended, [fill(template, " ".join(tokens)) for template in templates])
    for template, row in zip(templates, ids.tolist(), strict=True):
        if [i for i in row if i in slots] != slots:
            raise ModelError(f"the model's tokenizer breaks up placeholder tokens in {template!r}")
    return ids, mask, slots
