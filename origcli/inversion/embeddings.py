"""Learned vectors as files, as starting points, and as conditioning to draw from.

The files are described in `token_files`.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from origcli.errors import UsageError
from origcli.inversion.placeholders import filled
from origcli.inversion.token_files import SUFFIX, read_tokens
from origcli.models.conditioning import Conditioning
from origcli.models.pipeline import DiffusionModel
from origcli.models.words import Encoder, Vectors
from origcli.runtime.provenance import hash_file

MEAN = "mean"
_AUTO_RATE = 2 / 3


def count(vectors: Vectors) -> int:
    """m: how many tokens."""
    return len(next(iter(vectors.values())))


def read_several(paths: Sequence[Path]) -> dict[int, Vectors]:
    """Learned tokens from files, by m.

    Raises:
        InputError: a file cannot be read.
        UsageError: two files hold as many tokens.
    """
    tokens: dict[int, Vectors] = {}
    for path in paths:
        vectors = read_tokens(path)[1]
        m = count(vectors)
        if m in tokens:
            raise UsageError(f"{path}: another --embeddings holds {m} tokens too", "give one an m")
        tokens[m] = vectors
    return tokens


def fitted(model: DiffusionModel, vectors: Vectors, name: str) -> dict[str, Tensor]:
    """Vectors under the keys of a model's encoders.

    Raises:
        UsageError: they were learned for other encoders, or others of this width.
    """
    encoders = {encoder.key: encoder for encoder in model.words.encoders}
    if len(encoders) == len(vectors) == 1:
        vectors = dict(zip(encoders, vectors.values(), strict=True))
    remedy = "use the model that they were learned with"
    if set(vectors) != set(encoders):
        raise UsageError(
            f"{name}: vectors for {', '.join(key or 'one encoder' for key in vectors)} do not fit "
            f"{model.name}'s {', '.join(encoders)}",
            remedy,
        )
    for key, encoder in encoders.items():
        if vectors[key].shape[1] != encoder.width:
            raise UsageError(
                f"{name}: vectors of width {vectors[key].shape[1]} do not fit {model.name}'s {encoder.width}",
                remedy,
            )
    return {key: vectors[key] for key in encoders}


def cycled(rows: Tensor, m: int) -> Tensor:
    """m rows (m, d) of k rows (k, d), over and over from the first."""
    return rows[torch.arange(m) % len(rows)].clone()


def initial_vectors(model: DiffusionModel, start: str, m: int) -> dict[str, Tensor]:
    """Where the m vectors of each encoder start, (m, d) fp32 on the CPU.

    Args:
        start: `mean`, the mean of the vocabulary; an embeddings file, by its `.safetensors` ending; else
            a word or phrase, whose tokens are taken over and over until there are m.

    Raises:
        UsageError: the phrase has words that a text encoder does not know, or the file is of another width.
        InputError: the file cannot be read.
    """
    if start.endswith(SUFFIX):
        given = fitted(model, read_tokens(Path(start))[1], start)
        return {key: cycled(vectors, m) for key, vectors in given.items()}
    return {encoder.key: _initial(model, encoder, start, m) for encoder in model.words.encoders}


def _initial(model: DiffusionModel, encoder: Encoder, start: str, m: int) -> Tensor:
    table = encoder.table.float().cpu()
    if start == MEAN:
        return table.mean(0).repeat(m, 1)
    ids: list[int] = encoder.tokenizer(start, add_special_tokens=False)["input_ids"]
    unknown = encoder.tokenizer.unk_token_id
    # CLIP's unknown token is also its end of text, which no word of a prompt becomes.
    if not ids or unknown in ids:
        raise UsageError(
            f"{start!r}: not words that {model.name} knows", f"start from other words, or {MEAN!r}"
        )
    return cycled(table[ids], m)


def hash_vectors(vectors: Vectors) -> str:
    """sha256 of vectors, one encoder's after the other's; fp32, on the CPU."""
    data = (rows.contiguous().numpy().tobytes() for rows in vectors.values())
    return hashlib.sha256(b"".join(data)).hexdigest()


def start_facts(start: str) -> str:
    """What a start is known by: the hash of its file, which may be edited, else its words."""
    return hash_file(Path(start)) if start.endswith(SUFFIX) else start


def learning_rates(model: DiffusionModel, rate: float | Literal["auto"]) -> dict[str, float]:
    """Adam's learning rate for each encoder's vectors; `auto` is two thirds of the root mean square of the
    vectors in the encoder's vocabulary.

    Adam moves every number by about its rate a step. Text encoders differ in the size of their word vectors
    (BERT's here 0.060, CLIP's of Stable Diffusion 1.5 near 0.014), so one number cannot suit them all. The
    factor is measured: with the bundled model 1/12 to 1/3 leave two tokens short of two elements in 250
    steps, 2/3 does not.
    """
    if rate != "auto":
        return {encoder.key: rate for encoder in model.words.encoders}
    return {
        encoder.key: _AUTO_RATE * float(encoder.table.float().square().mean().sqrt())
        for encoder in model.words.encoders
    }


def condition_with(model: DiffusionModel, template: str, vectors: Vectors) -> Conditioning:
    """The conditioning of a prompt with learned vectors in its slot, to draw from.

    Args:
        template: e.g. `a photo of {S}`.
        vectors: by encoder, each (m, d).

    Raises:
        UsageError: the prompt is too long, or the vectors are of another model.
    """
    own = fitted(model, vectors, template)
    prompts = filled(model.words, [template], count(own))
    there = {encoder.key: own[encoder.key].to(encoder.device) for encoder in model.words.encoders}
    with torch.no_grad(), model.words.holding(there):
        return model.family.condition(prompts)
