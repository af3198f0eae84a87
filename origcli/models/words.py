"""Learned tokens in prompts: hooks that put vectors where an encoder looks its tokens up.

Tokenizers get placeholder tokens past their vocabulary. A hook before the encoder notes where they stand and
puts id 0 there; a hook behind the encoder's embedding writes the vectors at these places. So nothing else
that an encoder does with ids sees an id that it does not know: CLIP's pooled vector, for one, is taken at
the highest id, which a placeholder would be. No weight and no vocabulary of the model is changed.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from origcli.errors import ModelError, UsageError
from origcli.runtime.device import to_device

# The vectors of m tokens for each encoder, by its key: each (m, d of that encoder), fp32.
Vectors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Encoder:
    """A text encoder and its tokenizer.

    Attributes:
        key: what its vectors are called in memory and files: `clip_l`, `clip_g`, `t5xxl` …
        module: the encoder.
        tokenizer: as the model brings it.
        length: tokens of a padded prompt; what is longer would be cut off.
        wrap: what the pipeline makes of a prompt before it reads it, e.g. a chat template.
        extended: a copy of the tokenizer, which gets the placeholders.
    """

    key: str
    module: Any
    tokenizer: Any
    length: int
    wrap: Callable[[str], str] = str
    extended: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "extended", copy.deepcopy(self.tokenizer))

    @property
    def table(self) -> Tensor:
        """The vectors of the vocabulary, (vocabulary, d)."""
        weight: Tensor = self.module.get_input_embeddings().weight
        return weight.detach()

    @property
    def width(self) -> int:
        """d: the width of a token's vector."""
        return int(self.table.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return self.table.device

    def ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, special tokens included, not padded and not cut off."""
        rows: list[list[int]] = self.extended(
            [self.wrap(prompt) for prompt in prompts], truncation=False, verbose=False
        )["input_ids"]
        return rows


class Words:
    """The placeholder tokens of a model's encoders."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        self.encoders = tuple(encoders)
        self._names: list[str] = []
        self._first: dict[str, int] = {}  # the id of the first placeholder, by encoder

    def names(self, first: int, count: int) -> list[str]:
        """The words that stand for the vectors first … first + count − 1 in prompts."""
        from tokenizers import AddedToken

        new = [f"<origcli-slot-{i}>" for i in range(len(self._names), first + count)]
        # The space before a word is part of the word for T5's kind of tokenizer, not a token beside it.
        tokens = [AddedToken(name, lstrip=True, normalized=False) for name in new]
        for encoder in self.encoders:
            encoder.extended.add_tokens(tokens)
        self._names += new
        for encoder in self.encoders if new else ():
            ids: list[int] = encoder.extended.convert_tokens_to_ids(self._names)
            self._first[encoder.key] = ids[0]
            if ids != list(range(ids[0], ids[0] + len(ids))) or ids[0] < len(encoder.tokenizer):
                raise ModelError(f"the tokenizer of {encoder.key} does not take placeholder tokens")
        return self._names[first : first + count]

    def check(self, prompts: Sequence[str], names: Sequence[str] = ()) -> None:
        """Makes sure that every encoder reads prompts whole, and the placeholders in them one by one.

        Args:
            names: the placeholders that each prompt has, in order.

        Raises:
            UsageError: a prompt is longer than an encoder holds.
            ModelError: a tokenizer does not keep the placeholders whole.
        """
        for encoder in self.encoders:
            slots = encoder.extended.convert_tokens_to_ids(list(names)) if names else []
            for prompt, row in zip(prompts, encoder.ids(prompts), strict=True):
                if len(row) > encoder.length:
                    raise UsageError(
                        f"a prompt of {len(row)} tokens is longer than the text encoder's {encoder.length}: "
                        f"{prompt[:80]!r}",
                        "use fewer tokens, a shorter prompt or fewer elements per image",
                    )
                if [i for i in row if i in slots] != slots:
                    raise ModelError(f"the model's tokenizer breaks up placeholder tokens in {prompt!r}")

    def first_equal(self, prompts: Sequence[str]) -> Tensor:
        """For each prompt the first that reads the same to every encoder, (n,), on the CPU.

        A small vocabulary can make one prompt of several templates.
        """
        rows = list(zip(*(map(tuple, encoder.ids(prompts)) for encoder in self.encoders), strict=True))
        return torch.tensor([rows.index(row) for row in rows])

    @contextmanager
    def holding(self, vectors: Vectors, slots: Sequence[int] | None = None) -> Iterator[None]:
        """While the context is open, placeholders mean k vectors, which may require a gradient.

        Args:
            vectors: by encoder, each (k, d).
            slots: which placeholder each vector is for; the first k where none are given.
        """
        slots = range(len(next(iter(vectors.values())))) if slots is None else slots
        rows = torch.zeros(len(self._names), dtype=torch.long)
        rows[list(slots)] = torch.arange(len(slots))
        with ExitStack() as hooks:
            for encoder in self.encoders if len(slots) else ():
                own = to_device(rows, encoder.device)
                hooks.enter_context(_inserted(encoder, self._first[encoder.key], vectors[encoder.key], own))
            yield


@contextmanager
def _inserted(encoder: Encoder, first: int, vectors: Tensor, rows: Tensor) -> Iterator[None]:
    """The token id first + i of an encoder means `vectors[rows[i]]`."""
    places: list[Tensor] = []  # the slot of each token of the batch that runs, under 0 for ordinary ones

    def hide(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        ids = args[0] if args else kwargs["input_ids"]
        slot = ids - first
        places[:] = [slot]
        known = ids.masked_fill(slot >= 0, 0)
        return ((known, *args[1:]), kwargs) if args else (args, {**kwargs, "input_ids": known})

    def write(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        if not places:
            return output
        slot = places.pop()
        # Looked up, not multiplied: TF32 would round a product, and 0 × NaN would spread a NaN.
        learned = scaled(module, vectors[rows[slot.clamp(min=0)]].to(output.dtype))  # (n, L, d)
        return torch.where((slot >= 0).unsqueeze(-1), learned, output)

    def verify(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if places:
            raise ModelError(f"learned tokens do not reach {type(module).__name__}: it embeds them elsewhere")

    handles = [
        encoder.module.register_forward_pre_hook(hide, with_kwargs=True),
        *(table.register_forward_hook(write) for table in tables(encoder.module)),
        encoder.module.register_forward_hook(verify),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tables(module: nn.Module) -> list[nn.Module]:
    """The modules that look an encoder's tokens up. T5 has two that share one weight, and uses the second."""
    weight = module.get_input_embeddings().weight  # type: ignore[operator]
    return [part for part in module.modules() if isinstance(part, nn.Embedding) and part.weight is weight]


def scaled(table: nn.Module, vectors: Tensor) -> Tensor:
    """Vectors as a table gives them out: Gemma's multiplies what it looks up by a constant."""
    scale = getattr(table, "embed_scale", None)
    return vectors if scale is None else vectors * torch.as_tensor(scale).to(vectors.device, vectors.dtype)
