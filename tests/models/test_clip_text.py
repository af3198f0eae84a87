"""The vocabulary of a small CLIP, and what is read with it."""

from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from origcli.inversion.templates import read_templates
from origcli.models.clip_text import build_clip_tokenizer, learn_merges, read_clip
from tests.tiny_families import build

TEXTS = ("big red full circle and small blue empty star", *read_templates("object"), *read_templates("art"))
words = st.lists(st.text("abcde", min_size=1, max_size=7), min_size=1, max_size=12)


@given(words)
def test_each_word_is_one_token(texts: list[str]) -> None:
    """Merges of one word must not break another up."""
    tokenizer = build_clip_tokenizer(texts, 20)
    for word in texts:
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1, word


def test_merges_begin_with_the_most_frequent_pair() -> None:
    assert learn_merges(["abc", "abd", "ab"]) == [
        ("a", "b"),
        ("a", "b</w>"),
        ("ab", "c</w>"),
        ("ab", "d</w>"),
    ]


def test_every_text_can_be_read(tmp_path: Path) -> None:
    tokenizer = build_clip_tokenizer(TEXTS, 32)
    end = tokenizer.eos_token_id
    assert end == len(tokenizer) - 1 == tokenizer.pad_token_id
    for text in ("Ein großes Ω, 3 cats & <b>", "日本", "big red circle!"):
        ids = tokenizer(text)["input_ids"]
        assert ids.count(end) == 1 and ids[-1] == end and max(ids) < len(tokenizer), text  # none is unknown

    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert again.model_max_length == 32
    assert all(again(text)["input_ids"] == tokenizer(text)["input_ids"] for text in TEXTS)


def test_texts_are_read_as_the_pipeline_reads_them() -> None:
    """In any order, and each as often as it stands there."""
    pipe = build("sd3_without_t5")
    prompts = ["a red star", "", "a cat and a dog", "a red star"]
    ids = pipe.tokenizer(prompts, padding="max_length", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states, pooled = read_clip([pipe.text_encoder, pipe.text_encoder_2], ids)
        expected, _, summary, _ = pipe.encode_prompt(prompts, None, None, do_classifier_free_guidance=False)
    torch.testing.assert_close(states, expected[:, : ids.shape[1], : states.shape[2]])
    torch.testing.assert_close(pooled, summary)
