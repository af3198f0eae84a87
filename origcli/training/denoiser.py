"""What train-unet and train-transformer do alike: open the data, train, measure, write model and report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from origcli.models.families.family import Family
from origcli.models.pipeline import DiffusionModel, save_pipeline
from origcli.models.vae import load_vae
from origcli.reports.envelope import Status
from origcli.reports.schema import Report
from origcli.reports.writers import write_report
from origcli.runtime.atomic import atomic_directory
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_value
from origcli.scenes import dataset as datasets
from origcli.settings import Section, Settings, TransformerSettings, UNetSettings
from origcli.training.denoising import Features, Latents, held_out_loss, step_randoms
from origcli.training.features import distinct, hash_module
from origcli.training.identity import start_hash
from origcli.training.loop import Job, train
from origcli.training.report import (
    Amount,
    by_the_first,
    notes_on_start,
    provenance,
    save_loss_figure,
    stage_result,
)
from origcli.training.samples import SAMPLE_GUIDANCE, draw_samples, sample_prompts
from origcli.training.schedule import steps_in
from origcli.training.vae import held_out_indices, latent_side
from origcli.weights.hashing import hash_pipeline

R = TypeVar("R", bound=Report[Any])


@dataclass(frozen=True)
class Opened:
    """What a denoiser is trained on.

    Attributes:
        held_out: the images that it is measured on alone.
        vae: on the device.
        side: of a latent.
    """

    data: datasets.Dataset
    held_out: range
    vae: Any
    side: int


def open_data(data_path: Path, vae_path: Path, settings: Settings, runtime: Runtime) -> Opened:
    """Opens the data set and the VAE.

    Raises:
        InputError: the data set is missing or too small to hold images out.
        ModelError: the VAE cannot be loaded.
        UsageError: the VAE cannot halve the images.
    """
    data = datasets.read_dataset(data_path)
    held_out = held_out_indices(data, settings.vae.held_out)
    vae = load_vae(vae_path).to(runtime.device, memory_format=torch.channels_last)
    return Opened(data, held_out, vae, latent_side(data, len(vae.config.block_out_channels)))


def in_training(family: Family, runtime: Runtime) -> DiffusionModel:
    """The model whose denoiser learns, as it samples meanwhile."""
    return DiffusionModel(
        name="training",
        source=str(runtime.out),
        weights_hash="",
        family=family,
        device=runtime.device,
        dtype=torch.float32,
        guidance=SAMPLE_GUIDANCE,
    )


@dataclass(frozen=True)
class Stage(Generic[R]):
    """A denoiser that is to be trained.

    Attributes:
        name: `unet` or `transformer`; the command is `train-NAME`.
        own: its settings.
        sections: all settings that its report names.
        report: makes its report.
        model: is in training.
        objective, trained, called: as in `Job`.
        features: of all images of the data set, the held-out ones last.
        identity: what a resumed run has to repeat beside settings, data and VAE.
        init_from: what its weights started from.
    """

    name: str
    own: UNetSettings | TransformerSettings
    sections: Mapping[str, Section]
    report: Callable[..., R]
    model: DiffusionModel
    objective: nn.Module
    trained: nn.Module
    features: Features
    identity: Mapping[str, Any]
    init_from: Path | None
    called: tuple[str, ...] = ("",)

    @property
    def command(self) -> str:
        """The command that trains it."""
        return f"train-{self.name}"


def train_denoiser(
    stage: Stage[R],
    opened: Opened,
    settings: Settings,
    runtime: Runtime,
    *,
    resume: bool,
    workers: int,
    track: str | None,
) -> R:
    """Trains a denoiser and writes `pipeline/`, a report, `history.csv` and sheets of samples.

    Raises:
        UsageError: `resume` with other settings, data or models.
    """
    own, model, size = stage.own, stage.model, opened.held_out.start
    randoms = step_randoms(tuple(stage.features.moments.shape[2:]), model.noising)
    shown = sample_prompts(distinct(opened.data.captions)[0])
    job = Job(
        name=stage.command,
        objective=stage.objective,
        trained=stage.trained,
        samples=Latents(stage.features, 0, size),
        size=size,
        randoms=randoms,
        identity=_identity(stage, opened, runtime),
        preview=lambda step: draw_samples(model, shown, settings, runtime, f"samples-{step:08d}.png"),
        called=stage.called,
    )
    amount = Amount(steps_in(own.epochs, size, own.batch_size), own.batch_size, size)
    history = train(job, own, amount.steps, runtime, resume=resume, workers=workers, track=track)

    def finish() -> R:
        held_out = Latents(stage.features, size, len(opened.held_out))
        measured = held_out_loss(stage.objective, held_out, randoms, runtime)
        write_pipeline(model, runtime.out)
        draw_samples(model, shown, settings, runtime, "samples.png")
        save_loss_figure(runtime.out / "loss.png", history, ("loss",))

        dataset_hash, notes = opened.data.hash, notes_on_start(stage.init_from)
        report = stage.report(
            status=Status.complete,
            provenance=provenance(stage.command, stage.sections, runtime, dataset_hash, notes),
            results=(
                stage_result(
                    stage.name,
                    amount,
                    stage.trained,
                    measured,
                    history,
                    directory="pipeline",
                    dataset_hash=dataset_hash,
                    weights_hash=hash_pipeline(runtime.out / "pipeline"),
                    figures=("loss.png", "samples.png"),
                ),
            ),
        )
        write_report(runtime.out, report)
        return report

    return by_the_first(finish, runtime)


def _identity(stage: Stage[R], opened: Opened, runtime: Runtime) -> dict[str, Any]:
    data = opened.data
    return {
        "settings": stage.own.model_dump(mode="json"),
        "seed": runtime.seed,
        "data": data.hash,
        "pictures": data.pictures_hash,
        "captions": hash_value(data.captions),
        "held_out": len(opened.held_out),
        "vae": hash_module(opened.vae),
        **stage.identity,
        "init_from": start_hash(stage.init_from),
    }


def write_pipeline(model: DiffusionModel, out: Path) -> None:
    """Writes `pipeline/`, whole or not at all."""
    for part in (model.vae, model.denoiser):
        part.to(memory_format=torch.contiguous_format)
    with atomic_directory(out / "pipeline") as partial:
        save_pipeline(partial, **model.family.parts)
