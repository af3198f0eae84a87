"""What the caption BERT reads while it is pre-trained."""

from collections import Counter

import torch

from origcli.models.text_encoder import build_tokenizer
from origcli.training.text_encoder import TemplatedCaptions

CAPTIONS = (
    "big red full circle",
    "big red full circle and small blue empty square",
    "big red full circle and small blue empty square and big green full star",
)
TEMPLATES = ("a photo of {S}", "one very long way to show somebody a picture of some {S} on paper")


def sentences(length: int, pair_probability: float, size: int = 200) -> TemplatedCaptions:
    tokenizer = build_tokenizer([*CAPTIONS, *TEMPLATES], length)
    return TemplatedCaptions(CAPTIONS, TEMPLATES, tokenizer, 0, size, pair_probability)


def test_the_second_of_a_pair_names_the_same_elements() -> None:
    orders = set()
    for index in range(200):
        first, second = sentences(60, 1.0).sentences(index)
        caption = max((each for each in CAPTIONS if each in first), key=len)
        assert Counter(second.split(" and ")) == Counter(caption.split(" and "))
        orders.add(second)
    assert len(orders) == 1 + 2 + 6  # every order of one, two and three elements


def test_pairs_are_as_many_as_asked_for() -> None:
    for share, least, most in ((0.0, 0, 0), (0.75, 130, 170), (1.0, 200, 200)):
        pairs = sum(len(sentences(60, share).sentences(index)) == 2 for index in range(200))
        assert least <= pairs <= most


def test_a_pair_too_long_stands_without_its_second() -> None:
    kept = sentences(24, 1.0)
    for index in range(100):
        batch = kept[index]
        first, second = kept.sentences(index)
        words = len(first.split()) + len(second.split()) + 3
        assert batch["ids"].shape[1] <= 24
        assert bool(batch["types"].any()) == (words <= 24)


def test_a_batch_is_what_its_sentences_are_alone() -> None:
    kept = sentences(60, 0.5)
    batch = kept.__getitems__([3, 4, 5, 6])
    for row, index in enumerate((3, 4, 5, 6)):
        alone = kept[index]
        length = alone["ids"].shape[1]
        for name in ("ids", "mask", "types"):
            assert torch.equal(batch[name][row, :length], alone[name][0])
        assert not batch["mask"][row, length:].any()
