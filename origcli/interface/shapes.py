"""`synth` and the trainings: the world of shapes, from data to models."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from origcli.interface.calling import (
    AnyPath,
    Call,
    Paths,
    Preset,
    SettingsTree,
    as_path,
    as_paths,
    as_weights,
    checked,
)

if TYPE_CHECKING:
    from origcli.reports.schema import (
        TrainDetectorReport,
        TrainTransformerReport,
        TrainUnetReport,
        TrainVaeReport,
    )
    from origcli.scenes.dataset import Dataset

_SYNTH = {
    name: f"synth.{name}"
    for name in (
        *(
            "count",
            "resolution",
            "shards",
            "caption_order",
            "sizes",
            "colors",
            "textures",
            "shapes",
            "hold_out",
        ),
        *("hold_out", "mixture", "category", "max_elements", "empty", "no_overlap", "fixed_location"),
    )
}
_TRAINING = ("epochs", "batch_size", "learning_rate")
_VAE = {name: f"vae.{name}" for name in (*_TRAINING, "kl_weight", "freeze_encoder")}
_UNET = {
    "text_encoder": "text_encoder.source",
    **{
        name: f"unet.{name}"
        for name in (
            *_TRAINING,
            *("schedule", "prediction", "min_snr_gamma", "caption_dropout", "ema_decay", "sample_every"),
        )
    },
}
_TRANSFORMER = {
    name: f"transformer.{name}"
    for name in (*_TRAINING, "schedule", "caption_dropout", "ema_decay", "sample_every")
}
_DETECTOR = {
    name: f"detector.{name}" for name in (*_TRAINING, "architecture", "input_size", "harden", "held_out")
}


@checked
def synth(
    directory: AnyPath,
    *,
    count: int | None = None,
    resolution: int | None = None,
    mixture: str | None = None,
    category: str | None = None,
    sizes: Sequence[str] | None = None,
    colors: Sequence[str] | None = None,
    textures: Sequence[str] | None = None,
    shapes: Sequence[str] | None = None,
    hold_out: Sequence[str] | None = None,
    max_elements: int | None = None,
    empty: float | None = None,
    caption_order: str | None = None,
    no_overlap: bool | None = None,
    fixed_location: bool | None = None,
    shards: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> "Dataset":
    """Makes a data set of colored shapes; `origcli synth`.

    Args:
        directory: where it goes.
        count: number of images.
        resolution, mixture, category, sizes, colors, textures, shapes, hold_out, max_elements, empty,
            caption_order, no_overlap, fixed_location, shards, workers: as the options of the command.
        resume, force, preset, config, settings, seed, threads, quiet: as of `score`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.runtime.machine import cores
    from origcli.runtime.run_place import existing
    from origcli.scenes.mixtures import Recipe
    from origcli.scenes.writing import write_dataset

    call = Call.of("synth", locals(), _SYNTH)
    return write_dataset(
        Recipe(call.settings.synth, call.settings.runtime.seed),
        as_path(directory),
        workers=workers or call.settings.runtime.threads or cores(),
        existing=existing(resume, force),
        progress=call.progress,
    )


@checked
def train_vae(
    dataset: AnyPath,
    *,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    kl_weight: float | None = None,
    init_from: AnyPath | None = None,
    freeze_encoder: bool | None = None,
    workers: int = 0,
    track: str | None = None,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "TrainVaeReport":
    """Trains a VAE from scratch on a data set; `origcli train-vae`.

    Args:
        dataset: directory of a data set.
        epochs, batch_size, learning_rate, kl_weight, init_from, freeze_encoder, workers, track: as the
            options of the command.
        out and the keywords after it: as of `score`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.training import vae

    call = Call.of("vae", locals(), _VAE)
    path = as_path(dataset)
    start = None if init_from is None else as_weights(init_from)
    with call.opened([path.name]) as runtime:
        report = vae.run(
            path, call.settings, runtime, resume=resume, workers=workers, track=track, init_from=start
        )
        return report.at(runtime.given)


@checked
def train_unet(
    dataset: AnyPath,
    vae: AnyPath,
    *,
    text_encoder: str | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    schedule: str | None = None,
    prediction: str | None = None,
    min_snr_gamma: float | None = None,
    caption_dropout: float | None = None,
    ema_decay: float | None = None,
    sample_every: int | None = None,
    init_from: AnyPath | None = None,
    workers: int = 0,
    track: str | None = None,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "TrainUnetReport":
    """Trains a UNet from scratch on the latents of a VAE; `origcli train-unet`.

    Args:
        dataset: directory of a data set.
        vae: a run of `train_vae`, a pipeline, `"shapes"`, or the directory of an AutoencoderKL.
        text_encoder, epochs, batch_size, learning_rate, schedule, prediction, min_snr_gamma, caption_dropout,
            ema_decay, sample_every, init_from, workers, track: as the options of the command.
        out and the keywords after it: as of `score`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.training import unet

    call = Call.of("unet", locals(), _UNET)
    path = as_path(dataset)
    start = None if init_from is None else as_weights(init_from)
    with call.opened([path.name]) as runtime:
        report = unet.run(
            path,
            as_weights(vae),
            call.settings,
            runtime,
            resume=resume,
            workers=workers,
            track=track,
            init_from=start,
        )
        return report.at(runtime.given)


@checked
def train_transformer(
    dataset: AnyPath,
    vae: AnyPath,
    *,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    schedule: str | None = None,
    caption_dropout: float | None = None,
    ema_decay: float | None = None,
    sample_every: int | None = None,
    init_from: AnyPath | None = None,
    workers: int = 0,
    track: str | None = None,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "TrainTransformerReport":
    """Trains a small transformer of Stable Diffusion 3's kind from scratch; `origcli train-transformer`.

    Args:
        dataset: directory of a data set.
        vae: a run of `train_vae`, a pipeline, `"shapes"`, or the directory of an AutoencoderKL.
        epochs, batch_size, learning_rate, schedule, caption_dropout, ema_decay, sample_every, init_from,
            workers, track: as the options of the command.
        out and the keywords after it: as of `score`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.training import transformer

    call = Call.of("transformer", locals(), _TRANSFORMER)
    path = as_path(dataset)
    start = None if init_from is None else as_path(init_from)
    with call.opened([path.name]) as runtime:
        report = transformer.run(
            path,
            as_weights(vae),
            call.settings,
            runtime,
            resume=resume,
            workers=workers,
            track=track,
            init_from=start,
        )
        return report.at(runtime.given)


@checked
def train_detector(
    datasets: Paths,
    *,
    architecture: str | None = None,
    init: AnyPath | None = None,
    input_size: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    harden: float | None = None,
    held_out: int | None = None,
    workers: int = 0,
    track: str | None = None,
    out: AnyPath | None = None,
    resume: bool = False,
    force: bool = False,
    preset: Preset | None = None,
    config: AnyPath | None = None,
    settings: SettingsTree | None = None,
    seed: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    offline: bool | None = None,
    quiet: bool = False,
) -> "TrainDetectorReport":
    """Trains YOLOv8 to find and count elements; `origcli train-detector`.

    Args:
        datasets: directories of data sets.
        architecture, init, input_size, epochs, batch_size, learning_rate, harden, held_out, workers,
            track: as the options of the command.
        out and the keywords after it: as of `score`.

    Raises:
        OrigError: as the command would end with its exit status.
    """
    from origcli.training import detector

    call = Call.of("detector", locals(), _DETECTOR)
    paths = as_paths(datasets)
    start = None if init is None else as_path(init)
    with call.opened([path.name for path in paths[:1]]) as runtime:
        report = detector.run(
            paths, call.settings, runtime, init=start, resume=resume, workers=workers, track=track
        )
        return report.at(runtime.given)
