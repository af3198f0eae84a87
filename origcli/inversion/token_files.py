"""Learned tokens as files that other programs load.

A file is safetensors in fp32. Tokens for one text encoder have one key, the placeholder, with a tensor of
shape [m, d]. Tokens for several encoders have a key for each: `clip_l`, `clip_g`, `t5xxl`. ComfyUI, A1111 and
Forge read these names; diffusers reads one key at a time. FLUX's T5 goes by `t5xxl` in ComfyUI and by `t5` in
OneTrainer and diffusers' scripts, so its tensor is written under both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import origcli
from origcli.errors import InputError
from origcli.models.checkpoints import save_tensors

SUFFIX = ".safetensors"
ENCODERS = ("clip_l", "clip_g", "t5xxl")
_T5, _T5_OTHER_NAME = "t5xxl", "t5"
_PLACEHOLDER = "placeholder"
_UNNAMED = "emb_params"  # the only key of A1111's and kohya's files, whose word is the file's name
ONE = ""  # the key of vectors whose file does not say for which encoder they are


@dataclass(frozen=True)
class TokenFacts:
    """What tokens were learned with; it goes into the file's metadata.

    Attributes:
        model: the model's name.
        weights_hash: of the model's files.
        steps: learning steps.
        seed: of the run.
    """

    model: str
    weights_hash: str
    steps: int
    seed: int


def write_tokens(
    path: Path, token: str, vectors: Mapping[str, Tensor], facts: TokenFacts | None = None
) -> None:
    """Writes the vectors of a placeholder, in one step. Equal contents give equal bytes.

    Args:
        token: the placeholder.
        vectors: (m, d) by the key of the encoder; of one encoder the key does not count.
    """
    tensors = {key: tensor.detach().float() for key, tensor in vectors.items()}
    first = next(iter(tensors.values()))
    metadata = {"format": "pt", _PLACEHOLDER: token, "tokens": str(len(first))}
    metadata["origcli_version"] = origcli.__version__
    if facts is not None:
        metadata |= {
            "base_model": facts.model,
            "base_model_hash": facts.weights_hash,
            "steps": str(facts.steps),
            "seed": str(facts.seed),
        }
    if len(tensors) == 1:
        tensors = {token: first}
    elif _T5 in tensors and "clip_g" not in tensors:
        tensors[_T5_OTHER_NAME] = tensors[_T5].clone()
    save_tensors(path, tensors, metadata)


def read_tokens(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The placeholder and its (m, d) vectors, fp32, by encoder.

    Vectors of one encoder are under the key `ONE`. A file that does not name its placeholder has the word
    that other programs give it: the file's name.

    Raises:
        InputError: the file is missing or damaged, is no safetensors, or does not hold finite [m, d] tensors
            of one m.
    """
    if path.suffix != SUFFIX:
        raise InputError(
            f"{path}: not a {SUFFIX} file; others can run code when they are read",
            "convert it once, if you trust it: docs/formats.md, tokens of other programs",
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot read the embeddings: {error}") from error
    tensors = {name: _matrix(path, name, tensor) for name, tensor in tensors.items()}
    word = metadata.get(_PLACEHOLDER) or path.stem
    if len(tensors) == 1:
        name, vectors = next(iter(tensors.items()))
        return (word if name in (_UNNAMED, *ENCODERS, _T5_OTHER_NAME) else name), {ONE: vectors}
    return word, _by_encoder(path, tensors)


def _by_encoder(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    other = tensors.pop(_T5_OTHER_NAME, None)
    if other is not None and not torch.equal(other, tensors.setdefault(_T5, other)):
        raise InputError(f"{path}: {_T5} and {_T5_OTHER_NAME} differ, and are names of one encoder")
    if not tensors or not tensors.keys() <= set(ENCODERS):
        raise InputError(
            f"{path}: holds {len(tensors)} tensors, not one placeholder's",
            f"tokens of several text encoders are called {', '.join(ENCODERS)}",
        )
    if len(counts := {len(vectors) for vectors in tensors.values()}) != 1:
        raise InputError(f"{path}: its tensors are of {' and '.join(map(str, sorted(counts)))} tokens")
    return {key: tensors[key] for key in ENCODERS if key in tensors}


def _matrix(path: Path, name: str, tensor: Tensor) -> Tensor:
    vectors = torch.atleast_2d(tensor.float())
    if vectors.ndim != 2 or not vectors.numel() or not bool(torch.isfinite(vectors).all()):
        raise InputError(f"{path}: {name} is not a finite [m, d] tensor, but {list(vectors.shape)}")
    return vectors
