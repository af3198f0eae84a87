"""Everything that can be fetched ahead of a run, by name: models, what metrics need, files of weights.

Needs no torch to list and check.
"""

from collections.abc import Sequence
from itertools import chain

from origcli.errors import ModelError, UsageError, nearest
from origcli.perception import metrics
from origcli.runtime.progress import Progress
from origcli.weights.downloads import RemoteFile
from origcli.weights.fetchable import Fetchable, FileFetchable, HubFetchable, State
from origcli.weights.registry import BUNDLED, COMPANIONS, HUB_MODELS, hub_model

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
    "sdxl": "Stable Diffusion XL 1.0",
    "sd35-medium": "Stable Diffusion 3.5 medium",
    "sd35-large": "Stable Diffusion 3.5 large",
    "flux-dev": "FLUX.1 dev",
    "pixart-alpha": "PixArt-α at 1024 pixels",
    "pixart-sigma": "PixArt-Σ at 1024 pixels",
    "sana": "Sana at 1024 pixels, 1.6 billion weights",
    "z-image": "Z-Image",
    "qwen-image": "Qwen-Image",
    "bert": "BERT, the text encoder of train-unet --preset paper",
    "yolov8n": "YOLOv8n, to train a detector from",
}


def names() -> tuple[str, ...]:
    """Everything that has a name."""
    return tuple(_named())


def _named() -> dict[str, Fetchable]:
    models = [HubFetchable(name, model, _WHAT[name]) for name, model in {**HUB_MODELS, **COMPANIONS}.items()]
    needs = chain.from_iterable(metric.variants.values() for metric in metrics.known())
    things: list[Fetchable] = [*models, *chain.from_iterable(needs), *map(weight_file, WEIGHT_FILES)]
    return {thing.name: thing for thing in things}


def state(name: str, *, verify: bool = False, variant: str | None = None) -> State:
    """How a thing stands on this disk; no network is asked.

    Args:
        name: one of `names()`, or a hub id of a pipeline, with `@REVISION` where wanted.
        verify: read it all and compare the hashes with those recorded.
        variant: `fp16` asks for these files of a model of the hub; else the full ones are looked for first.

    Raises:
        UsageError: not a name of any kind.
    """
    return thing(name).state(verify=verify, variant=variant)


def fetch(name: str, progress: Progress, *, variant: str | None = None) -> State:
    """Gets a thing that is not here yet, or not sound; see `state`.

    Args:
        variant: `fp16` gets the weight files of half the size.

    Raises:
        ModelError: it cannot be had.
    """
    wanted = thing(name)
    wanted.fetch(progress, variant=variant)
    return wanted.state(variant=variant)


def fetch_all(
    wanted: Sequence[str],
    progress: Progress,
    *,
    stay: bool = False,
    verify: bool = False,
    variant: str | None = None,
) -> list[State]:
    """Gets what is not here yet of several things, and tells how each stands.

    Args:
        stay: get nothing.
        verify: read what is here and compare the hashes with those recorded.
        variant: `fp16` for weight files of half the size.

    Raises:
        UsageError: an unknown name or variant.
        ModelError: something cannot be had.
    """
    if variant not in (None, "fp16"):
        raise UsageError(f"unknown variant {variant!r}", "choose fp16, or leave it out for the full weights")
    states = []
    for name in wanted:
        current = state(name, verify=verify or not stay, variant=variant)
        if not stay and (not current.ready or current.variant not in (variant, None)):
            current = fetch(name, progress, variant=variant)
        states.append(current)
    return states


def check_fetched(states: Sequence[State], missing_is_wrong: bool) -> None:
    """Makes sure that nothing is damaged, and that all is here where that was asked for.

    Raises:
        ModelError: something is not; names the remedy.
    """
    damaged = [state for state in states if state.problem]
    missing = [state for state in states if state.path is None] if missing_is_wrong else []
    if damaged:
        raise ModelError(
            "; ".join(f"{state.name}: {state.problem}" for state in damaged),
            f"download again: origcli fetch {' '.join(state.name for state in damaged)}",
        )
    if missing:
        listed = " ".join(state.name for state in missing)
        raise ModelError(f"not downloaded: {listed}", f"with a network, run: origcli fetch {listed}")


def weight_file(name: str) -> FileFetchable:
    """A single weight file by its name."""
    return FileFetchable(name, WEIGHT_FILES[name], _WHAT[name])


def thing(name: str) -> Fetchable:
    """What a name means: one of `names()`, or a hub id of a pipeline.

    Raises:
        UsageError: nothing.
    """
    if name in (named := _named()):
        return named[name]
    base, _, revision = name.partition("@")
    if base == BUNDLED:
        raise UsageError(f"{BUNDLED} is part of the package: nothing to download", "see origcli doctor")
    if ":" in name and name.partition(":")[0] in metrics.names():
        metrics.find(name)  # raises for a variant that does not exist
    if base not in HUB_MODELS and "/" not in base:
        raise UsageError(
            f"unknown model or metric {name!r}",
            f"{nearest(base, names())}, or give a hub id (OWNER/NAME)",
        )
    return HubFetchable(name, hub_model(base, revision))
