"""Text encoders: building and loading BERT, and the states that Stable Diffusion's shape reads."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from origcli.errors import ModelError, UsageError
from origcli.models.loading import quiet_loading
from origcli.runtime.network import no_network
from origcli.settings import TextEncoderSettings
from origcli.weights.pipelines import check_part, part_files

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PUNCTUATION = ",.-'!?:;()"


def build_tokenizer(texts: Iterable[str], max_length: int) -> Any:
    """A lower-case WordPiece tokenizer that knows every word of the texts, and every letter and digit."""
    from tokenizers import normalizers, pre_tokenizers
    from transformers import BertTokenizer

    splitter = pre_tokenizers.BertPreTokenizer()
    lower = normalizers.BertNormalizer(lowercase=True)
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(lower.normalize_str(text))}
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [
        *_SPECIAL,
        *sorted(words | set(letters) | set(_PUNCTUATION)),
        *(f"##{letter}" for letter in letters),
    ]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True)
    tokenizer.model_max_length = max_length
    return tokenizer


def build_bert_config(settings: TextEncoderSettings, vocabulary_size: int) -> Any:
    """The shape of a small BERT. It attends to real tokens alone, in training and in sampling."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.width,
        max_position_embeddings=settings.max_length,
        # Captions are drawn without end, and dropout would take numbers that no step's seed decides.
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        use_attention_mask=True,
    )


def load_bert(source: Path, max_length: int, *, tokenizer: Path | None = None) -> tuple[Any, Any]:
    """A frozen BERT in fp32 and its tokenizer, from a directory, or from one directory each.

    Raises:
        ModelError: it is not there, not BERT, not in safetensors, or incomplete.
    """
    import torch
    from transformers import BertModel, BertTokenizer

    words_at = tokenizer or source
    check_part(source, part_files("", "BertModel"))
    check_part(words_at, part_files("", "BertTokenizer"))
    try:
        with no_network(), quiet_loading():
            encoder, info = BertModel.from_pretrained(
                source,
                dtype=torch.float32,  # not as it is stored: autocast wants its weights whole
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
            words = BertTokenizer.from_pretrained(words_at, local_files_only=True)
    except Exception as error:  # transformers raises many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{source}: cannot load this text encoder: {reason}",
            "give captions, a BERT's directory or hub id, or bert after origcli fetch bert",
        ) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(f"{source}: {len(missing)} weights are missing, e.g. {missing[0]}")
    for how in ("is_local", "local_files_only"):  # how it was loaded is not to be saved with it
        words.init_kwargs.pop(how, None)
    encoder.config.use_attention_mask = True
    words.model_max_length = min(max_length, encoder.config.max_position_embeddings)
    return encoder.requires_grad_(False).eval(), words


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (n, max_length), padded.

    Raises:
        UsageError: a prompt is longer than the text encoder holds; nothing is cut off.
    """
    length = tokenizer.model_max_length
    rows = tokenizer(list(prompts), truncation=False, verbose=False)["input_ids"]
    for prompt, row in zip(prompts, rows, strict=True):
        if len(row) > length:
            raise UsageError(
                f"a prompt of {len(row)} tokens is longer than the text encoder's {length}: {prompt[:80]!r}",
                "use fewer tokens, a shorter prompt or fewer elements per image",
            )
    batch = tokenizer(list(prompts), padding="max_length", max_length=length, return_tensors="pt")
    return batch["input_ids"], batch["attention_mask"]


def text_states(text_encoder: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """States (n, L, d) that the UNet attends to, as StableDiffusionPipeline computes them.

    The mask counts only where the encoder's configuration sets `use_attention_mask`, in training
    and in sampling alike.
    """
    masked = getattr(text_encoder.config, "use_attention_mask", False)
    device = text_encoder.get_input_embeddings().weight.device
    mask = attention_mask.to(device) if masked else None
    if mask is not None and text_encoder.config.model_type == "bert":
        # In its final form already: from a flat one, transformers asks the device whether it is all ones.
        mask = mask[:, None, None, :].bool()  # (n, 1, 1, L)
    states: Tensor = text_encoder(input_ids.to(device), attention_mask=mask)[0]
    return states
