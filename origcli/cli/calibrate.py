"""`origcli calibrate`: calibration constants of a model."""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import Sets, argument, flag, option
from origcli.cli.renamed import Formerly
from origcli.cli.run import ALL, Run, command
from origcli.errors import ExitCode

SHOWN = (
    *("model", "metric", "threshold", "threshold_low", "threshold_high", "ceiling", "psnr_limit"),
    *("control_images", "control_within"),
)
OWN = "The model's own samples"
HELD_OUT = "Held-out images"


@command(ALL - {"resume", "dry_run"})
def calibrate(
    images: Annotated[
        list[str] | None,
        argument(
            "[IMAGE…]",
            "Held-out images with captions: a data set, a directory with metadata.jsonl, a CSV or .parquet "
            "file with a column `caption`, a .tar, or hf:OWNER/NAME[:SPLIT]; images without captions give no "
            "threshold. None: the model's own samples.",
        ),
    ] = None,
    model: options.ModelOption = None,
    metric: options.MetricOption = None,
    detector: options.DetectorOption = None,
    captions: Annotated[
        int | None, option("--captions", "N", "Number of captions.", OWN), Sets("calibrate.captions")
    ] = None,
    own_samples: Annotated[
        int | None,
        option("--own-samples", "N", "Samples of each caption.", OWN),
        Sets("calibrate.samples"),
    ] = None,
    controls: Annotated[
        int | None,
        option("--controls", "N", "Samples that one token has to reconstruct (positive control).", OWN),
        Sets("calibrate.controls"),
    ] = None,
    captions_file: Annotated[
        Path | None,
        option("--captions-file", "FILE", "One caption a line, in place of the bundled ones.", OWN),
    ] = None,
    queries: Annotated[
        int, option("--queries", "N", "Captioned images for the threshold.", HELD_OUT, min=1)
    ] = 60,
    psnr_images: Annotated[
        int, option("--psnr-images", "N", "Maximum number of images for the PSNR limit.", HELD_OUT, min=2)
    ] = 500,
    image_column: options.ImageColumnOption = None,
    samples: Annotated[
        int | None,
        option("--samples", "N", "Samples of each image's caption, and of a control's token.", HELD_OUT),
        Formerly("--images"),
        Sets("score.samples"),
    ] = None,
    ceiling_samples: Annotated[
        int | None,
        option("--ceiling-samples", "N", "Number of samples for the ceiling."),
        Formerly("--ceiling-images"),
        Sets("score.ceiling_samples"),
    ] = None,
    guidance: options.GuidanceOption = None,
    steps: options.DenoisingStepsOption = None,
    scheduler: options.SchedulerOption = None,
    invert_steps: options.LearningStepsOption = None,
    write: Annotated[
        bool, flag("--write", "Write the constants to the model directory's registry.json.")
    ] = False,
    cache: options.CacheOption = True,
    *,
    run: Run,
) -> int:
    """Measure a model's calibration constants: threshold, ceiling and PSNR limit.

    Without images, on the model's own samples: the threshold is the distance within which the samples of
    nine in ten captions are from each other. As a positive control, one token is learned for some of these
    samples; if fewer than half are reconstructed, verdicts of this model are marked as not reliable. The
    result is cached by content, and `score` uses it.

    With held-out images and captions: the threshold is the distance within which nine in ten images are
    from the samples of their caption.

    The ceiling is the distance between samples of the empty prompt. The PSNR limit is one that
    nearly all round trips through the VAE exceed.

    \b
    Examples:
      origcli calibrate --model sd15
      origcli calibrate --model runs/tuned/pipeline --write
      origcli synth held-out --mixture originality --count 500 --seed 1
      origcli calibrate held-out --model runs/shapes/pipeline --write
    """
    settings = run.settings
    with run.starting():
        from origcli.reports.verdict import threshold_words
        from origcli.runtime.cache import SCORES, find_cache
        from origcli.scoring.calibrate import calibrate_model
        from origcli.scoring.store import Store
        from origcli.weights.pipelines import pipeline_name

    place = run.place("calibrate", [pipeline_name(Path(settings.score.model))])
    with run.open(settings, place) as runtime:
        kept = find_cache(SCORES, run.progress.say) if cache else None
        report = calibrate_model(
            images or [],
            queries,
            psnr_images,
            settings,
            runtime,
            write,
            store=None if kept is None else Store(kept),
            captions=captions_file,
            image_column=image_column,
        )
    present.report(report, run.form, SHOWN, drop=("metric", "psnr_limit"))
    for result in report.results:
        present.remark_below(threshold_words(result.as_threshold()), run.form, run.progress.say)
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)
