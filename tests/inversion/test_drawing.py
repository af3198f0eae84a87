"""What `draw` says of prompts that the model will not understand."""

from origcli.inversion.drawing import remarks
from tests.tiny_models import bert_tokenizer, clip_tokenizer


def test_unknown_words_and_placeholders_without_vectors_are_said_once() -> None:
    found = remarks(bert_tokenizer(), ["a cat ☃", "☃ and {S}", "<origcli-cat-m2> with a dog"])
    assert found == [
        "☃: a word that the model does not know",
        "<origcli-cat-m2>: read as plain text; write {S} instead and add --embeddings FILE",
    ]


def test_what_is_known_is_not_remarked_on() -> None:
    tokenizer = bert_tokenizer()
    tokenizer.add_tokens(["<mine>"])
    assert remarks(tokenizer, ["a photo of a cat", "a <mine> with {S}", ""]) == []
    assert remarks(clip_tokenizer(), ["a photo of ☃"]) == []  # CLIP spells every word
