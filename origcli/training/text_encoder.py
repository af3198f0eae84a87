"""A small BERT pre-trained by masked-language modelling on captions and prompt templates.

It sees no picture, so what the diffusion model knows of pictures comes from its data set alone
(supplement 2.1 chose BERT over CLIP for that reason).

The words of a caption are independent, so filling gaps in captions alone teaches no word to know its
neighbours: "circle" need not know that it is red. English does teach that to the paper's BERT. Here it comes
from BERT's sentence pairs (Devlin et al. 2019): a caption, then the same elements in another order. A gap in
the second is filled by looking up in the first which colour, size or texture went with which shape.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from origcli.models.checkpoints import atomic_directory, quiet_loading
from origcli.models.text_encoder import build_bert_config, build_tokenizer, load_bert
from origcli.runtime.context import Runtime
from origcli.runtime.distributed import is_main, wait_for_all
from origcli.runtime.provenance import hash_value
from origcli.runtime.run_directory import make_directory, read_json, write_json
from origcli.runtime.seeding import derive_seed
from origcli.scenes.captions import JOINT
from origcli.settings import OptimizerSettings, TextEncoderSettings
from origcli.training.identity import computing, refuse_changes
from origcli.training.loop import Job, train

_SLOT = "{S}"


class MaskedLanguageObjective(nn.Module):
    """Cross-entropy of masked tokens (Devlin et al. 2019): 80 % [MASK], 10 % a random word, 10 % as is."""

    def __init__(self, bert: Any, tokenizer: Any, mask_probability: float) -> None:
        super().__init__()
        self.bert, self.mask_probability = bert, mask_probability
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
        chosen = (pick < self.mask_probability) & ~special
        random = (word * self.vocabulary).long()
        changed = torch.where(
            how < 0.8, torch.full_like(ids, self.mask_id), torch.where(how < 0.9, random, ids)
        )
        logits = self.bert(
            torch.where(chosen, changed, ids), attention_mask=mask, token_type_ids=types
        ).logits  # (n, L, vocabulary)
        entropy = F.cross_entropy(logits.transpose(1, 2), ids, reduction="none")  # (n, L)
        count = chosen.sum(1).clamp(min=1)
        right = (logits.argmax(-1) == ids) & chosen
        return {"loss": (entropy * chosen).sum(1) / count, "accuracy": right.sum(1) / count}


class TemplatedCaptions(Dataset[Any]):
    """Sentence i, or pair of sentences i, drawn from (seed, i).

    A sentence is a caption, by itself or in a template. A pair ends with the caption again, its elements in
    another order.
    """

    def __init__(
        self,
        captions: Sequence[str],
        templates: Sequence[str],
        tokenizer: Any,
        seed: int,
        size: int,
        pair_probability: float,
    ) -> None:
        self.captions, self.templates, self.seed, self.size = captions, templates, seed, size
        self.tokenizer, self.pair_probability = tokenizer, pair_probability

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])

    def sentences(self, index: int) -> tuple[str, ...]:
        """One sentence or two. Half of the first ones stand in a template."""
        choose = np.random.default_rng(derive_seed(self.seed, "sentence", index))
        caption = self.captions[int(choose.integers(len(self.captions)))]
        first = caption
        if choose.random() >= 0.5:
            first = self.templates[int(choose.integers(len(self.templates)))].replace(_SLOT, caption)
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
        encoded = self.tokenizer(*sentences, verbose=False)
        if len(encoded["input_ids"]) <= self.tokenizer.model_max_length:
            return encoded
        # A pair too long stands without its second; a cut sentence still teaches words.
        return self.tokenizer(sentences[0], truncation=True, max_length=self.tokenizer.model_max_length)


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
        captions: distinct captions.
        templates: prompt templates with the slot `{S}`.
        resume: go on with a checkpoint; one that is finished is read.

    Raises:
        UsageError: `resume` with other settings or texts than before.
    """
    from transformers import BertForMaskedLM

    identity = {
        "settings": settings.model_dump(mode="json"),
        "seed": runtime.seed,
        "texts": hash_value([list(captions), list(templates)]),
        "computing": computing(runtime),
    }
    finished = directory / "report.json"
    if resume and finished.is_file():
        before = read_json(finished)
        refuse_changes({name: before.get(name) for name in identity}, identity, frozenset())
        return _read(directory, settings)
    make_directory(directory)
    tokenizer = build_tokenizer([*captions, *templates], settings.max_length)
    config = build_bert_config(settings, len(tokenizer))
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(runtime.seed, "text encoder"))
        bert = BertForMaskedLM(config)
    length = settings.max_length
    optimizer = OptimizerSettings(
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        schedule="cosine",
        warmup_steps=min(100, settings.steps // 10),
        weight_decay=0.01,
        ema_decay=0.0,
        checkpoint_every=max(1, settings.steps // 4),
        sample_every=0,
    )
    size = settings.steps * settings.batch_size
    job = Job(
        name="text-encoder",
        objective=MaskedLanguageObjective(bert, tokenizer, settings.mask_probability),
        trained=bert,
        samples=TemplatedCaptions(
            captions, templates, tokenizer, runtime.seed, size, settings.pair_probability
        ),
        size=size,
        randoms=lambda g, n: {name: torch.rand((n, length), generator=g) for name in ("pick", "how", "word")},
        identity=identity,
        unit="sentences",
    )
    history = train(job, optimizer, settings.steps, runtime, resume=resume, directory=directory)
    if is_main():
        encoder = _with_pooler(bert, runtime.seed)
        save_text_encoder(encoder, tokenizer, directory)
        last = history[-1] if history else {}
        write_json(
            finished,
            {
                "schema": "origcli.text-encoder/1",
                "steps": settings.steps,
                "captions": len(captions),
                "vocabulary": len(tokenizer),
                "parameters": sum(p.numel() for p in encoder.parameters()),
                "loss": last.get("loss"),
                "masked_accuracy": last.get("accuracy"),
                **identity,
            },
        )
    wait_for_all(runtime.device)
    # As a resumed run reads it: a tokenizer that has worked remembers how it padded.
    return _read(directory, settings)


def _read(directory: Path, settings: TextEncoderSettings) -> tuple[Any, Any]:
    """The text encoder and the tokenizer that a run left."""
    encoder, tokenizer = (str(directory / name) for name in ("text_encoder", "tokenizer"))
    return load_bert(encoder, settings.max_length, offline=True, tokenizer=tokenizer)


def _with_pooler(bert: Any, seed: int) -> Any:
    """The trained encoder as a whole BertModel.

    Nothing reads its pooler, which language modelling does not train, but a file without one would get
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
