"""CLIP's vocabulary as a tokenizer, from the list of merges that open_clip ships."""

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from origcli.errors import ModelError

_FILE = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2  # the rest of the file is not used
_START, _END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77


def clip_tokenizer(pad: str = _END) -> Any:
    """A CLIP tokenizer, offline: 49,408 tokens, prompts of 77.

    Args:
        pad: the token that fills a prompt up: the end of text for the encoder of OpenAI, `!` (token 0) for
            those of OpenCLIP.

    Raises:
        ModelError: open_clip is not installed as its package ships it.
    """
    from transformers import CLIPTokenizer

    merges = _merges()
    letters = _letters()
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, _START, _END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=LENGTH)


def _merges() -> list[tuple[str, str]]:
    # Found without importing open_clip, which takes seconds.
    package = find_spec("open_clip")
    path = Path(package.origin).parent / _FILE if package is not None and package.origin else Path(_FILE)
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
        pairs = [(left, right) for left, right in (line.split() for line in lines[1 : _MERGES + 1])]
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: cannot read CLIP's vocabulary: {error}",
            "install open_clip_torch again, or give --config DIR",
        ) from error
    return pairs


def _letters() -> list[str]:
    """A visible character for each of the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    hidden = len([byte for byte in range(256) if byte not in printable])
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(hidden)]
