"""Scoring over a Ray cluster: each worker opens the models once and measures whole batches.

A worker writes into a directory of its own and sends the files with the results, so the cluster needs
no shared file system.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from origcli.models.words import Vectors
from origcli.reports.schema import Provenance
from origcli.runtime.cluster import ray_cluster, ray_map
from origcli.scoring.batches import Batch
from origcli.scoring.measurer import Outcome
from origcli.scoring.worker import open_worker, received
from origcli.settings import Settings


def score_on_cluster(
    address: str,
    batches: Sequence[Batch],
    settings: Settings,
    given: Mapping[int, Vectors] | None,
    cache: Path | None,
    directory: Path,
    on_gpu: bool,
) -> Iterator[tuple[Provenance, Outcome]]:
    """The outcome of each image, in order, with its files written to the run's directory.

    Args:
        address: of the cluster (`ray_cluster`).
        given: tokens learned before, by m.
        cache: directory of results kept by content, on each machine; `None` keeps none.
        directory: the run's.
        on_gpu: a GPU for each worker, else a CPU.
    """
    with ray_cluster(address) as ray:
        yield from _scored(ray, batches, settings, given, cache, directory, on_gpu)


def _scored(
    ray: Any,
    batches: Sequence[Batch],
    settings: Settings,
    given: Mapping[int, Vectors] | None,
    cache: Path | None,
    directory: Path,
    on_gpu: bool,
) -> Iterator[tuple[Provenance, Outcome]]:
    resources = ray.cluster_resources()
    if on_gpu:
        workers, gpus, cpus = int(resources.get("GPU", 0)) or 1, 1.0, 1.0
    else:
        workers, gpus, cpus = max(1, int(resources.get("CPU", 1))), 0.0, 1.0
    workers = min(workers, max(1, len(batches)))
    # Fixed, because sums over more threads differ in their last digits.
    runtime = settings.runtime.model_copy(
        update={"threads": settings.runtime.threads or (None if on_gpu else 1)}
    )
    settings = settings.model_copy(update={"runtime": runtime})
    sent = ray_map(
        ray,
        lambda: open_worker(settings, given, cache),
        batches,
        workers=workers,
        gpus=gpus,
        cpus=cpus,
    )
    yield from received(sent, directory)
