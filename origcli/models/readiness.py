"""Whether a score could run here and now, without a network: what it needs, and what of it is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from origcli.errors import OrigError
from origcli.models import registry
from origcli.models.fetching import state


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


def check_score(name: str, device: str) -> list[Check]:
    """Looks for the model that a score on a kind of device would take, and for the metric that goes with it.

    Args:
        name: as `--model` takes it.
        device: `cuda`, `mps` or `cpu`.

    Raises:
        UsageError: not a model's name.
    """
    name = chosen_model(name, device)
    if name == registry.BUNDLED:
        return _check_directory(name, registry.bundled_directory())
    if Path(name).is_dir():
        return _check_directory(name, Path(name))
    return [_check_fetched(f"model {name}", name), *_check_real_world()]


def _check_directory(name: str, directory: Path) -> list[Check]:
    """A pipeline directory, its files against the hash that it was published with, and its detector."""
    from origcli.models.pipeline import hash_pipeline

    remedy = "install origcli again" if name == registry.BUNDLED else "give a directory that diffusers wrote"
    if not (directory / "model_index.json").is_file():
        return [Check(f"model {name}", "missing", f"{directory} has no model_index.json", remedy)]
    try:
        values = registry.read_registry(directory)
    except OrigError as error:
        return [Check(f"model {name}", "missing", error.message, error.hint)]
    found = hash_pipeline(directory, registry.local_variant(directory))
    if values.weights_hash not in (None, found):
        return [Check(f"model {name}", "missing", "its files are not those that were published", remedy)]
    model = Check(f"model {name}", "ok", f"{directory}, weights {found[:12]}")
    if values.metric != "elements":
        return [model, *_check_real_world()]
    detector = directory / registry.DETECTOR
    if detector.is_dir():
        return [model, Check("metric elements", "ok", f"detector in {detector}")]
    return [model, Check("metric elements", "missing", f"{directory} has no detector", remedy)]


def _check_real_world() -> list[Check]:
    """What is needed beside a model of the real world: the distance, and CLIP for the test of editability."""
    clip = _check_fetched("clip", "clip")
    if clip.state != "ok":
        remedy = f"{clip.remedy}, or score with --edit-prompt none"
        clip = Check("clip", "missing", clip.detail, remedy)
    return [_check_fetched("metric dreamsim", "dreamsim"), clip]


def _check_fetched(label: str, name: str) -> Check:
    found = state(name)
    if found.path is None:
        return Check(label, "missing", f"{found.what}: not on this disk", f"origcli fetch {name}")
    kind = f", {found.variant}" if found.variant else ""
    return Check(label, "ok", f"{found.source}{kind}, {found.bytes / 1e9:.2f} GB in {found.path}")
