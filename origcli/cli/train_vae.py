"""`origcli train-vae`: a variational autoencoder from scratch."""

from pathlib import Path
from typing import Annotated

import typer

from origcli.cli import options, present


def train_vae(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="A data set directory that `origcli synth` wrote.")
    ],
    out: options.OutOption = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            "--epochs",
            metavar="N",
            help="Passes over the data; parts of one count. [default: small 1, paper 8]",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", help="Effective batch, over all processes. [default: 32]"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", metavar="RATE", help="Of AdamW. [default: small 2e-3, paper 1e-5]"),
    ] = None,
    kl_weight: Annotated[
        float | None,
        typer.Option(
            "--kl-weight", metavar="W", help="Weight of the KL term. [default: small 1e-2, paper 1e-6]"
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            "--init-from",
            metavar="DIR",
            help="Start from the weights of this VAE directory of the same shape.",
        ),
    ] = None,
    freeze_encoder: Annotated[
        bool | None,
        typer.Option(
            "--freeze-encoder/--train-encoder",
            help="Train the decoder alone, so that latents and UNets stay good. [default: train both]",
        ),
    ] = None,
    workers: options.WorkersOption = 0,
    track: options.TrackOption = None,
    resume: options.ResumeOption = False,
    force: options.ForceOption = False,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    dtype: options.DtypeOption = None,
    threads: options.ThreadsOption = None,
    compile: options.CompileOption = None,
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> None:
    """Train a VAE from scratch on a data set.

    Writes OUT/vae (a diffusers AutoencoderKL), report.json, history.csv, and sheets of held-out
    pictures over their reconstructions.

    \b
    Examples:
      origcli synth data/shapes --mixture originality
      origcli train-vae data/shapes --out runs/vae
      accelerate launch -m origcli train-vae data/shapes --out runs/vae --preset paper
    """
    flags = {
        "vae": {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "kl_weight": kl_weight,
            "freeze_encoder": freeze_encoder,
        },
        "runtime": {"seed": seed, "device": device, "dtype": dtype, "threads": threads, "compile": compile},
    }
    settings = options.load_settings(preset, config, flags)
    from origcli.runtime.context import open_runtime
    from origcli.training import vae

    target = out or Path("runs") / f"vae-{dataset.name}"
    with open_runtime(
        settings.runtime, target, present.progress(quiet), options.existing(resume, force)
    ) as runtime:
        report = vae.run(
            dataset, settings, runtime, resume=resume, workers=workers, track=track, init_from=init_from
        )
    present.report(report, form, options.TRAINED)
