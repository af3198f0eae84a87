"""Small text encoders of CLIP's shape and their vocabulary: how Stable Diffusion 3 reads its prompts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from origcli.settings import TransformerSettings

_HEAD = 32  # width of an attention head
_END = "</w>"  # behind the last letter of a word
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def build_clip_tokenizer(texts: Iterable[str], max_length: int) -> Any:
    """A CLIPTokenizer to which every word of the texts is one token, and every other word some tokens.

    As CLIP's own, it begins with all bytes, inside a word and at its end, so nothing is unknown.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    reader = CLIPTokenizer().backend_tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        words = reader.pre_tokenizer.pre_tokenize_str(reader.normalizer.normalize_str(text))
        counts.update(word for word, _ in words)
    merges = learn_merges(counts)
    letters = sorted(ByteLevel.alphabet())
    pieces = [
        *letters,
        *(letter + _END for letter in letters),
        *("".join(pair) for pair in merges),
        *_SPECIAL,
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_length)


def learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges that make each word one token (Sennrich et al. 2016): the most frequent pair first."""
    spelled = [[*word[:-1], word[-1] + _END] for word in sorted(set(words))]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for symbols in spelled for pair in pairwise(symbols)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_merged(symbols, best) for symbols in spelled]
    return merges


def _merged(symbols: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Symbols with each occurrence of a pair, from the left, made one."""
    joined: list[str] = []
    rest = list(symbols)
    while rest:
        size = 2 if tuple(rest[:2]) == pair else 1
        joined.append("".join(rest[:size]))
        del rest[:size]
    return joined


def build_clip_text(settings: TransformerSettings, width: int, tokenizer: Any) -> Any:
    """A randomly initialized CLIPTextModelWithProjection."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=settings.text_layers,
            num_attention_heads=max(1, width // _HEAD),
            intermediate_size=4 * width,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def read_clip(encoders: Sequence[Any], ids: Tensor) -> tuple[Tensor, Tensor]:
    """What Stable Diffusion 3 takes from its CLIPs: states (n, L, d) and pooled vectors (n, d) of ids (n, L).

    The states are those before the last layer; of all encoders, side by side. Each distinct text is read
    once.
    """
    texts, which = torch.unique(ids, dim=0, return_inverse=True)
    read = [encoder(texts, output_hidden_states=True) for encoder in encoders]
    states = torch.cat([output.hidden_states[-2] for output in read], -1)
    pooled = torch.cat([output.text_embeds for output in read], -1)
    return states[which], pooled[which]
