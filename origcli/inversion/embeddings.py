"""Learned vectors as files, as starting points, and as text states to draw from.

The files are described in `token_files`.
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from origcli.errors import InputError, UsageError
from origcli.inversion.placeholders import prompt_ids
from origcli.inversion.token_files import ONE, SUFFIX, TokenFacts, read_tokens, write_tokens
from origcli.models.pipeline import DiffusionModel, embedding_override, text_states
from origcli.runtime.provenance import hash_file

MEAN = "mean"
_AUTO_RATE = 2 / 3


def save_embeddings(path: Path, token: str, vectors: Tensor, facts: TokenFacts | None = None) -> None:
    """Writes the (m, d) vectors of a placeholder, in fp32, in one step."""
    write_tokens(path, token, {ONE: vectors}, facts)


def load_embeddings(path: Path) -> tuple[str, Tensor]:
    """The placeholder and its (m, d) vectors, fp32.

    Raises:
        InputError: the file is missing or damaged, is no safetensors, or does not hold one finite [m, d].
    """
    token, vectors = read_tokens(path)
    if ONE not in vectors:
        raise InputError(
            f"{path}: tokens of several text encoders ({', '.join(sorted(vectors))})",
            "a model with these encoders reads them; for this one, learn tokens with it: origcli invert",
        )
    return token, vectors[ONE]


def check_width(model: DiffusionModel, vectors: Tensor, name: str) -> None:
    """Makes sure that vectors were learned for a text encoder of this width.

    Raises:
        UsageError: they were not.
    """
    if vectors.shape[1] != model.embedding_width:
        raise UsageError(
            f"{name}: vectors of width {vectors.shape[1]} do not fit {model.name}'s {model.embedding_width}",
            "use the model that they were learned with",
        )


def spread(rows: Tensor, m: int) -> Tensor:
    """m rows (m, d) of k rows (k, d), over and over from the first."""
    return rows[torch.arange(m) % len(rows)].clone()


def initial_vectors(model: DiffusionModel, start: str, m: int) -> Tensor:
    """Where the m vectors start, (m, d) fp32 on the CPU.

    Args:
        start: `mean`, the mean of the vocabulary; an embeddings file, by its `.safetensors` ending; else
            a word or phrase, whose tokens are taken over and over until there are m.

    Raises:
        UsageError: the phrase has words that the text encoder does not know, or the file is of another width.
        InputError: the file cannot be read.
    """
    table = model.text_encoder.get_input_embeddings().weight.detach().float().cpu()
    if start == MEAN:
        return table.mean(0).repeat(m, 1)
    if start.endswith(SUFFIX):
        vectors = load_embeddings(Path(start))[1]
        check_width(model, vectors, start)
        return spread(vectors, m)
    ids: list[int] = model.tokenizer(start, add_special_tokens=False)["input_ids"]
    unknown = model.tokenizer.unk_token_id
    # CLIP's unknown token is also its end of text, which no word of a prompt becomes.
    if not ids or unknown in ids:
        raise UsageError(
            f"{start!r}: not words that {model.name} knows", f"start from other words, or {MEAN!r}"
        )
    return spread(table[ids], m)


def start_facts(start: str) -> str:
    """What a start is known by: the hash of its file, which may be edited, else its words."""
    return hash_file(Path(start)) if start.endswith(SUFFIX) else start


def learning_rate(model: DiffusionModel, rate: float | Literal["auto"]) -> float:
    """Adam's learning rate; `auto` is two thirds of the root mean square of the vocabulary's vectors.

    Adam moves every number by about its rate a step. Text encoders differ in the size of their word vectors
    (BERT's here 0.060, CLIP's of Stable Diffusion 1.5 near 0.014), so one number cannot suit them all. The
    factor is measured: with the bundled model 1/12 to 1/3 leave two tokens short of two elements in 250
    steps, 2/3 does not.
    """
    if rate != "auto":
        return rate
    table = model.text_encoder.get_input_embeddings().weight.detach().float()
    return _AUTO_RATE * float(table.square().mean().sqrt())


def states(model: DiffusionModel, template: str, vectors: Tensor) -> Tensor:
    """Text states (L, d) of a prompt with learned vectors in its slot, to draw from.

    Args:
        template: e.g. `a photo of {S}`.
        vectors: (m, d).

    Raises:
        UsageError: the prompt is too long, or the vectors are of another model.
    """
    check_width(model, vectors, template)
    ids, mask, slots = prompt_ids(model.tokenizer, [template], len(vectors))
    with torch.no_grad(), embedding_override(model.text_encoder, slots, vectors.to(model.device)):
        return text_states(model.text_encoder, ids, mask)[0]
