"""A small BERT pre-trained by masked-language modeling on captions and prompt templates.

It sees no image, so what the diffusion model knows of images comes from its data set alone
(supplement 2.1 chose BERT over CLIP for that reason).

The words of a caption are independent, so filling gaps in captions alone teaches no word to know its
neighbors: "circle" need not know that it is red. English does teach that to the paper's BERT. Here it comes
from BERT's sentence pairs (Devlin et al. 2019): a caption, then the same elements in another order. A gap in
the second is filled by looking up in the first which color, size or texture went with which shape.

Words know their neighbors then, but no state knows the whole caption, as the end-of-text state of Stable
Diffusion's CLIP does. Without one, a single learned token has but its own place to tell of two elements. With
a `summary_weight`, [CLS] learns to sum up its sentence: a decoder too weak to guess has to spell it from that
state alone (RetroMAE, Xiao et al. 2022).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from origcli.inversion.templates import SLOT
from origcli.models.loading import quiet_loading
from origcli.models.text_encoder import build_bert_config, build_tokenizer, load_bert
from origcli.runtime.atomic import atomic_directory, make_directory, read_json, write_json
from origcli.runtime.context import Runtime
from origcli.runtime.distributed import is_main, wait_for_all
from origcli.runtime.plan import refuse_changes
from origcli.runtime.provenance import hash_value
from origcli.runtime.seeding import derive_seed
from origcli.scenes.captions import JOINT
from origcli.settings import OptimizerSettings, TextEncoderSettings
from origcli.training.identity import computing
from origcli.training.loop import Job, train


class Speller(nn.Module):
    """Spells a sentence from the state that sums it up: one transformer layer over that state and places."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.places = nn.Embedding(config.max_position_embeddings, width)
        self.layer = nn.TransformerEncoderLayer(
            width, config.num_attention_heads, config.intermediate_size, 0.0, "gelu", batch_first=True
        )

    def forward(self, summary: Tensor, length: int) -> Tensor:
        """States (n, length, d) of a summary (n, d)."""
        spelled: Tensor = self.layer(summary[:, None] + self.places.weight[:length])
        return spelled


class LanguageModel(nn.Module):
    """A BERT, and what spells sentences from its summaries, if it learns to make them."""

    def __init__(self, bert: Any, summaries: bool) -> None:
        super().__init__()
        self.bert = bert
        self.speller = Speller(bert.config) if summaries else None


class LanguageObjective(nn.Module):
    """Masked words, and summaries: cross-entropies, both.

    Of pairs, tokens are masked (Devlin et al. 2019): 80 % [MASK], 10 % a random word, 10 % as is. A sentence
    that stands alone is masked, too, or, with a speller, read whole and spelled from its [CLS].
    """

    def __init__(self, model: LanguageModel, tokenizer: Any, settings: TextEncoderSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.special: Tensor
        self.mask_id, self.vocabulary = tokenizer.mask_token_id, len(tokenizer)
        self.register_buffer("special", torch.tensor(tokenizer.all_special_ids), persistent=False)

    def forward(
        self, ids: Tensor, mask: Tensor, types: Tensor, pick: Tensor, how: Tensor, word: Tensor
    ) -> dict[str, Tensor]:
        """Terms, each (n,).

        Args:
            ids: (n, L); `mask`: 1 at real tokens; `types`: 1 in the second of two sentences.
            pick: uniform in [0, 1), (n, L or longer), as are `how` and `word`.
        """
        pick, how, word = (each[:, : ids.shape[1]] for each in (pick, how, word))

        special = (ids.unsqueeze(-1) == self.special).any(-1)
        whole = types.amax(1) == 0 if self.model.speller else torch.zeros_like(types[:, 0], dtype=torch.bool)
        chosen = (pick < self.settings.mask_probability) & ~special & ~whole[:, None]
        random = (word * self.vocabulary).long()
        changed = torch.where(
            how < 0.8, torch.full_like(ids, self.mask_id), torch.where(how < 0.9, random, ids)
        )

        bert = self.model.bert
        states = bert.bert(
            torch.where(chosen, changed, ids), attention_mask=mask, token_type_ids=types
        ).last_hidden_state  # (n, L, d)
        masked, accuracy = loss_and_accuracy(bert.cls(states), ids, chosen)
        if self.model.speller is None:
            return {"loss": masked, "accuracy": accuracy}

        spelled = bert.cls(self.model.speller(states[:, 0], ids.shape[1]))  # (n, L, vocabulary)
        summary, spelling = loss_and_accuracy(spelled, ids, ~special & whole[:, None])
        return {
            "loss": masked + self.settings.summary_weight * summary,
            "accuracy": accuracy,
            "summary": summary,
            "spelling": spelling,
            "whole": whole.to(summary.dtype),
        }


def loss_and_accuracy(logits: Tensor, ids: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the chosen tokens of each row, and the share that is right, both (n,)."""
    entropy = F.cross_entropy(logits.transpose(1, 2), ids, reduction="none")  # (n, L)
    count = chosen.sum(1).clamp(min=1)
    right = (logits.argmax(-1) == ids) & chosen
    return (entropy * chosen).sum(1) / count, right.sum(1) / count


class TemplatedCaptions(Dataset[Any]):
    """Sentence i, or pair of sentences i, drawn from (seed, i).

    A sentence is a caption, by itself or in a template. A pair ends with the caption again, its elements in
    another order, or those that still fit. A caption that stands n times is drawn in proportion to
    n ** exponent, as multilingual BERT draws its languages (Devlin et al. 2019): with 1 what is rare is
    never learned, with 0 nothing is common.
    """

    def __init__(
        self,
        captions: Sequence[str],
        templates: Sequence[str],
        tokenizer: Any,
        seed: int,
        size: int,
        pair_probability: float,
        exponent: float,
    ) -> None:
        counts = Counter(captions)
        self.captions, self.templates, self.seed, self.size = list(counts), templates, seed, size
        self.tokenizer, self.pair_probability = tokenizer, pair_probability
        self.ends = np.cumsum(np.fromiter(counts.values(), float) ** exponent)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])

    def sentences(self, index: int) -> tuple[str, ...]:
        """One sentence or two. Half of the first ones stand in a template."""
        choose = np.random.default_rng(derive_seed(self.seed, "sentence", index))
        caption = self.captions[int(np.searchsorted(self.ends, choose.random() * self.ends[-1], "right"))]
        first = caption
        if choose.random() >= 0.5:
            first = self.templates[int(choose.integers(len(self.templates)))].replace(SLOT, caption)

        if choose.random() >= self.pair_probability:
            return (first,)
        phrases = caption.split(JOINT)
        return first, JOINT.join(phrases[i] for i in choose.permutation(len(phrases)))

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Token ids, mask and types, (n, L), L that of the longest."""
        rows = [self._encode(self.sentences(index)) for index in indices]
        batch = self.tokenizer.pad(rows, padding="longest", return_tensors="pt")
        return {"ids": batch["input_ids"], "mask": batch["attention_mask"], "types": batch["token_type_ids"]}

    def _encode(self, sentences: tuple[str, ...]) -> Any:
        most = self.tokenizer.model_max_length
        first, again = sentences[0], sentences[1].split(JOINT) if len(sentences) > 1 else []
        while again:
            encoded = self.tokenizer(first, JOINT.join(again), verbose=False)
            if len(encoded["input_ids"]) <= most:
                return encoded
            again.pop()
        # A cut sentence still teaches words.
        return self.tokenizer(first, truncation=True, max_length=most)


def pretrain(
    captions: Sequence[str],
    templates: Sequence[str],
    settings: TextEncoderSettings,
    runtime: Runtime,
    directory: Path,
    *,
    resume: bool = False,
) -> tuple[Any, Any]:
    """A frozen BertModel and its tokenizer, written to `directory/text_encoder` and `directory/tokenizer`.

    Args:
        captions: one per image. What is said often is read often (`TemplatedCaptions`).
        templates: prompt templates with the slot `{S}`.
        resume: continue from a checkpoint; one that is finished is read.

    Raises:
        UsageError: `resume` with other settings or texts than before.
    """
    identity = {
        "settings": settings.model_dump(mode="json"),
        "seed": runtime.seed,
        "texts": hash_value([list(captions), list(templates)]),
        "computing": computing(runtime),
    }
    finished = directory / "report.json"
    if resume and finished.is_file():
        before = read_json(finished)
        made = {name: before.get(name) for name in identity}
        refuse_changes(f"{directory}: holds a text encoder of other settings", made, identity)
        return _read(directory, settings)

    make_directory(directory)
    tokenizer = build_tokenizer([*captions, *templates], settings.max_length)
    model = initial_language_model(settings, len(tokenizer), runtime.seed)

    size, length = settings.steps * settings.batch_size, settings.max_length
    job = Job(
        name="text-encoder",
        objective=LanguageObjective(model, tokenizer, settings),
        trained=model,
        samples=TemplatedCaptions(
            captions,
            templates,
            tokenizer,
            runtime.seed,
            size,
            settings.pair_probability,
            settings.frequency_exponent,
        ),
        size=size,
        randoms=lambda g, n: {name: torch.rand((n, length), generator=g) for name in ("pick", "how", "word")},
        identity=identity,
        unit="sentences",
    )
    history = train(job, _optimizer(settings), settings.steps, runtime, resume=resume, directory=directory)

    if is_main():
        encoder = _with_pooler(model.bert, runtime.seed)
        save_text_encoder(encoder, tokenizer, directory)
        last = history[-1] if history else {}
        facts = {
            "schema": "origcli.text-encoder/1",
            "steps": settings.steps,
            "captions": len(set(captions)),
            "vocabulary": len(tokenizer),
            "parameters": sum(p.numel() for p in encoder.parameters()),
            "loss": last.get("loss"),
        }
        write_json(finished, {**facts, **accuracies(last), **identity})
    wait_for_all(runtime.device)

    # As a resumed run reads it: a tokenizer that has worked remembers how it padded.
    return _read(directory, settings)


def initial_language_model(settings: TextEncoderSettings, vocabulary: int, seed: int) -> LanguageModel:
    """New random weights."""
    from transformers import BertForMaskedLM

    config = build_bert_config(settings, vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "text encoder"))
        return LanguageModel(BertForMaskedLM(config), settings.summary_weight > 0)


def _optimizer(settings: TextEncoderSettings) -> OptimizerSettings:
    return OptimizerSettings(
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        schedule="cosine",
        warmup_steps=min(100, settings.steps // 10),
        weight_decay=0.01,
        ema_decay=0.0,
        checkpoint_every=max(1, settings.steps // 4),
        sample_every=0,
    )


def accuracies(means: Mapping[str, float]) -> dict[str, float]:
    """Shares of tokens told right, from means over all sentences: masked ones, and spelled summaries.

    A sentence counts for one of the two only, so each mean is divided by its share of the sentences.
    """
    whole = means.get("whole", 0.0)
    measured = {
        "masked_accuracy": (means.get("accuracy"), 1 - whole),
        "spelled_accuracy": (means.get("spelling"), whole),
    }
    return {name: mean / share for name, (mean, share) in measured.items() if mean is not None and share > 0}


def _read(directory: Path, settings: TextEncoderSettings) -> tuple[Any, Any]:
    """The text encoder and the tokenizer that a run left."""
    return load_bert(directory / "text_encoder", settings.max_length, tokenizer=directory / "tokenizer")


def _with_pooler(bert: Any, seed: int) -> Any:
    """The trained encoder as a whole BertModel.

    Nothing reads its pooler, which language modeling does not train, but a file without one would get
    random weights, other ones each time, wherever it is loaded.
    """
    from transformers import BertModel

    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "pooler"))
        encoder = BertModel(bert.config)
    encoder.load_state_dict(bert.bert.float().state_dict(), strict=False)
    return encoder.requires_grad_(False).eval()


def save_text_encoder(encoder: Any, tokenizer: Any, directory: Path) -> None:
    """Writes `text_encoder/` and `tokenizer/`."""
    for name, part in (("text_encoder", encoder), ("tokenizer", tokenizer)):
        with atomic_directory(directory / name) as partial, quiet_loading():
            part.save_pretrained(partial)
