"""`origcli train-vae`: a variational autoencoder from scratch."""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import Sets, flag, option
from origcli.cli.run import ALL, Run, command


@command(ALL - {"dry_run"})
def train_vae(
    dataset: options.DatasetArgument,
    epochs: Annotated[float | None, options.EPOCHS, Sets("vae.epochs")] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE, Sets("vae.batch_size")] = None,
    learning_rate: Annotated[float | None, options.LEARNING_RATE, Sets("vae.learning_rate")] = None,
    kl_weight: Annotated[
        float | None,
        option("--kl-weight", "W", "Weight of the KL term."),
        Sets("vae.kl_weight"),
    ] = None,
    init_from: Annotated[
        str | None,
        option(
            "--init-from",
            "DIR",
            "Start from this VAE of the same shape: a run of this command, a pipeline, shapes (bundled), or "
            "an AutoencoderKL directory.",
            words=("shapes",),
        ),
    ] = None,
    freeze_encoder: Annotated[
        bool | None,
        flag(
            "--freeze-encoder/--train-encoder",
            "Train only the decoder, so that latents and UNets stay valid.",
        ),
        Sets("vae.freeze_encoder"),
    ] = None,
    workers: options.WorkersOption = 0,
    track: options.TrackOption = None,
    *,
    run: Run,
) -> None:
    """Train a VAE from scratch on a data set.

    Writes OUT/vae (a diffusers AutoencoderKL), report.json, history.csv, and sheets of held-out
    images with their reconstructions.

    \b
    Examples:
      origcli synth data/shapes --mixture originality
      origcli train-vae data/shapes --out runs/vae
      accelerate launch -m origcli train-vae data/shapes --out runs/vae --preset paper
    """
    with run.starting():
        from origcli.training import vae
        from origcli.weights.registry import weights_directory

    settings = run.settings
    target = run.out or Path("runs") / f"vae-{dataset.name}"
    with run.open(settings, target) as runtime:
        report = vae.run(
            dataset,
            settings,
            runtime,
            resume=run.resume,
            workers=workers,
            track=track,
            init_from=None if init_from is None else weights_directory(init_from),
        )
    present.report(report, run.form, options.TRAINED, drop=options.DROP_OF_TRAINED)
