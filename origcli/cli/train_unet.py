"""`origcli train-unet`: the denoiser from scratch, and a pipeline directory out of it."""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import Sets, option
from origcli.cli.run import ALL, Run, command


@command(ALL - {"dry_run"})
def train_unet(
    dataset: options.DatasetArgument,
    vae: options.VaeOption,
    text_encoder: Annotated[
        str | None,
        option(
            "--text-encoder",
            "SOURCE",
            "captions (a small BERT pre-trained on this data set's captions), a run or pipeline that "
            "holds one, shapes (the bundled model's), or a BERT by hub id or directory.",
            words=("captions", "shapes"),
        ),
        Sets("text_encoder.source"),
    ] = None,
    epochs: Annotated[float | None, options.EPOCHS, Sets("unet.epochs")] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE, Sets("unet.batch_size")] = None,
    learning_rate: Annotated[float | None, options.LEARNING_RATE, Sets("unet.learning_rate")] = None,
    schedule: Annotated[str | None, options.SCHEDULE, Sets("unet.schedule")] = None,
    prediction: Annotated[
        str | None,
        option("--prediction", "NAME", "epsilon or v_prediction.", words=("epsilon", "v_prediction")),
        Sets("unet.prediction"),
    ] = None,
    min_snr_gamma: Annotated[
        float | None,
        option("--min-snr-gamma", "GAMMA", "Weight the loss by min-SNR with this gamma, e.g. 5."),
        Sets("unet.min_snr_gamma", unset="off"),
    ] = None,
    caption_dropout: Annotated[float | None, options.CAPTION_DROPOUT, Sets("unet.caption_dropout")] = None,
    ema_decay: Annotated[float | None, options.EMA_DECAY, Sets("unet.ema_decay")] = None,
    sample_every: Annotated[int | None, options.SAMPLE_EVERY, Sets("unet.sample_every")] = None,
    init_from: Annotated[
        str | None,
        option(
            "--init-from",
            "DIR",
            "Start from this UNet, this pipeline's, or that of shapes (bundled), of the same shape; its text "
            "encoder may have had another width.",
            words=("shapes",),
        ),
    ] = None,
    workers: options.WorkersOption = 0,
    track: options.TrackOption = None,
    *,
    run: Run,
) -> None:
    """Train a UNet from scratch on the latents of a VAE.

    Writes OUT/pipeline, which `DiffusionPipeline.from_pretrained` and every command of origcli load,
    report.json, history.csv, and sheets of samples.

    \b
    Examples:
      origcli train-unet data/shapes --vae runs/vae --out runs/unet
      origcli train-unet data/shapes --vae runs/vae --out runs/unet --resume
      origcli train-unet data/more --vae shapes --text-encoder shapes --init-from shapes
      accelerate launch -m origcli train-unet data/shapes --vae runs/vae --preset paper
    """
    with run.starting():
        from origcli.training import unet
        from origcli.weights.registry import weights_directory

    settings = run.settings
    target = run.out or Path("runs") / f"unet-{dataset.name}"
    with run.open(settings, target) as runtime:
        report = unet.run(
            dataset,
            weights_directory(vae),
            settings,
            runtime,
            resume=run.resume,
            workers=workers,
            track=track,
            init_from=None if init_from is None else weights_directory(init_from),
        )
    present.report(report, run.form, options.TRAINED, drop=options.DROP_OF_TRAINED)
