"""`origcli calibrate`: the constants that scores of a model stand on."""

from pathlib import Path
from typing import Annotated

import typer

from origcli.cli import options, present

SHOWN = ("model", "metric", "threshold", "threshold_low", "threshold_high", "ceiling", "psnr_limit")


def calibrate(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURES…",
            help="A data set that the model was not trained on; or pictures without captions.",
            show_default=False,
        ),
    ],
    model: options.ModelOption = None,
    metric: options.MetricOption = None,
    detector: options.DetectorOption = None,
    queries: Annotated[
        int, typer.Option("--queries", metavar="N", help="Captioned pictures for the threshold.", min=1)
    ] = 60,
    psnr_images: Annotated[
        int, typer.Option("--psnr-images", metavar="N", help="Most pictures for the PSNR limit.", min=2)
    ] = 500,
    images: Annotated[
        int | None, typer.Option("--images", metavar="N", help="Drawings of a caption. [default: 20]")
    ] = None,
    ceiling_images: Annotated[
        int | None,
        typer.Option("--ceiling-images", metavar="N", help="Drawings for the ceiling. [default: 64]"),
    ] = None,
    guidance: options.GuidanceOption = None,
    steps: options.StepsOption = None,
    scheduler: options.SchedulerOption = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the constants to the model directory's registry.json.")
    ] = False,
    out: options.OutOption = None,
    force: options.ForceOption = False,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    dtype: options.DtypeOption = None,
    threads: options.ThreadsOption = None,
    offline: options.OfflineOption = None,
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> None:
    """Measure the constants that scores of a model stand on: ceiling, PSNR limit and threshold.

    The ceiling is how far apart a model's unasked drawings are. The PSNR limit is what nearly all held-out
    pictures pass on their way through the VAE and back. The threshold is what nine in ten held-out pictures
    are within when the model draws their own caption; without captions there is none.

    \b
    Examples:
      origcli synth held-out --mixture originality --count 500 --seed 1
      origcli calibrate held-out --model runs/shapes/pipeline --write
      origcli calibrate photos/ --model sd15
    """
    settings = options.load_settings(
        preset,
        config,
        {
            "score": {
                "model": model,
                "metric": metric,
                "detector": detector,
                "images": images,
                "ceiling_images": ceiling_images,
            },
            "draw": {"steps": steps, "guidance": guidance, "scheduler": scheduler},
            "runtime": {
                "seed": seed,
                "device": device,
                "dtype": dtype,
                "threads": threads,
                "offline": offline,
            },
        },
    )
    from origcli.runtime.context import open_runtime
    from origcli.scoring import calibrate as calibration

    target = options.run_path("calibrate", out, [Path(settings.score.model).name], force)
    existing = options.existing(resume=False, force=force)
    with open_runtime(settings.runtime, target, present.progress(quiet), existing) as runtime:
        report = calibration.run(pictures, queries, psnr_images, settings, runtime, write)
    present.report(report, form, SHOWN)
