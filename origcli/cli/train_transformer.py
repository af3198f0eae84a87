"""`origcli train-transformer`: a small model of Stable Diffusion 3's kind from scratch."""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import Sets, option
from origcli.cli.run import ALL, Run, command


@command(ALL - {"dry_run"})
def train_transformer(
    dataset: options.DatasetArgument,
    vae: options.VaeOption,
    epochs: Annotated[float | None, options.EPOCHS, Sets("transformer.epochs")] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE, Sets("transformer.batch_size")] = None,
    learning_rate: Annotated[float | None, options.LEARNING_RATE, Sets("transformer.learning_rate")] = None,
    schedule: Annotated[str | None, options.SCHEDULE, Sets("transformer.schedule")] = None,
    caption_dropout: Annotated[
        float | None, options.CAPTION_DROPOUT, Sets("transformer.caption_dropout")
    ] = None,
    ema_decay: Annotated[float | None, options.EMA_DECAY, Sets("transformer.ema_decay")] = None,
    sample_every: Annotated[int | None, options.SAMPLE_EVERY, Sets("transformer.sample_every")] = None,
    init_from: Annotated[
        Path | None,
        option(
            "--init-from",
            "DIR",
            "Start from the weights and vocabulary of a pipeline of this command, of the same shape.",
        ),
    ] = None,
    workers: options.WorkersOption = 0,
    track: options.TrackOption = None,
    *,
    run: Run,
) -> None:
    """Train a small transformer of Stable Diffusion 3's kind and its text encoders from scratch.

    Flow matching on the latents of a VAE. Writes OUT/pipeline, a StableDiffusion3Pipeline without T5,
    which diffusers and every command of origcli load, report.json, history.csv, and sheets of samples.

    \b
    Examples:
      origcli train-transformer data/shapes --vae runs/vae --out runs/transformer
      origcli train-transformer data/shapes --vae runs/vae --out runs/transformer --resume
      origcli score images --model runs/transformer/pipeline
    """
    with run.starting():
        from origcli.training import transformer
        from origcli.weights.registry import weights_directory

    settings = run.settings
    target = run.out or Path("runs") / f"transformer-{dataset.name}"
    with run.open(settings, target) as runtime:
        report = transformer.run(
            dataset,
            weights_directory(vae),
            settings,
            runtime,
            resume=run.resume,
            workers=workers,
            track=track,
            init_from=init_from,
        )
    present.report(report, run.form, options.TRAINED, drop=options.DROP_OF_TRAINED)
