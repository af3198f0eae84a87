"""`origcli train-unet`: the denoiser from scratch, and a pipeline directory out of it."""

from pathlib import Path
from typing import Annotated

import typer

from origcli.cli import options, present


def train_unet(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="A data set directory that `origcli synth` wrote.")
    ],
    vae: Annotated[
        Path,
        typer.Option(
            "--vae", metavar="DIR", help="A `train-vae` run, or a diffusers AutoencoderKL directory."
        ),
    ],
    out: options.OutOption = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            "--text-encoder",
            metavar="SOURCE",
            autocompletion=lambda: ["captions", "shapes"],
            help="captions (a small BERT pre-trained on this data set's captions), a run or pipeline that "
            "holds one, shapes (the bundled model's), or a BERT by hub id or directory. [default: small "
            "captions, paper google-bert/bert-base-uncased]",
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            "--epochs",
            metavar="N",
            help="Passes over the data; parts of one count. [default: small 4, paper 15]",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", help="Effective batch, over all processes. [default: 64]"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", metavar="RATE", help="Of AdamW. [default: small 1e-3, paper 6.4e-5]"),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="NAME",
            autocompletion=lambda: ["constant", "cosine"],
            help="constant, or cosine to zero. [default: small cosine, paper constant]",
        ),
    ] = None,
    prediction: Annotated[
        str | None,
        typer.Option(
            "--prediction",
            metavar="NAME",
            autocompletion=lambda: ["epsilon", "v_prediction"],
            help="epsilon or v_prediction. [default: small v_prediction, paper epsilon]",
        ),
    ] = None,
    min_snr_gamma: Annotated[
        float | None,
        typer.Option(
            "--min-snr-gamma",
            metavar="GAMMA",
            help="Weight the loss by min-SNR with this gamma, e.g. 5. [default: off]",
        ),
    ] = None,
    caption_dropout: Annotated[
        float | None,
        typer.Option(
            "--caption-dropout",
            metavar="P",
            help="Share of captions replaced by the empty one. [default: 0.1]",
        ),
    ] = None,
    ema_decay: Annotated[
        float | None,
        typer.Option(
            "--ema-decay",
            metavar="DECAY",
            help="Of the average of the weights. [default: small 0.998, paper 0.9999]",
        ),
    ] = None,
    sample_every: Annotated[
        int | None,
        typer.Option(
            "--sample-every",
            metavar="N",
            help="Steps between two sheets of samples; 0: none. [default: small 500, paper 1000]",
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            "--init-from",
            metavar="DIR",
            help="Start from this UNet, or this pipeline's, of the same shape; its text encoder may have had "
            "another width.",
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
    offline: options.OfflineOption = None,
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> None:
    """Train a UNet from scratch on the latents of a VAE.

    Writes OUT/pipeline, which `DiffusionPipeline.from_pretrained` and every command of origcli load,
    report.json, history.csv, and sheets of samples.

    \b
    Examples:
      origcli train-unet data/shapes --vae runs/vae --out runs/unet
      origcli train-unet data/shapes --vae runs/vae --out runs/unet --resume
      accelerate launch -m origcli train-unet data/shapes --vae runs/vae --preset paper
    """
    flags = {
        "unet": {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "schedule": schedule,
            "prediction": prediction,
            "min_snr_gamma": min_snr_gamma,
            "caption_dropout": caption_dropout,
            "ema_decay": ema_decay,
            "sample_every": sample_every,
        },
        "text_encoder": {"source": text_encoder},
        "runtime": {
            "seed": seed,
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "compile": compile,
            "offline": offline,
        },
    }
    settings = options.load_settings(preset, config, flags)
    from origcli.runtime.context import open_runtime
    from origcli.training import unet

    target = out or Path("runs") / f"unet-{dataset.name}"
    with open_runtime(
        settings.runtime, target, present.progress(quiet), options.existing(resume, force)
    ) as runtime:
        report = unet.run(
            dataset, vae, settings, runtime, resume=resume, workers=workers, track=track, init_from=init_from
        )
    present.report(report, form, options.TRAINED)
