"""`origcli calibrate`: the constants that scores of a model stand on."""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import Sets, argument, flag, option
from origcli.cli.run import ALL, Run, command

SHOWN = ("model", "metric", "threshold", "threshold_low", "threshold_high", "ceiling", "psnr_limit")


@command(ALL - {"resume", "dry_run"})
def calibrate(
    pictures: Annotated[
        list[str],
        argument("PICTURES…", "A data set that the model was not trained on; or pictures without captions."),
    ],
    model: options.ModelOption = None,
    metric: options.MetricOption = None,
    detector: options.DetectorOption = None,
    queries: Annotated[int, option("--queries", "N", "Captioned pictures for the threshold.", min=1)] = 60,
    psnr_images: Annotated[
        int, option("--psnr-images", "N", "Most pictures for the PSNR limit.", min=2)
    ] = 500,
    images: Annotated[
        int | None,
        option("--images", "N", "Drawings of a caption."),
        Sets("score.images"),
    ] = None,
    ceiling_images: Annotated[
        int | None,
        option("--ceiling-images", "N", "Drawings for the ceiling."),
        Sets("score.ceiling_images"),
    ] = None,
    guidance: options.GuidanceOption = None,
    steps: options.StepsOption = None,
    scheduler: options.SchedulerOption = None,
    write: Annotated[
        bool, flag("--write", "Write the constants to the model directory's registry.json.")
    ] = False,
    *,
    run: Run,
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
    settings = run.settings
    from origcli.scoring import calibrate as calibration

    target = run.directory("calibrate", [Path(settings.score.model).name])
    with run.open(settings, target) as runtime:
        report = calibration.run(pictures, queries, psnr_images, settings, runtime, write)
    present.report(report, run.form, SHOWN)
