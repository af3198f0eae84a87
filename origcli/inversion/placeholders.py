"""Placeholder tokens: their names, and the token ids of a prompt that has them.

A placeholder of m vectors is m tokens, named as diffusers' `load_textual_inversion` names them:
`<origcli-cat-m3>`, `<origcli-cat-m3>_1`, `<origcli-cat-m3>_2`. Names are lower-case: tokenizers that
lower-case a prompt drop all but the first vector of any other. The names of a sweep end in `-mK>`
and not in `_K`, which the loader would take for the vectors of one token.
"""

from collections.abc import Sequence

from origcli.errors import UsageError
from origcli.images.inputs import slug
from origcli.inversion.templates import fill
from origcli.models.words import Words


def placeholder(name: str, m: int) -> str:
    """The token that m vectors learned for an image load under: `<origcli-NAME-mM>`."""
    return f"<origcli-{slug(name)}-m{m}>"


def vector_tokens(token: str, m: int) -> list[str]:
    """The m tokens of a placeholder, as diffusers names them."""
    return [token, *(f"{token}_{i}" for i in range(1, m))]


def check_placeholders(words: Words, names: Sequence[str], token_counts: Sequence[int]) -> None:
    """Makes sure that every placeholder is new to the tokenizers and means one thing.

    Raises:
        UsageError: two images share a placeholder, or the model's vocabulary has it already.
    """
    vocabulary = {word for encoder in words.encoders for word in encoder.tokenizer.get_vocab()}
    owners: dict[str, str] = {}
    for name in names:
        for m in token_counts:
            token = placeholder(name, m)
            if token in owners:
                raise UsageError(
                    f"{owners[token]!r} and {name!r} would share the placeholder {token}",
                    "give the images different names",
                )
            owners[token] = name
            if taken := [word for word in vector_tokens(token, m) if word in vocabulary]:
                raise UsageError(
                    f"the model's vocabulary has {taken[0]} already",
                    "use a model without such tokens",
                )


def filled(words: Words, templates: Sequence[str], m: int, first: int = 0) -> tuple[str, ...]:
    """The templates with the placeholders first … first + m − 1 in their slots.

    Raises:
        UsageError: a template with m tokens is longer than a text encoder holds.
        ModelError: a tokenizer does not keep the placeholders whole.
    """
    names = words.names(first, m)
    prompts = tuple(fill(template, " ".join(names)) for template in templates)
    words.check(prompts, names)
    return prompts
