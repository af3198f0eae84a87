"""Scoring over a Ray cluster: each worker opens the models once and measures whole batches.

A worker writes into a directory of its own and sends the files with the results, so the cluster needs
no shared file system.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from origcli.models.words import Vectors
from origcli.reports.schema import Provenance
from origcli.runtime.atomic import make_directory, write_bytes
from origcli.runtime.cluster import ray_cluster, ray_map
from origcli.scoring.batches import Batch
from origcli.scoring.measurer import Outcome
from origcli.settings import Settings

Sent = tuple[Provenance, list[Outcome], dict[str, bytes]]


def open_worker(
    settings: Settings, given: Mapping[int, Vectors] | None, cache: Path | None
) -> Callable[[Batch], Sent]:
    """What a worker runs: opens everything, and gives the function that measures a batch."""
    from origcli.runtime.context import open_runtime
    from origcli.runtime.distributed import alone
    from origcli.scoring.setup import open_measurer, open_models, provenance_of
    from origcli.scoring.store import Store

    stack = ExitStack()
    stack.enter_context(alone())
    runtime = stack.enter_context(open_runtime(settings.runtime))
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="origcli-")))
    store = Store(cache or directory / ".work")
    models = open_models(settings, runtime)
    provenance = provenance_of("score", models, settings)
    measurer = open_measurer(models, settings, runtime, store, given)

    def measure(batch: Batch) -> Sent:
        with TemporaryDirectory(dir=directory) as place:
            outcomes = list(measurer.score(batch, Path(place)))
            files = {
                path.relative_to(place).as_posix(): path.read_bytes()
                for path in sorted(Path(place).rglob("*"))
                if path.is_file()
            }
        return provenance, outcomes, files

    measure.keep = stack  # type: ignore[attr-defined]  # closed with the worker's process
    return measure


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
    for provenance, outcomes, files in sent:
        for name, data in files.items():
            make_directory((directory / name).parent)
            write_bytes(directory / name, data)
        for outcome in outcomes:
            yield provenance, outcome
