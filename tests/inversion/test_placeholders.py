"""Placeholder names, clashes, and prompts that have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import UsageError
from origcli.inversion.placeholders import check_placeholders, filled, placeholder, vector_tokens
from origcli.inversion.templates import read_templates
from origcli.models.pipeline import DiffusionModel
from origcli.models.words import Encoder, Words
from tests.tiny_models import bert_tokenizer, clip_tokenizer


@given(st.text(max_size=60), st.integers(1, 32))
def test_placeholders_are_lower_case_words_of_their_own(name: str, m: int) -> None:
    token = placeholder(name, m)
    assert token == token.lower() and token.isascii() and not token.split("-m")[-1].count("_")
    assert token.startswith("<origcli-") and token.endswith(f"-m{m}>")


def test_a_sweep_is_not_one_token_of_several_vectors_to_the_loader() -> None:
    tokens = {token for m in range(1, 6) for token in vector_tokens(placeholder("Cat", m), m)}
    assert len(tokens) == 1 + 2 + 3 + 4 + 5
    assert placeholder("Cat", 3) == "<origcli-cat-m3>"


def test_names_that_would_share_a_placeholder_are_refused(model: DiffusionModel) -> None:
    with pytest.raises(UsageError, match="'Cat' and 'cat'"):
        check_placeholders(model.words, ["Cat", "dog", "cat"], [1, 2])


@pytest.mark.fault(28, "exit 2 before anything is learned")
@pytest.mark.parametrize("make", [bert_tokenizer, clip_tokenizer])
@pytest.mark.parametrize("taken", ["<origcli-cat-m2>", "<origcli-cat-m2>_1"])
def test_a_placeholder_of_the_vocabulary_is_refused(make: type, taken: str) -> None:
    tokenizer = make()
    tokenizer.add_tokens([taken])
    words = Words([Encoder("clip", None, tokenizer, 24)])
    check_placeholders(words, ["dog"], [1, 2])
    with pytest.raises(UsageError, match=taken):
        check_placeholders(words, ["cat"], [1, 2])


def test_every_prompt_has_its_m_ids_in_order_and_the_vocabulary_stays(model: DiffusionModel) -> None:
    encoder = model.words.encoders[0]
    before = encoder.tokenizer.get_vocab()
    for first in (0, 3):
        prompts = filled(model.words, read_templates("object"), 5, first)
        slots = list(range(len(before) + first, len(before) + first + 5))
        for row in encoder.ids(prompts):
            start = row.index(slots[0])
            assert row[start : start + 5] == slots and sum(i >= len(before) for i in row) == 5
    assert encoder.tokenizer.get_vocab() == before


@pytest.mark.fault(28, "exit 2 and how many fit")
def test_more_tokens_than_fit_are_refused(model: DiffusionModel) -> None:
    length = model.words.encoders[0].length
    filled(model.words, ["{S}"], length - 2)
    with pytest.raises(UsageError, match="longer than the text encoder"):
        filled(model.words, ["{S}"], length - 1)
