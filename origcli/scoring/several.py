"""The same images under several models: a run each, in directories called after the models."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from origcli.errors import UsageError
from origcli.perception.metrics import open_metric
from origcli.runtime.context import Runtime
from origcli.runtime.run_directory import RunDirectory
from origcli.runtime.run_place import Existing, RunPlace
from origcli.scoring.choices import chosen_detector, chosen_metric
from origcli.settings import Settings
from origcli.weights.registry import ModelEntry, resolve

COMPARISON = "comparison"  # the directory of the comparison; no run is called so


def settings_of(models: Sequence[str], settings: Settings, runtime: Runtime) -> dict[str, Settings]:
    """The settings of each model's run, by the name of its directory, in the order of the models.

    Looks at everything that would keep the runs from being compared, before any of them begins.

    Args:
        models: names, pipeline directories or Hub ids.

    Raises:
        UsageError: a model is given twice, they would be measured with different metrics, or a reference
            set is given, which is of one model.
        ModelError: a model is missing and cannot be downloaded.
    """
    if settings.score.reference is not None:
        raise UsageError(
            "--reference is a report of one model: it does not go with several",
            "score without it, or each model with its own reference set; then origcli compare",
        )
    entries = [resolve(name, runtime) for name in models]
    for place, entry in enumerate(entries):
        if entry.path.resolve() in {other.path.resolve() for other in entries[:place]}:
            raise UsageError(f"--model {models[place]}: the same model twice", "give each model once")
    _refuse_other_metrics(entries, settings, runtime)

    each: dict[str, Settings] = {}
    for name, entry in zip(models, entries, strict=True):
        score = settings.score.model_copy(update={"model": name})
        each[_directory_name(entry, each)] = settings.model_copy(update={"score": score})
    return each


def _directory_name(entry: ModelEntry, taken: Mapping[str, Settings]) -> str:
    """A model's name as the name of a directory that no other run has."""
    name = entry.name.replace("/", "-").lstrip(".") or "model"
    if name not in taken and name != COMPARISON:
        return name
    return next(f"{name}-{number}" for number in range(2, len(taken) + 3) if f"{name}-{number}" not in taken)


def _refuse_other_metrics(entries: Sequence[ModelEntry], settings: Settings, runtime: Runtime) -> None:
    """Refuses models whose distances would not be the same: of another metric, or by another detector."""
    detectors = [chosen_detector(entry, settings) for entry in entries]
    metrics = [
        chosen_metric(entry, detector, settings) for entry, detector in zip(entries, detectors, strict=True)
    ]
    for entry, metric in zip(entries[1:], metrics[1:], strict=True):
        if metric != metrics[0]:
            raise UsageError(
                f"{entries[0].name} is measured with the metric {metrics[0]}, and {entry.name} with {metric}",
                "choose one for all with --metric; models of shapes need one --detector for all",
            )
    if len(set(detectors)) == 1:
        return
    versions = [
        open_metric(metrics[0], runtime, detector=detector, settings=settings.detect).version
        for detector in detectors
    ]
    for entry, version in zip(entries[1:], versions[1:], strict=True):
        if version != versions[0]:
            raise UsageError(
                f"{entries[0].name} and {entry.name} have different detectors",
                "choose one for all with --detector",
            )


@contextmanager
def opened_inside(runtime: Runtime, name: str, existing: Existing, request: str) -> Iterator[Runtime]:
    """A runtime like the one given, with a run directory inside its own.

    Args:
        existing: what to do where this directory holds something.
        request: hash of what is asked for in it.

    Raises:
        LockedError, StorageError, UsageError: as `RunDirectory` raises them.
    """
    with RunDirectory(RunPlace(runtime.given / name, existing, request)) as directory:
        yield replace(runtime, directory=directory)
