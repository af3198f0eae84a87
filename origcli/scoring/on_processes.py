"""Scoring over the cores of this machine: processes that open the models once and measure whole batches.

A process with few threads keeps its cores busier than one with many, so several images go faster this way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from origcli.errors import UsageError
from origcli.inversion.cost import count_footprint, work
from origcli.models.words import Vectors
from origcli.reports.schema import Provenance
from origcli.runtime.context import Runtime
from origcli.runtime.machine import cores, memory_facts, usable_bytes
from origcli.runtime.workers import map_units
from origcli.scoring.batches import Batch
from origcli.scoring.measurer import Outcome
from origcli.scoring.models import Models
from origcli.scoring.worker import open_worker, received
from origcli.settings import Settings

# Samples through the denoiser, forward, that each process should have: about half a minute of the smallest
# model, which starting a process and opening the models takes a third of.
_WORTH = 5_000
_BACK = 2  # forward and back through the denoiser is three times forward
_GUIDED = 2
_OF_MEMORY = 0.6
_OF_A_PROCESS = 1_200_000_000  # bytes: torch and its kin, and the metric


@dataclass(frozen=True)
class Layout:
    """How a run uses the cores: processes, and the threads of each; `None` is as torch does by itself."""

    workers: int = 1
    threads: int | None = None


def layout_of(whole: Sequence[Batch], models: Models, settings: Settings, runtime: Runtime) -> Layout:
    """How a list of images is measured on this machine.

    The number of threads changes last digits. So this depends on the whole list, the settings and the
    machine, not on what is left to do, which part of the list it is, or how much memory is free.

    Raises:
        UsageError: several processes are asked for where one device does the work.
    """
    asked, threads = settings.runtime.workers, settings.runtime.threads
    if asked is not None and asked > 1 and runtime.device.type != "cpu":
        raise UsageError(
            f"--workers {asked}: processes share the cores of a CPU, not {runtime.device.type}",
            "leave out --workers, or use --device cpu",
        )
    if runtime.device.type != "cpu" or len(whole) < 2 or asked == 1:
        return Layout(threads=threads)
    if asked is None:
        ours = type(models.metric).__module__.startswith("origcli.")  # other processes know no other metric
        if threads is not None or runtime.compile or not ours:
            return Layout(threads=threads)
        asked = min(cores(), _worthwhile(whole, settings))
        if asked > 1:
            asked = min(asked, _fitting(models, settings))
    workers = min(asked, len(whole))
    if workers < 2:
        return Layout(threads=threads)
    return Layout(workers, threads or max(1, cores() // workers))


def _worthwhile(whole: Sequence[Batch], settings: Settings) -> int:
    """How many processes have enough to do."""
    score, draw = settings.score, settings.draw
    lanes = score.max_tokens * score.repeats
    learning = work(settings.invert, lanes, templates=1)
    steps = draw.steps if isinstance(draw.steps, int) else 1
    passes = _BACK * learning.learned + learning.samples + _GUIDED * lanes * score.samples * steps
    return passes * sum(len(batch.inputs) for batch in whole) // _WORTH


def _fitting(models: Models, settings: Settings) -> int:
    """How many processes fit into this machine's memory."""
    footprint, device = count_footprint(models.model), models.model.device
    samples = settings.invert.batch_size * settings.score.max_tokens
    learning = min(usable_bytes(device), footprint.learning.bytes(samples))
    needed = _OF_A_PROCESS + footprint.weights + learning
    return int(_OF_MEMORY * memory_facts()["total"] // needed)


def score_on_processes(
    layout: Layout,
    batches: Sequence[Batch],
    settings: Settings,
    given: Mapping[int, Vectors] | None,
    cache: Path,
    checkpoints: Path,
    directory: Path,
) -> Iterator[tuple[Provenance, Outcome]]:
    """The outcome of each image, in order, with its files written to the run's directory.

    Args:
        given: tokens learned before, by m.
        cache: directory of results kept by content, which holds what is the same for every image.
        checkpoints: directory for those of inversions under way.
        directory: the run's.
    """
    update = {"threads": layout.threads, "workers": 1}
    own = settings.model_copy(update={"runtime": settings.runtime.model_copy(update=update)})
    workers = min(layout.workers, len(batches))
    opened = partial(open_worker, own, given, cache, checkpoints)
    yield from received(map_units(opened, batches, workers), directory)
