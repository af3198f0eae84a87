"""Whether a score could run here and now, without a network: what it needs, and what of it is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from origcli.errors import ModelError
from origcli.perception import metrics
from origcli.perception.metrics import open_metric
from origcli.runtime.context import Runtime
from origcli.runtime.network import no_network
from origcli.scoring.choices import chosen_detector, chosen_metric
from origcli.scoring.fetching import names, state, thing
from origcli.settings import Settings
from origcli.weights import registry
from origcli.weights.fetchable import Fetchable
from origcli.weights.hashing import check_pipeline

_PHOTOS = "sd15"
_FETCH = "origcli fetch "


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


def check_score(settings: Settings, device: str) -> list[Check]:
    """Goes through the door that a score on a kind of device takes, up to the weights of the model.

    The model is found and its files are checked, with their hash where one is recorded; the metric is opened
    as a score opens it, so that what it imports and reads is there.

    Args:
        settings: name the model, the metric and the detector.
        device: `cuda`, `mps` or `cpu`.

    Raises:
        UsageError: not a model's or a metric's name.
    """
    if settings.score.metric != metrics.AUTO:
        metrics.find(settings.score.metric)
    with no_network():
        return _check_score(settings, device, Runtime(offline=True))


def _check_score(settings: Settings, device: str, runtime: Runtime) -> list[Check]:
    name = chosen_model(settings.score.model, device)
    entry, model = _check_model(name, runtime)
    if entry is None:
        if not _is_hub_name(name):
            return [model]
        needed, helpful = _check_downloads(chosen_metric(None, None, settings))
        return [model, *needed, *helpful]
    detector = chosen_detector(entry, settings)
    return [model, *_check_metric(chosen_metric(entry, detector, settings), detector, settings, runtime)]


def in_one_line(settings: Settings, device: str, asked: Sequence[Check]) -> str:
    """Whether this machine can measure photos, and the bundled demo, in words for everybody.

    Args:
        settings: those of `asked`.
        device: `cuda`, `mps` or `cpu`.
        asked: what `check_score` found for them.
    """
    name = chosen_model(settings.score.model, device)
    shapes = asked if name == registry.BUNDLED else check_score(_usual(settings, registry.BUNDLED), device)
    of_photos = name != registry.BUNDLED and not any(check.name == "metric elements" for check in asked)
    model = name if of_photos else _PHOTOS
    photos = asked if of_photos else check_score(_usual(settings, model), device)
    return _sentence(_is_ready(shapes), model, photos, device)


def _sentence(demo: bool, model: str, photos: Sequence[Check], device: str) -> str:
    runs = "can run the bundled demo" if demo else "cannot run the bundled demo"
    if not _is_ready(photos):
        measures = "but cannot measure photos yet" if demo else "nor can it measure photos yet"
        return f"This machine {runs}, {measures}; first: {_commands(photos)}"
    time = f", slowly without a GPU (how long: origcli score PHOTO --model {model} --dry-run)"
    measures = "and measure" if demo else "but can measure"
    return f"This machine {runs} {measures} photos with {model}{time if device == 'cpu' else '.'}"


def _usual(settings: Settings, model: str) -> Settings:
    """The settings with a model and what it usually goes with."""
    score = settings.score.model_copy(update={"model": model, "metric": metrics.AUTO, "detector": None})
    return settings.model_copy(update={"score": score})


def _is_ready(checks: Sequence[Check]) -> bool:
    return all(check.state != "missing" for check in checks)


def _commands(checks: Sequence[Check]) -> str:
    """What to do about what is missing, with all fetching in one command."""
    remedies = list(dict.fromkeys(check.remedy for check in checks if check.state == "missing"))
    fetched = [remedy.removeprefix(_FETCH) for remedy in remedies if remedy.startswith(_FETCH)]
    others = [remedy for remedy in remedies if remedy and not remedy.startswith(_FETCH)]
    return "; ".join([*([_FETCH + " ".join(fetched)] if fetched else []), *others])


def check_fetched() -> Check:
    """Which of the models and metrics that have a name are on this disk."""
    here = [name for name in names() if state(name).path is not None]
    return Check(
        "fetched", "ok", ", ".join(here) or "no weights yet", "" if here else "see origcli fetch --list"
    )


def _check_model(name: str, runtime: Runtime) -> tuple[registry.ModelEntry | None, Check]:
    """The model if it can be opened, and what was found."""
    label = f"model {name}"
    if _is_hub_name(name):
        registry.hub_model(*name.partition("@")[::2])
    try:
        if _is_hub_name(name) and (kept := state(name)).path is None and not kept.problem:
            return None, _check_fetched(label, thing(name))
        entry = registry.resolve(name, runtime)
        _, weights = check_pipeline(entry.path, entry.variant, entry.weights_hash, entry.remedy)
    except ModelError as error:
        return None, Check(label, "missing", error.message, error.hint)
    known = "" if entry.weights_hash else ", not compared: no hash of them is recorded"
    where = entry.source if entry.source.startswith("hub:") else str(entry.path)
    return entry, Check(label, "ok", f"{where}, weights {weights[:12]}{known}")


def _is_hub_name(name: str) -> bool:
    local = name == registry.BUNDLED or Path(name).is_dir() or registry.looks_like_path(name)
    return not local


def _check_metric(name: str, detector: Path | None, settings: Settings, runtime: Runtime) -> list[Check]:
    """The distance, opened as a score opens it, and what is fetched for it."""
    needed, helpful = _check_downloads(name)
    if any(check.state == "missing" for check in needed):
        return [*needed, *helpful]
    label = f"metric {name}"
    try:
        opened = open_metric(name, runtime, detector=detector, settings=settings.detect)
    except ModelError as error:
        return [Check(label, "missing", error.message, error.hint)]
    detail = f"detector in {detector}" if metrics.find(name)[0].detector else opened.version
    return [Check(label, "ok", detail), *helpful]


def _check_downloads(name: str) -> tuple[list[Check], list[Check]]:
    """What is fetched for a metric, and for its test of being in distribution, which is left out without."""
    metric, variant = metrics.find(name)
    needs = metric.variants[variant]
    return (
        [_check_fetched(f"metric {name}", needed) for needed in needs],
        [_check_helpful(helpful) for helpful in metric.helpful if helpful not in needs],
    )


def _check_helpful(helpful: Fetchable) -> Check:
    check = _check_fetched(helpful.name, helpful)
    if check.state == "ok":
        return check
    return Check(check.name, "warning", check.detail, f"{check.remedy}; without it the test is left out")


def _check_fetched(label: str, wanted: Fetchable) -> Check:
    kept = wanted.state()
    if kept.path is None:
        return Check(label, "missing", f"{kept.what}: not downloaded", f"origcli fetch {wanted.name}")
    kind = f", {kept.variant}" if kept.variant else ""
    return Check(label, "ok", f"{kept.source}{kind}, {kept.bytes / 1e9:.2f} GB in {kept.path}")
