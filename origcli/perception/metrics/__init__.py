"""The metrics that have a name: each is one file of this folder, called as the metric is, that registers it.

A file says all that the rest of the program asks of its metric: for which models it is the default, what it
needs fetched, how it is opened. What it opens (a `Distance`) says which test of being in distribution fits,
and what of an image's features is kept. Nothing here imports torch before a metric is opened, and names are
listed without importing a metric at all.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from origcli.errors import ModelError, UsageError, nearest

if TYPE_CHECKING:
    from origcli.perception.distance import Distance
    from origcli.runtime.context import Runtime
    from origcli.settings import DetectSettings
    from origcli.weights.fetchable import Fetchable

AUTO = "auto"


@dataclass(frozen=True)
class Opening:
    """What a metric is opened with.

    Attributes:
        variant: the part of the name after the colon; empty where there is none.
        detector: directory of the detector of the model, or the one that the user gave.
        settings: of detection.
    """

    variant: str
    runtime: "Runtime"
    detector: Path | None
    settings: "DetectSettings"


@dataclass(frozen=True)
class Metric:
    """What is known of a metric before it is opened.

    Attributes:
        name: as the user calls it.
        open: makes the distance.
        variants: what each variant needs fetched; the one that is meant where none is named has the name "".
        plain: another name of that one.
        default_for: whether `auto` takes this metric for a model that has a detector, or has none. Of all
            metrics one says yes.
        detector: whether it needs a detector.
        shapes_only: whether it sees nothing but the shapes world, and so measures models of that world alone.
        helpful: what its test of being in distribution needs; without it the test is left out.
        sections: folders of the cache that are its own, and what they hold.
    """

    name: str
    open: "Callable[[Opening], Distance]"
    variants: "Mapping[str, tuple[Fetchable, ...]]" = field(default_factory=lambda: {"": ()})
    plain: str = ""
    default_for: Callable[[bool], bool] = lambda has_detector: False
    detector: bool = False
    shapes_only: bool = False
    helpful: "tuple[Fetchable, ...]" = ()
    sections: Mapping[str, str] = field(default_factory=dict)


_registered: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Makes a metric known under its name."""
    _registered[metric.name] = metric


def names() -> tuple[str, ...]:
    """The names of all metrics, without their variants."""
    files = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted({*files, *_registered}))


def known() -> Iterator[Metric]:
    """All metrics."""
    return (_load(name) for name in names())


def find(name: str) -> tuple[Metric, str]:
    """The metric that a name means, and its variant.

    Args:
        name: `NAME` or `NAME:VARIANT`.

    Raises:
        UsageError: it is unknown.
    """
    base, _, variant = name.partition(":")
    if base not in names():
        raise UsageError(f"unknown metric {name!r}", nearest(name, (AUTO, *names())))
    metric = _load(base)
    variant = "" if variant == metric.plain else variant
    if variant not in metric.variants:
        others = [other for other in metric.variants if other]
        remedy = f"choose from {', '.join(others)}" if others else f"it has none: --metric {base}"
        raise UsageError(f"{base} has no variant {variant!r}", remedy)
    return metric, variant


def sees_shapes_only(name: str) -> bool:
    """Whether the metric that a report names sees nothing but the shapes world; of an unknown one, no."""
    base = name.partition(":")[0]
    return base in names() and _load(base).shapes_only


def _load(name: str) -> Metric:
    if name not in _registered:
        importlib.import_module(f"{__name__}.{name}")
    return _registered[name]


def default_metric(has_detector: bool) -> str:
    """The metric that fits models with a detector, or without."""
    return next(metric.name for metric in known() if metric.default_for(has_detector))


def open_metric(
    name: str, runtime: "Runtime", *, detector: Path | None, settings: "DetectSettings"
) -> "Distance":
    """The distance called `name`.

    Args:
        detector: directory of the detector, for metrics that need one.
        settings: of detection, for these.

    Raises:
        UsageError: no metric has this name.
        ModelError: its weights are missing, damaged, or cannot be fetched; or it needs a detector and there
            is none.
    """
    metric, variant = find(name)
    if metric.detector and detector is None:
        other = default_metric(has_detector=False)
        raise ModelError(
            f"the {name} metric needs a detector, and this model has none",
            f"give --detector DIR (train one with origcli train-detector), or --metric {other}",
        )
    return metric.open(Opening(variant, runtime, detector, settings))
