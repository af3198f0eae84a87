"""Samples from learned tokens, measured against their query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from origcli.generation.sampling import draw
from origcli.inversion.embeddings import condition_with
from origcli.models.conditioning import joined
from origcli.models.pipeline import DiffusionModel
from origcli.models.words import Vectors
from origcli.perception.distance import Distance
from origcli.perception.editability import TextSimilarity
from origcli.reports.saved_images import encoded
from origcli.runtime.context import Runtime
from origcli.runtime.memory import slices
from origcli.scoring.baseline import drawing_key
from origcli.scoring.query import Attempt, Drawn, Learned, Query
from origcli.scoring.store import Entry, Store, content_key, preview
from origcli.settings import DrawSettings


@dataclass(frozen=True)
class Drawer:
    """Draws one image a seed from sets of tokens, and measures each.

    Attributes:
        seeds: the same for every image and every m.
        keep: keep what was measured, as PNG, instead of copies to look at.
        similarity: CLIP, where the samples' likeness to `words` is wanted too.
    """

    model: DiffusionModel
    metric: Distance
    seeds: Sequence[int]
    settings: DrawSettings
    runtime: Runtime
    store: Store
    keep: bool = False
    similarity: TextSimilarity | None = None
    words: str = ""

    def draw(self, query: Query, prompt: str, attempts: Mapping[Attempt, Learned]) -> dict[Attempt, Drawn]:
        """Samples for each attempt's tokens: from the store, the rest in shared batches.

        Raises:
            NonFiniteError: a sample is not finite.
        """
        keys = {attempt: self._key(query, prompt, tokens) for attempt, tokens in attempts.items()}
        drawn = {
            attempt: Drawn(entry.facts["distances"], entry.pictures, dict(entry.facts))
            for attempt, key in keys.items()
            if (entry := self.store.get(key)) is not None
        }
        missing = [attempt for attempt in attempts if attempt not in drawn]
        if missing:
            images = self._draw(query.source.name, prompt, [attempts[attempt].vectors for attempt in missing])
            for attempt, part in zip(missing, slices(len(images), len(self.seeds)), strict=True):
                drawn[attempt] = self._measure(query, images[part])
            self.store.put_all(
                {
                    keys[attempt]: Entry(drawn[attempt].facts, pictures=drawn[attempt].pictures)
                    for attempt in missing
                }
            )
        return drawn

    def _draw(self, name: str, prompt: str, tokens: Sequence[Vectors]) -> list[Image.Image]:
        """Images (tokens · seeds), all seeds of the first tokens first."""
        with torch.inference_mode():
            given = joined([condition_with(self.model, prompt, vectors) for vectors in tokens])
        seeds = list(self.seeds) * len(tokens)
        return draw(
            self.model,
            given.repeated(len(self.seeds)),
            seeds,
            self.settings,
            self.runtime,
            description=f"sampling {name}",
        )

    def _measure(self, query: Query, images: Sequence[Image.Image]) -> Drawn:
        features = self.metric.features(images)
        distances = [self.metric.between(query.feature, feature) for feature in features]
        facts: dict[str, Any] = {"distances": distances, **self.metric.facts_of(features)}
        if self.similarity is not None:
            facts["similarity"] = self.similarity.of(images, self.words)
        pictures = [encoded(image, None)[1] if self.keep else preview(image) for image in images]
        return Drawn(distances, pictures, facts)

    def _key(self, query: Query, prompt: str, tokens: Learned) -> str:
        return content_key(
            "drawings",
            image=query.key,
            tokens=tokens.hash,
            prompt=prompt,
            seeds=list(self.seeds),
            metric=[self.metric.name, self.metric.version],
            words=self.words if self.similarity is not None else None,
            keep=self.keep,
            **drawing_key(self.model, self.settings),
        )
