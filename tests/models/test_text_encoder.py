"""The caption vocabulary and BERT directories."""

from pathlib import Path

import pytest
import torch
from transformers import BertModel

from origcli.errors import ModelError
from origcli.models.text_encoder import build_bert_config, build_tokenizer, load_bert, text_states, tokenize
from origcli.runtime.context import Runtime
from origcli.runtime.device import autocast
from origcli.settings import resolve
from origcli.weights.registry import bert_directory


def test_every_word_of_the_texts_is_one_token_and_nothing_is_unknown() -> None:
    tokenizer = build_tokenizer(["big red full circle", "A photo of {S}."], 16)
    for word in ("big", "red", "full", "circle", "a", "photo", "of"):
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1
    ids = tokenizer("xylophone, a photo 7")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.model_max_length == 16


def test_a_new_token_gets_one_id_past_the_vocabulary() -> None:
    tokenizer = build_tokenizer(["a cat"], 16)
    size = len(tokenizer)
    tokenizer.add_tokens(["<origcli-cat-m1>"])
    assert tokenizer("a <origcli-cat-m1>", add_special_tokens=False)["input_ids"][-1] == size


def test_a_saved_bert_comes_back_frozen(tmp_path: Path) -> None:
    settings = resolve({"text_encoder": {"width": 16, "heads": 2}}, environment={})[0].text_encoder
    tokenizer = build_tokenizer(["a cat"], settings.max_length)
    encoder = BertModel(build_bert_config(settings, len(tokenizer)))
    encoder.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    loaded, words = load_bert(tmp_path / "bert", 20)
    assert loaded.config.use_attention_mask
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert words.model_max_length == 20
    assert words("a cat")["input_ids"] == tokenizer("a cat")["input_ids"]
    loaded, words = load_bert(tmp_path / "bert", settings.max_length)
    loaded.save_pretrained(tmp_path / "again")
    words.save_pretrained(tmp_path / "again")
    for path in (tmp_path / "bert").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_bert_stored_in_half_is_read_whole_and_encodes_in_bf16(tmp_path: Path) -> None:
    settings = resolve({"text_encoder": {"width": 16, "heads": 2}}, environment={})[0].text_encoder
    tokenizer = build_tokenizer(["a cat"], settings.max_length)
    encoder = BertModel(build_bert_config(settings, len(tokenizer))).half()
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, words = load_bert(tmp_path, 20)
    for name, weight in encoder.named_parameters():
        torch.testing.assert_close(loaded.get_parameter(name), weight.float(), rtol=0, atol=0)
    with autocast(torch.device("cpu"), torch.bfloat16), torch.no_grad():
        ids, mask = tokenize(words, ["a cat"])
        assert text_states(loaded, ids, mask).isfinite().all()


@pytest.mark.fault(42, "a BERT without its vocabulary, or of no directory at all, is refused by name")
def test_a_bert_without_a_file_is_refused(tmp_path: Path) -> None:
    settings = resolve({"text_encoder": {"width": 16, "heads": 2}}, environment={})[0].text_encoder
    tokenizer = build_tokenizer(["a cat"], settings.max_length)
    BertModel(build_bert_config(settings, len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json: missing"):
        load_bert(tmp_path, 20)
    with pytest.raises(ModelError, match="nothing-here"):
        load_bert(tmp_path / "nothing-here", 20)


def test_no_bert_here_says_how_to_get_one() -> None:
    for name in ("./nothing-here", "brt", "models/bert.safetensors"):
        with pytest.raises(ModelError, match=name) as caught:
            bert_directory(name, Runtime(offline=True))
        assert "hub id, or bert" in caught.value.hint
    with pytest.raises(ModelError) as caught:
        bert_directory("someone/bert", Runtime(offline=True))
    assert caught.value.hint.endswith("origcli fetch someone/bert")
