"""Generalization experiments over a Ray cluster: each is trained and drawn from on one machine.

An experiment is hours of work in many files, so machines share the run directory: what was done on one
that died continues on another.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from origcli.errors import Interrupted, OrigError, StorageError
from origcli.reports.schema import Failure
from origcli.runtime.cluster import ray_cluster, ray_map
from origcli.settings import Section, Settings
from origcli.studies.generalization.diversity import Experiment
from origcli.studies.generalization.plan import PLAN
from origcli.studies.generalization.stages import EXPERIMENTS, Bench, Found, open_detector, run_experiment


def open_worker(settings: Settings, out: Path) -> Callable[[Experiment], Found | Failure]:
    """What a worker runs: opens the detector, and gives the function that does an experiment.

    Raises:
        StorageError: this machine does not see the run directory.
    """
    from origcli.runtime.context import open_runtime
    from origcli.runtime.distributed import alone

    if not (out / PLAN).is_file():
        raise StorageError(
            f"{out}: not seen by a machine of the cluster", "give an --out that all machines share"
        )
    stack = ExitStack()
    stack.enter_context(alone())
    runtime = stack.enter_context(open_runtime(settings.runtime))
    detector = open_detector(settings, runtime)

    def work(experiment: Experiment) -> Found | Failure:
        bench = Bench(experiment, settings, runtime, out / EXPERIMENTS / experiment.name)
        try:
            return run_experiment(bench, detector)
        except Interrupted:
            raise  # a machine that is taken away is no failure of the experiment
        except OrigError as problem:
            return Failure.of(problem, experiment.name)

    work.keep = stack  # type: ignore[attr-defined]  # closed with the worker's process
    return work


def from_anywhere(settings: Settings) -> Settings:
    """The settings with whole paths: workers have working directories of their own."""
    encoder, detector = Path(settings.text_encoder.source), Path(settings.generalize.detector)
    changes: dict[str, Section] = {}
    if encoder.is_dir():
        changes["text_encoder"] = settings.text_encoder.model_copy(update={"source": str(encoder.absolute())})
    if detector.is_dir():
        changes["generalize"] = settings.generalize.model_copy(update={"detector": str(detector.absolute())})
    return settings.model_copy(update=changes)


def run_on_cluster(
    address: str, due: Sequence[Experiment], settings: Settings, out: Path, on_gpu: bool
) -> Iterator[tuple[Experiment, Found | Failure]]:
    """Does experiments at the same time, one a GPU, or as many as there are cores; gives them in order.

    Args:
        settings: with the text encoder that all share.
        on_gpu: whether each experiment holds a GPU.

    Raises:
        ModelError: Ray is not installed.
        UsageError: no cluster answers there.
    """
    threads = settings.runtime.threads or 1
    settings = from_anywhere(settings)
    with ray_cluster(address) as ray:
        resources = ray.cluster_resources()
        if on_gpu:
            workers = int(resources.get("GPU", 0)) or 1
        else:
            workers = max(1, int(resources.get("CPU", 1)) // threads)
            fixed = settings.runtime.model_copy(update={"threads": threads})
            settings = settings.model_copy(update={"runtime": fixed})
        outcomes = ray_map(
            ray,
            lambda: open_worker(settings, out),
            due,
            workers=min(workers, max(1, len(due))),
            gpus=1 if on_gpu else 0,
            cpus=threads,
            failed=lambda experiment, problem: Failure.of(problem, experiment.name),
        )
        yield from zip(due, outcomes, strict=True)
