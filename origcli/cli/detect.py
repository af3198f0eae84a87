"""`origcli detect`: the elements in images of shapes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from origcli.cli import options, present
from origcli.cli.binding import Sets, flag, option
from origcli.cli.run import ALL, Run, command
from origcli.errors import ExitCode

if TYPE_CHECKING:
    from origcli.reports.envelope import LeftOut

COLUMNS = ("path", "element", "confidence", "x0", "y0", "x1", "y1", "error")
COUNT_COLUMNS = ("path", "total", "elements", "error")
METRIC_COLUMNS = ("metric", "value")
EYES = "Visual output"


@command(ALL - {"out", "resume", "force", "dry_run", "seed"})
def detect(
    images: options.ImagesArgument,
    detector: Annotated[
        str,
        option("--detector", "DIR", "shapes (bundled), or a train-detector run.", words=("shapes",)),
    ] = "shapes",
    confidence: Annotated[
        float | None,
        option("--confidence", "P", "Minimum confidence."),
        Sets("detect.confidence"),
    ] = None,
    iou: Annotated[
        float | None,
        option(
            "--iou",
            "SHARE",
            "Overlap above which two detections, of whatever classes, are one object: the more "
            "confident counts.",
        ),
        Sets("detect.iou"),
    ] = None,
    count: Annotated[
        bool, flag("--count", "One row for each image, with the number of each element.")
    ] = False,
    evaluate: Annotated[
        bool,
        flag(
            "--evaluate",
            "IMAGE is one data set: print precision, recall, mAP and how often all elements are right.",
        ),
    ] = False,
    annotate: Annotated[
        Path | None,
        option("--annotate", "DIR", "Write each image with its boxes.", EYES),
    ] = None,
    audit: Annotated[
        Path | None,
        option(
            "--audit",
            "FILE",
            "Write a sheet of detections by confidence, for choosing --confidence.",
            EYES,
        ),
    ] = None,
    image_column: options.ImageColumnOption = None,
    follow_links: options.FollowLinksOption = False,
    batch_size: Annotated[
        int | None,
        option("--batch-size", "N", "Images per batch.", options.COMPUTE),
        Sets("detect.batch_size"),
    ] = None,
    *,
    run: Run,
) -> None:
    """List the elements in images of shapes.

    An image that cannot be read is reported as an error, and the exit status is 3; the others are processed.

    \b
    Examples:
      origcli detect samples/
      origcli detect a.png b.png --count
      find . -name '*.png' | origcli detect - --format csv > elements.csv
      origcli detect samples/ --annotate boxes/ --audit sheet.png
      origcli detect data/held-out --evaluate --detector runs/detector
    """
    with run.starting():
        from origcli.detection import reporting
        from origcli.images.inputs import find_inputs

    settings = run.settings
    with run.open(settings, None) as runtime:
        if evaluate:
            report = reporting.evaluate_detector(images, detector, settings, runtime)
        else:
            left_out: list[LeftOut] = []
            inputs = find_inputs(
                images,
                image_column=image_column,
                follow_links=follow_links,
                offline=settings.runtime.offline,
                say=run.progress.say,
                left_out=left_out,
            )
            report = reporting.detect_images(
                inputs, detector, settings, runtime, annotated=annotate, audit=audit, left_out=left_out
            )
    if evaluate:
        table = reporting.metric_rows(report)
        present.rows(table, METRIC_COLUMNS, run.form, whole=report.to_json())
    elif count:
        present.rows(reporting.count_rows(report), COUNT_COLUMNS, run.form, whole=report.to_json())
    else:
        present.report(report, run.form, COLUMNS, drop=("x0 y0 x1 y1",))
    present.failures(report.errors, run.form, run.progress.say)
    if report.errors:
        raise typer.Exit(int(ExitCode.INPUT))
