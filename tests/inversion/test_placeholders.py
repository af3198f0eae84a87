"""Placeholder names, clashes, and token ids of prompts that have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origcli.errors import UsageError
from origcli.inversion.placeholders import check_placeholders, placeholder, prompt_ids, vector_tokens
from origcli.inversion.templates import read_templates
from origcli.models.pipeline import DiffusionModel
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
        check_placeholders(model.tokenizer, ["Cat", "dog", "cat"], [1, 2])


@pytest.mark.fault(28, "exit 2 before anything is learned")
@pytest.mark.parametrize("make", [bert_tokenizer, clip_tokenizer])
@pytest.mark.parametrize("taken", ["<origcli-cat-m2>", "<origcli-cat-m2>_1"])
def test_a_placeholder_of_the_vocabulary_is_refused(make: type, taken: str) -> None:
    tokenizer = make()
    tokenizer.add_tokens([taken])
    check_placeholders(tokenizer, ["dog"], [1, 2])
    with pytest.raises(UsageError, match=taken):
        check_placeholders(tokenizer, ["cat"], [1, 2])


def test_every_prompt_has_its_m_ids_in_order_and_the_vocabulary_stays(model: DiffusionModel) -> None:
    before = model.tokenizer.get_vocab()
    ids, mask, slots = prompt_ids(model.tokenizer, read_templates("object"), 5)
    assert ids.shape == mask.shape == (27, model.max_length)
    assert slots == list(range(len(before), len(before) + 5))
    for row in ids.tolist():
        start = row.index(slots[0])
        assert row[start : start + 5] == slots and sum(i >= len(before) for i in row) == 5
    assert model.tokenizer.get_vocab() == before


@pytest.mark.fault(28, "exit 2 and how many fit")
def test_more_tokens_than_fit_are_refused(model: DiffusionModel) -> None:
    prompt_ids(model.tokenizer, ["{S}"], model.max_length - 2)
    with pytest.raises(UsageError, match="longer than the text encoder"):
        prompt_ids(model.tokenizer, ["{S}"], model.max_length - 1)
