"""The report of a training stage, and the lines of its history that go into it."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from PIL import Image

from origcli.reports.envelope import Estimate, Provenance
from origcli.reports.provenance import build_provenance, section_facts
from origcli.reports.schema import LossPoint, Report, TrainResult
from origcli.reports.sheets import sheet
from origcli.reports.writers import read_report
from origcli.runtime.atomic import write_bytes
from origcli.runtime.context import Runtime
from origcli.runtime.distributed import is_main, wait_for_all
from origcli.settings import Section
from origcli.weights.registry import name_of

R = TypeVar("R", bound=Report[Any])
_POINTS = 200  # readings of the loss that a report keeps; history.csv has all


def provenance(
    command: str,
    sections: Mapping[str, Section],
    runtime: Runtime,
    dataset_hash: str,
    notes: Sequence[str] = (),
) -> Provenance:
    """What made a trained model."""
    return build_provenance(
        command,
        {name: section_facts(section) for name, section in sections.items()},
        runtime.seed,
        runtime.dtype,
        device=str(runtime.device),
        dataset_hash=dataset_hash,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class Amount:
    """How much was trained.

    Attributes:
        steps: of the optimizer.
        batch_size: samples a step.
        size: samples that there are to train on.
    """

    steps: int
    batch_size: int
    size: int


def stage_result(
    stage: str,
    amount: Amount,
    module: torch.nn.Module,
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]],
    **facts: Any,
) -> TrainResult:
    """The result of a training stage.

    Args:
        facts: what else is known of it, as `TrainResult` has it: where it lies, its hashes, its figures.
    """
    samples = amount.steps * amount.batch_size
    return TrainResult(
        stage=stage,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        steps=amount.steps,
        samples=samples,
        epochs=samples / amount.size,
        metrics={name: Estimate.of(value) for name, value in metrics.items()},
        history=loss_points(history),
        **facts,
    )


def by_the_first(report: Callable[[], R], runtime: Runtime) -> R:
    """The report of a stage: the first process of a launch makes and writes it, the others read it.

    Args:
        report: evaluates, writes all files of the stage and its report.
    """
    if is_main():
        made = report()
        wait_for_all(runtime.device)
        return made
    wait_for_all(runtime.device)
    return cast(R, read_report(runtime.out))


def loss_points(history: Sequence[Mapping[str, float]]) -> tuple[LossPoint, ...]:
    """At most a few hundred evenly spaced readings of the loss."""
    stride = max(1, len(history) // _POINTS)
    return tuple(_loss_point(row) for row in history[::stride])


def _loss_point(row: Mapping[str, float]) -> LossPoint:
    values = {name: value for name, value in row.items() if name != "step"}
    return LossPoint(step=int(row["step"]), values=values)


def save_loss_figure(path: Path, history: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    """Draws terms of the loss against steps, on a logarithmic scale."""
    from origcli.reports.figures import loss_curves  # matplotlib is slow to import

    write_bytes(path, loss_curves(history, names, log=True))


def save_sheet(path: Path, pictures: Sequence[Image.Image], columns: int, labels: Sequence[str] = ()) -> None:
    """Saves images side by side, small ones at twice their size."""
    side = max(128, max(picture.width for picture in pictures))
    buffer = io.BytesIO()
    sheet(pictures, labels, columns, size=side).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def notes_on_start(init_from: Path | None) -> tuple[str, ...]:
    """Says where the weights started from, if not from random numbers."""
    return () if init_from is None else (f"the weights started from {name_of(init_from)}",)
