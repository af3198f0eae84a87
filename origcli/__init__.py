"""How original is an image to a text-to-image diffusion model? Measured in learned tokens."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from origcli.interface import (
        Scorer,
        calibrate,
        compare,
        detect,
        doctor,
        draw,
        fetch,
        fixed_location,
        generalize,
        import_model,
        invert,
        popularity,
        rarity,
        score,
        synth,
        train_detector,
        train_transformer,
        train_unet,
        train_vae,
    )

__version__ = "0.1.0"

__all__ = [
    "Scorer",
    "__version__",
    "calibrate",
    "compare",
    "detect",
    "doctor",
    "draw",
    "fetch",
    "fixed_location",
    "generalize",
    "import_model",
    "invert",
    "popularity",
    "rarity",
    "score",
    "synth",
    "train_detector",
    "train_transformer",
    "train_unet",
    "train_vae",
]


def __getattr__(name: str) -> Any:
    """The functions of `origcli.interface`, loaded at their first use: importing origcli stays light."""
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from origcli.runtime.machine import require_posix

    require_posix()
    return getattr(import_module("origcli.interface"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
