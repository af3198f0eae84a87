"""What the caption BERT reads while it is pre-trained."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BertForMaskedLM

from origcli.models.text_encoder import build_bert_config, build_tokenizer
from origcli.settings import resolve
from origcli.training.text_encoder import (
    LanguageModel,
    LanguageObjective,
    TemplatedCaptions,
    accuracies,
)

CAPTIONS = (
    "big red full circle",
    "big red full circle and small blue empty square",
    "big red full circle and small blue empty square and big green full star",
)
TEMPLATES = ("a photo of {S}", "one very long way to show somebody a picture of some {S} on paper")


def sentences(
    length: int, pair_probability: float, captions: Sequence[str] = CAPTIONS, exponent: float = 1.0
) -> TemplatedCaptions:
    tokenizer = build_tokenizer([*CAPTIONS, *TEMPLATES], length)
    return TemplatedCaptions(captions, TEMPLATES, tokenizer, 0, 400, pair_probability, exponent)


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


def test_of_a_pair_too_long_those_elements_stand_that_fit() -> None:
    kept, cut = sentences(24, 1.0), Counter[int]()
    for index in range(100):
        batch = kept[index]
        first, second = kept.sentences(index)
        room = 24 - 3 - len(first.split())  # [CLS], [SEP] and [SEP]
        elements = min(second.count(" and ") + 1, (room + 1) // 5)  # four words each, "and" between
        assert batch["ids"].shape[1] <= 24
        assert int(batch["types"].sum()) == (5 * elements if elements > 0 else 0)
        cut[elements - second.count(" and ") - 1] += 1
    assert min(cut) < 0 < cut[0]


def test_captions_are_drawn_by_a_power_of_how_often_they_stand() -> None:
    common, rare = CAPTIONS[0], CAPTIONS[1]
    for exponent, expected in ((0.0, 1 / 2), (0.5, 4 / 5), (1.0, 16 / 17)):
        kept = sentences(60, 0.0, [rare, *[common] * 16], exponent)
        found = sum(rare not in kept.sentences(index)[0] for index in range(400))
        assert abs(found / 400 - expected) < 3.5 * (expected * (1 - expected) / 400) ** 0.5


def test_a_batch_is_what_its_sentences_are_alone() -> None:
    kept = sentences(60, 0.5)
    batch = kept.__getitems__([3, 4, 5, 6])
    for row, index in enumerate((3, 4, 5, 6)):
        alone = kept[index]
        length = alone["ids"].shape[1]
        for name in ("ids", "mask", "types"):
            assert torch.equal(batch[name][row, :length], alone[name][0])
        assert not batch["mask"][row, length:].any()


def language_objective(summary_weight: float) -> LanguageObjective:
    changes = {"width": 16, "layers": 1, "heads": 2, "max_length": 40, "summary_weight": summary_weight}
    settings = resolve({"text_encoder": changes}, environment={})[0].text_encoder
    tokenizer = build_tokenizer([*CAPTIONS, *TEMPLATES], 40)
    torch.manual_seed(0)
    bert = BertForMaskedLM(build_bert_config(settings, len(tokenizer)))
    return LanguageObjective(LanguageModel(bert, summary_weight > 0), tokenizer, settings)


def losses(objective: LanguageObjective, pick: float) -> dict[str, torch.Tensor]:
    """Of a pair and of a sentence that stands alone, every token masked or none."""
    kept = sentences(40, 1.0)
    pair = next(kept[i] for i in range(200) if len(kept[i]["ids"][0]) < 38 and kept[i]["types"].any())
    alone = {name: torch.where(pair["types"] == 0, rows, 0) for name, rows in pair.items()}
    batch = {name: torch.cat([pair[name], alone[name]]) for name in pair}
    shape = batch["ids"].shape
    return objective(**batch, pick=torch.full(shape, pick), how=torch.zeros(shape), word=torch.zeros(shape))


def test_sentences_alone_are_read_whole_and_spelled() -> None:
    objective = language_objective(1.0)
    masked, whole = losses(objective, 0.0), losses(objective, 1.0)
    assert masked["summary"][0] == whole["summary"][0] == 0  # a pair is not spelled
    assert masked["summary"][1] == whole["summary"][1] > 0  # what stands alone is never masked
    assert masked["loss"][0] > 0 and whole["loss"][0] == 0
    assert torch.equal(masked["loss"][1], masked["summary"][1])


def test_a_summary_teaches_the_bert_through_its_first_state_alone() -> None:
    objective = language_objective(1.0)
    seen: list[torch.Tensor] = []

    def keep(module: Any, given: Any, output: Any) -> None:
        output.last_hidden_state.retain_grad()
        seen.append(output.last_hidden_state)

    objective.model.bert.bert.register_forward_hook(keep)
    losses(objective, 1.0)["loss"].sum().backward()
    assert seen[0].grad is not None
    gradient = seen[0].grad[1].abs().sum(-1)
    assert gradient[0] > 0 and not gradient[1:].any()


def test_without_a_weight_nothing_is_spelled() -> None:
    objective = language_objective(0.0)
    assert objective.model.speller is None
    assert set(losses(objective, 0.0)) == {"loss", "accuracy"}
    assert (losses(objective, 0.0)["loss"] > 0).all()


def test_accuracies_are_of_the_sentences_that_were_asked() -> None:
    objective = language_objective(1.0)
    means = {name: term.mean().item() for name, term in losses(objective, 0.0).items()}
    assert means["whole"] == 0.5
    shares = accuracies(means)
    assert shares["masked_accuracy"] == 2 * means["accuracy"]
    assert shares["spelled_accuracy"] == 2 * means["spelling"]
    assert accuracies({"accuracy": 0.25, "loss": 1.0}) == {"masked_accuracy": 0.25}  # nothing was summed up
    assert accuracies({}) == {}
