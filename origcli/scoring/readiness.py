"""Whether a score could run here and now, without a network: what it needs, and what of it is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from origcli.errors import OrigError, UsageError
from origcli.weights import registry
from origcli.weights.fetching import names, state


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        state: `ok`, `warning` (it runs, but not as it should) or `missing` (it does not run).
        detail: what was found.
        remedy: what to do about it.
    """

    name: str
    state: Literal["ok", "warning", "missing"]
    detail: str
    remedy: str = ""


def chosen_model(name: str, device: str) -> str:
    """What `--model` means on a kind of device; `auto` is Stable Diffusion 1.5 on a GPU."""
    if name != registry.AUTO:
        return name
    return "sd15" if device in ("cuda", "mps") else registry.BUNDLED


def check_score(name: str, device: str, metric: str = "auto", detector: str | None = None) -> list[Check]:
    """Looks for the model and the metric that a score on a kind of device would take.

    Args:
        name, metric, detector: as `--model`, `--metric` and `--detector` take them.
        device: `cuda`, `mps` or `cpu`.

    Raises:
        UsageError: not a model's or a metric's name.
    """
    name = chosen_model(name, device)
    if name == registry.BUNDLED:
        return _check_directory(name, registry.bundled_directory(), metric, detector)
    if Path(name).is_dir():
        return _check_directory(name, Path(name), metric, detector)
    if registry.looks_like_path(name):
        return [
            Check(f"model {name}", "missing", "no such directory", "give a directory that diffusers wrote")
        ]
    base, _, revision = name.partition("@")
    registry.hub_model(base, revision)
    return [_check_fetched(f"model {name}", name), *_check_metric(metric, detector)]


def check_fetched() -> Check:
    """Which of the models and metrics that have a name are on this disk."""
    here = [name for name in names() if state(name).path is not None]
    return Check("fetched", "ok", ", ".join(here) or "nothing", "" if here else "see origcli fetch --list")


def _check_directory(name: str, directory: Path, metric: str, detector: str | None) -> list[Check]:
    """A pipeline directory, its files against the hash that it was published with, and its metric."""
    from origcli.weights.hashing import hash_pipeline

    remedy = "install origcli again" if name == registry.BUNDLED else "give a directory that diffusers wrote"
    if not (directory / "model_index.json").is_file():
        return [Check(f"model {name}", "missing", f"{directory} has no model_index.json", remedy)]
    try:
        values = registry.read_registry(directory)
    except OrigError as error:
        return [Check(f"model {name}", "missing", error.message, error.hint)]
    found = hash_pipeline(directory)
    if values.weights_hash not in (None, found):
        return [Check(f"model {name}", "missing", "its files are not those that were published", remedy)]
    model = Check(f"model {name}", "ok", f"{directory}, weights {found[:12]}")
    own = directory / registry.DETECTOR
    detector = detector or (str(own) if own.is_dir() else None)
    if metric == "auto" and detector is None:
        metric = values.metric
    return [model, *_check_metric(metric, detector)]


def _check_metric(metric: str, detector: str | None) -> list[Check]:
    """The distance, and for models of the real world CLIP, which the test of editability alone needs."""
    if metric == "auto":
        metric = "dreamsim" if detector is None else "elements"
    if metric == "elements":
        if detector is not None and Path(detector).is_dir():
            return [Check("metric elements", "ok", f"detector in {detector}")]
        return [Check("metric elements", "missing", "this model has no detector", "give --detector DIR")]
    if metric.partition(":")[0] != "dreamsim":
        raise UsageError(f"no metric is called {metric!r}", "choose dreamsim, dreamsim:BRANCH or elements")
    clip = _check_fetched("clip", "clip")
    if clip.state != "ok":
        remedy = f"{clip.remedy}; without it the test is left out"
        clip = Check("clip", "warning", clip.detail, remedy)
    return [_check_fetched(f"metric {metric}", metric), clip]


def _check_fetched(label: str, name: str) -> Check:
    found = state(name)
    if found.path is None:
        return Check(label, "missing", f"{found.what}: not on this disk", f"origcli fetch {name}")
    kind = f", {found.variant}" if found.variant else ""
    return Check(label, "ok", f"{found.source}{kind}, {found.bytes / 1e9:.2f} GB in {found.path}")
