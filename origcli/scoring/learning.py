"""The tokens of queries: given, kept from before, or learned together."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from origcli.errors import NonFiniteError
from origcli.inversion.embeddings import fitted, start_facts
from origcli.inversion.optimization import Inversion, invert
from origcli.inversion.templates import LISTS, read_templates
from origcli.models.pipeline import DiffusionModel
from origcli.models.words import Vectors
from origcli.reports.score import GIVEN
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_value, package_versions
from origcli.runtime.seeding import derive_seed
from origcli.scoring.query import Attempt, Learned, Query
from origcli.scoring.store import Entry, Store, content_key
from origcli.settings import InvertSettings

# Settings that change how fast tokens are learned, and not what is learned.
_VECTORS = "vectors"
_NEUTRAL = {"micro_batch", "checkpoint_every", "preview_every"}


@dataclass(frozen=True)
class Learner:
    """Finds tokens for queries.

    Attributes:
        repeats: how often each image is inverted, each time with another seed.
        given: tokens that were learned before, by m, in place of learning any.
        checkpoints: directory for those of inversions under way, to go on from after a stop.
    """

    model: DiffusionModel
    runtime: Runtime
    store: Store
    repeats: int
    given: dict[int, Vectors] | None = None
    checkpoints: Path | None = None

    def learn(
        self, queries: Sequence[Query], counts: Sequence[int], settings: InvertSettings
    ) -> dict[int, NonFiniteError]:
        """Fills in the `learned` of queries at some token counts.

        Returns:
            The places of queries that cannot be learned from, and why. They cost the others nothing.
        """
        try:
            self._learn(queries, counts, settings)
        except NonFiniteError as problem:
            if len(queries) == 1:
                return {0: problem}
            alone = {place: self.learn([query], counts, settings) for place, query in enumerate(queries)}
            return {place: failed[0] for place, failed in alone.items() if failed}
        return {}

    def _learn(self, queries: Sequence[Query], counts: Sequence[int], settings: InvertSettings) -> None:
        if self.given is not None:
            for query in queries:
                query.learned.update({(0, m): self._given(m) for m in counts})
            return
        for repeat in range(self.repeats):
            attempts = [(repeat, m) for m in counts]
            # Queries that lack the same token counts are learned together.
            lacking: dict[tuple[Attempt, ...], list[Query]] = {}
            for query in queries:
                if missing := tuple(
                    attempt for attempt in attempts if not self._recall(query, attempt, settings)
                ):
                    lacking.setdefault(missing, []).append(query)
            for missing, group in lacking.items():
                self._invert(group, repeat, [m for _, m in missing], settings)

    def _given(self, m: int) -> Learned:
        assert self.given is not None
        return Learned(
            fitted(self.model, self.given[m], f"the tokens given for m = {m}"), None, None, 0, GIVEN
        )

    def _recall(self, query: Query, attempt: Attempt, settings: InvertSettings) -> bool:
        if attempt not in query.learned and (entry := self.store.get(self._key(query, attempt, settings))):
            query.learned[attempt] = _learned(entry, self.model)
        return attempt in query.learned

    def _invert(
        self, queries: Sequence[Query], repeat: int, counts: Sequence[int], settings: InvertSettings
    ) -> None:
        seed = self.runtime.seed if repeat == 0 else derive_seed(self.runtime.seed, "repeat", repeat)
        images, names = [query.image for query in queries], [query.source.name for query in queries]
        runtime = replace(self.runtime, seed=seed)
        keys = [self._key(query, (repeat, m), settings) for query in queries for m in counts]
        checkpoint = self.checkpoints / hash_value(keys)[:16] if self.checkpoints else None
        inversions = invert(self.model, images, names, counts, settings, runtime, checkpoint=checkpoint)
        entries: dict[str, Entry] = {}
        for query, inversion in zip(queries, inversions, strict=True):
            for m in counts:
                key = self._key(query, (repeat, m), settings)
                # One image under two names has one entry, which both go by, as they will when recalled.
                kept = entries.setdefault(key, _entry(inversion, m))
                query.learned[repeat, m] = _learned(kept, self.model)
        self.store.put_all(entries)
        if checkpoint is not None:
            shutil.rmtree(checkpoint, ignore_errors=True)

    def _key(self, query: Query, attempt: Attempt, settings: InvertSettings) -> str:
        values = settings.model_dump(exclude=_NEUTRAL)
        if settings.templates not in LISTS:  # a file, which may be edited
            values["templates"] = read_templates(settings.templates)
        values["initialization"] = start_facts(settings.initialization)
        return content_key(
            "tokens",
            image=query.key,
            lane=attempt,
            seed=self.runtime.seed,
            settings=values,
            model=self.model.weights_hash,
            device=self.model.device.type,
            dtype=str(self.model.dtype),
            versions=package_versions(),
        )


def _entry(inversion: Inversion, m: int) -> Entry:
    facts = {
        "l_det": inversion.l_det[m],
        "l_det_none": inversion.l_det_none,
        "steps": inversion.steps[m],
        "stop_reason": inversion.stop_reason[m],
    }
    vectors = inversion.vectors[m]
    if len(vectors) == 1:
        return Entry(facts, {_VECTORS: next(iter(vectors.values())).numpy()})
    return Entry(facts, {f"{_VECTORS}.{key}": tensor.numpy() for key, tensor in vectors.items()})


def _learned(entry: Entry, model: DiffusionModel) -> Learned:
    arrays = {name: torch.from_numpy(array.copy()) for name, array in entry.arrays.items()}
    keys = [encoder.key for encoder in model.words.encoders]
    vectors = {key: arrays.get(f"{_VECTORS}.{key}", arrays.get(_VECTORS)) for key in keys}
    return Learned({key: tensor for key, tensor in vectors.items() if tensor is not None}, **entry.facts)
