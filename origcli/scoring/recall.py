"""Whole results by what made them: a run whose images were all measured before opens no model.

Tokens and samples are kept by content one by one (`store`), which takes the models to look at. Here a result
is kept with its files, under everything that it depends on and that can be told without a model: the files
of model and detector, what is registered about them, settings, versions, and this program's own code.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import origcli
from origcli.errors import StorageError
from origcli.images.contents import content_hash
from origcli.images.inputs import Input
from origcli.inversion.embeddings import hash_vectors, start_facts
from origcli.inversion.templates import read_templates
from origcli.models.words import Vectors
from origcli.perception.metrics import find, names
from origcli.reports.schema import Provenance, ScoreResult, Threshold
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_files, package_versions
from origcli.scoring.batches import Batch
from origcli.scoring.choices import chosen_detector, chosen_metric
from origcli.scoring.run_plan import reference_hash
from origcli.scoring.store import Entry, Store, content_key
from origcli.scoring.worker import save_files
from origcli.settings import Settings
from origcli.weights.hashing import hash_pipeline
from origcli.weights.registry import ModelEntry

# Where and how fast a run computes is no part of its results.
_OF_THE_MACHINE = {"runtime": {"threads", "workers", "offline", "device", "dtype"}}


@dataclass(frozen=True)
class Made:
    """What the results of a run share, found out once the models were open.

    Attributes:
        provenance: what made them.
        threshold: the distance that counts as redrawn.
        lost: the remark on a threshold that the settings took away; empty where none was.
    """

    provenance: Provenance
    threshold: Threshold
    lost: str


@dataclass(frozen=True)
class Recall:
    """The results that were kept of what makes those of a run.

    Attributes:
        key: of everything that makes them, but for the image.
        made: what they share; `None` where none was kept yet.
    """

    store: Store
    key: str
    made: Made | None

    def holds(self, batch: Batch) -> bool:
        """Whether the result of each image of a batch is kept, whole."""
        return self.made is not None and all(
            (key := self._key_of(image, batch)) is not None and self.store.get(key) is not None
            for image in batch.inputs
        )

    def read(self, batch: Batch, directory: Path) -> Iterator[ScoreResult]:
        """The results of a batch that it holds, with their files written to the run's directory.

        Raises:
            StorageError: one is gone by now.
        """
        for image in batch.inputs:
            entry = self.store.get(self._key_of(image, batch) or "")
            if entry is None:
                raise StorageError(
                    f"{self.store.root}: the result of {image.where} was removed from the cache "
                    "during the run",
                    "resume the run with --resume",
                )
            save_files(directory, {name: data.tobytes() for name, data in entry.arrays.items()})
            yield ScoreResult.model_validate(entry.facts["result"])

    def keep_made(self, made: Made) -> None:
        """Keeps what the results share, unless it may change with what else the cache comes to hold."""
        if made.threshold.source != "samples" and (made.threshold.source != "none" or made.lost):
            facts = {
                "provenance": made.provenance.to_json(),
                "threshold": made.threshold.to_json(),
                "lost": made.lost,
            }
            self.store.put(self.key, Entry(facts))

    def keep(self, image: Input, batch: Batch, result: ScoreResult, directory: Path) -> None:
        """Keeps a result with its files, unless its test was left out, which need not be so another time."""
        key = self._key_of(image, batch)
        if key is None or (result.curve and result.in_distribution is None):
            return
        files = {name: np.frombuffer((directory / name).read_bytes(), np.uint8) for name in _files_of(result)}
        self.store.put(key, Entry({"result": result.to_json()}, files))

    def _key_of(self, image: Input, batch: Batch) -> str | None:
        """The key of an image's result; `None` for an image that cannot be read."""
        content = content_hash(image.source)
        if content is None:
            return None
        return content_key(
            "result",
            made=self.key,
            image=[content, image.name, image.where, image.group],
            templates=read_templates(batch.templates),
        )


def find_recall(
    cache_directory: Path | None,
    entry: ModelEntry,
    given: Mapping[int, Vectors] | None,
    settings: Settings,
    runtime: Runtime,
) -> Recall | None:
    """The results that a cache holds of what makes those of a run.

    Returns:
        `None` without a cache, or with a metric that a program has made, whose code is not known here.

    Raises:
        UsageError: a metric has no such variant.
        ModelError: the model's directory is no pipeline.
    """
    if cache_directory is None:
        return None
    detector = chosen_detector(entry, settings)
    name = chosen_metric(entry, detector, settings)
    if name.partition(":")[0] not in names():
        return None  # what opens it says so
    metric, variant = find(name)
    if not metric.open.__module__.startswith("origcli."):
        return None
    key = content_key(
        "results",
        code=_own_code(),
        model=entry.weights_hash or hash_pipeline(entry.path, entry.variant),
        entry=[entry.name, entry.source, entry.note, entry.values.model_dump(mode="json")],
        metric=[metric.name, variant],
        detector=None if detector is None else hash_files(_files_in(detector), detector),
        settings=settings.model_dump(mode="json", exclude=_OF_THE_MACHINE),
        start=start_facts(settings.invert.initialization),
        reference=reference_hash(settings.score.reference),
        given={str(m): hash_vectors(vectors) for m, vectors in (given or {}).items()},
        device=runtime.device.type,
        dtype=str(runtime.dtype),
        versions=package_versions(),
    )
    store = Store(cache_directory)
    kept = store.get(key)
    return Recall(store, key, None if kept is None else _made(kept.facts))


def _made(facts: Mapping[str, Any]) -> Made:
    return Made(
        Provenance.model_validate(facts["provenance"]),
        Threshold.model_validate(facts["threshold"]),
        facts["lost"],
    )


@cache
def _own_code() -> str:
    """sha256 of this program: what is kept is of this version of it, be it a checkout that changes."""
    root = Path(origcli.__file__).parent
    return hash_files(root.rglob("*.py"), root)


def _files_in(directory: Path) -> Sequence[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def _files_of(result: ScoreResult) -> set[str]:
    """The files of a result but for its page, relative to the run's directory."""
    pictures, test = result.pictures, result.in_distribution
    names = [*result.embeddings, *(name for point in result.curve for name in point.drawings)]
    if pictures is not None:
        names += [pictures.query, pictures.round_trip or "", pictures.thumbnail, *pictures.without_tokens]
    if test is not None:
        names += test.drawings
    return {name for name in names if name}
