"""Everything that can be fetched ahead of a run: what there is, whether it is here and sound, and getting it.

Needs no torch to list and check.
"""

from dataclasses import dataclass
from pathlib import Path

from origcli.errors import ModelError, UsageError, nearest
from origcli.runtime.cache import cache_directory
from origcli.runtime.progress import Progress
from origcli.runtime.provenance import hash_file
from origcli.weights import dreamsim_release, hub
from origcli.weights.downloads import RemoteFile, announced_size, download
from origcli.weights.registry import BUNDLED, COMPANIONS, HUB_MODELS, hub_model
from origcli.weights.repository import HubModel

WEIGHT_FILES = {
    # Fine-tuning from the published YOLOv8 (supplement 2.1); a pickle, which train-detector reads safely.
    "yolov8n": RemoteFile(
        "https://github.com/ultralytics/assets/releases/download/v8.3.0/yolov8n.pt",
        size=6_549_796,
        sha256="f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36",
    ),
}
_WHAT = {
    "sd15": "Stable Diffusion 1.5, the default model on a GPU",
    "sd14": "Stable Diffusion 1.4",
    "bert": "BERT, the text encoder of train-unet --preset paper",
    "clip": "CLIP ViT-L/14, for the test of editability",
    "dreamsim": "DreamSim's ensemble, the default distance for real models",
    "yolov8n": "YOLOv8n, to train a detector from",
}


@dataclass(frozen=True)
class State:
    """One thing that can be fetched, as it is on this disk.

    Attributes:
        name: what `origcli fetch` calls it.
        what: what it is for.
        source: hub id and commit, or URL.
        path: where it is; `None` where it is not here.
        bytes: its size here.
        variant: of weights in the hub's cache.
        problem: what is wrong with it; only looked for where asked.
    """

    name: str
    what: str
    source: str
    path: Path | None
    bytes: int = 0
    variant: str | None = None
    problem: str = ""

    @property
    def ready(self) -> bool:
        """Whether it can be used without a network."""
        return self.path is not None and not self.problem


def names() -> tuple[str, ...]:
    """Everything that has a name."""
    metrics = map(dreamsim_release.metric_name, dreamsim_release.RELEASES)
    return (*HUB_MODELS, *COMPANIONS, *metrics, *WEIGHT_FILES)


def state(name: str, *, verify: bool = False, variant: str | None = None) -> State:
    """How a thing stands on this disk; no network is asked.

    Args:
        name: one of `names()`, or a hub id of a pipeline, with `@REVISION` where wanted.
        verify: read it all and compare the hashes with those recorded.
        variant: `fp16` asks for these files of a model of the hub; else the full ones are looked for first.

    Raises:
        UsageError: not a name of any kind.
    """
    if name in WEIGHT_FILES:
        return _file_state(name, verify)
    if (branch := _dreamsim_variant(name)) is not None:
        return _dreamsim_state(name, branch, verify)
    return _hub_state(name, verify, (variant,) if variant else (None, "fp16"))


def fetch(name: str, progress: Progress, *, variant: str | None = None) -> State:
    """Gets a thing that is not here yet, or not sound; see `state`.

    Args:
        variant: `fp16` gets the weight files of half the size.

    Raises:
        ModelError: it cannot be had.
    """
    if name in WEIGHT_FILES:
        remote = WEIGHT_FILES[name]
        progress.say(f"fetching {remote.name} ({(announced_size(remote) or 0) / 1e6:.1f} MB)")
        download(remote, weight_file(name), progress)
    elif (release := _dreamsim_variant(name)) is not None:
        dreamsim_release.fetch_release(release, progress)
    else:
        hub.fetch(_hub_model(name), (variant,) if variant else (None, "fp16"), progress)
    return state(name, variant=variant)


def weight_file(name: str) -> Path:
    """Where a single weight file is, or would be."""
    return cache_directory("weights") / WEIGHT_FILES[name].name


def _dreamsim_variant(name: str) -> str | None:
    """The variant that a metric's name means; `None` for other names."""
    head, _, variant = name.partition(":")
    if head != "dreamsim":
        return None
    variant = variant or "ensemble"
    dreamsim_release.release(variant)
    return variant


def _hub_model(name: str) -> HubModel:
    base, _, revision = name.partition("@")
    if base in COMPANIONS and not revision:
        return COMPANIONS[base]
    if base == BUNDLED:
        raise UsageError(f"{BUNDLED} is in the package: there is nothing to fetch", "see origcli doctor")
    if base not in HUB_MODELS and "/" not in base:
        raise UsageError(
            f"nothing that can be fetched is called {name!r}",
            f"{nearest(base, names())}, or give a hub id (OWNER/NAME)",
        )
    return hub_model(base, revision)


def _hub_state(name: str, verify: bool, variants: hub.Variants) -> State:
    model = _hub_model(name)
    what, source = _WHAT.get(name, "a model of the hub"), f"{model.id}@{model.revision}"
    try:
        found = hub.find(model, variants)
    except ModelError as error:  # of another kind, or damaged
        return State(name, what, source, None, problem=error.message)
    if found is None:
        return State(name, what, source, None)
    files = [path for path in found.path.rglob("*") if path.is_file()]
    return State(
        name=name,
        what=what,
        source=f"{model.id}@{found.revision}",
        path=found.path,
        bytes=sum(path.stat().st_size for path in files),
        variant=found.variant,
        problem=hub.verify(found) if verify else "",
    )


def _dreamsim_state(name: str, variant: str, verify: bool) -> State:
    what = _WHAT.get(name, "a single branch of DreamSim: another metric")
    source = dreamsim_release.release(variant).archive.url
    if not dreamsim_release.is_fetched(variant):
        return State(name, what, source, None)
    directory, problem = dreamsim_release.directory_of(variant), ""
    if verify:
        try:
            dreamsim_release.verified(variant)
        except ModelError as error:
            problem = error.message
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return State(name, what, source, directory, size, problem=problem)


def _file_state(name: str, verify: bool) -> State:
    remote, path = WEIGHT_FILES[name], weight_file(name)
    if not path.is_file():
        return State(name, _WHAT[name], remote.url, None)
    problem = f"{path}: changed since it was fetched" if verify and hash_file(path) != remote.sha256 else ""
    return State(name, _WHAT[name], remote.url, path, path.stat().st_size, problem=problem)
