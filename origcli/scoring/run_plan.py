"""What a score run is: everything that its results depend on, by content and not by where it lies.

A run over a part of a list (`--shard`) knows which part it is, so that none is missed when they are joined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from origcli.images.contents import content_hash
from origcli.inversion.embeddings import hash_vectors, start_facts
from origcli.inversion.templates import read_templates
from origcli.models.words import Vectors
from origcli.reports.envelope import Provenance
from origcli.reports.score import Parts
from origcli.runtime.provenance import hash_value
from origcli.scoring.batches import Batch
from origcli.settings import Settings

_PLANNED = ("invert", "draw", "score", "detect")
# Settings that say where something lies. What lies there is in the plan by its content.
_PLACES = {
    "score": {"model", "detector", "reference"},
    "invert": {"initialization", "templates"},
}


class Planned(NamedTuple):
    """An image of a run: its place in the whole list, its name, path and group."""

    place: int
    name: str
    path: str
    group: str


@dataclass(frozen=True)
class Plan:
    """What a run is.

    Attributes:
        facts: all that its results depend on, but for the images.
        images: those of this run, in their order.
        parts: which part of a whole list they are; `None` for all of it.
    """

    facts: dict[str, Any]
    images: list[Planned]
    parts: Parts | None


def make_plan(
    whole: Sequence[Batch],
    chosen: Sequence[Batch],
    parts: Parts | None,
    settings: Settings,
    provenance: Provenance,
    given: Mapping[int, Vectors] | None,
) -> Plan:
    """The plan of measuring batches.

    Args:
        whole: all batches of the list.
        chosen: those of this run.
        given: tokens learned before, by m.
    """
    listed = [image for batch in whole for image in batch.inputs]
    places = {image.name: place for place, image in enumerate(listed)}
    inputs = [image for batch in chosen for image in batch.inputs]
    images = [Planned(places[image.name], image.name, image.where, image.group) for image in inputs]
    facts = {
        **{
            section: getattr(settings, section).model_dump(mode="json", exclude=_PLACES.get(section))
            for section in _PLANNED
        },
        **provenance.makers(),
        "seed": settings.runtime.seed,
        "start": start_facts(settings.invert.initialization),
        "templates": {
            name: hash_value(read_templates(name)) for name in {batch.templates for batch in whole}
        },
        "reference": reference_hash(settings.score.reference),
        "given": {str(m): hash_vectors(vectors) for m, vectors in (given or {}).items()},
        "list": hash_value(
            [[batch.templates, [[image.name, image.group] for image in batch.inputs]] for batch in whole]
        ),
        "parts": None if parts is None else parts.to_json(),
    }
    return Plan(facts, images, parts)


def reference_hash(reference: str | None) -> str | None:
    """sha256 of the report of a reference set."""
    if reference is None:
        return None
    path = Path(reference)
    return content_hash(path / "report.json" if path.is_dir() else path)
