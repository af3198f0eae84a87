"""`origcli detect`: what is in pictures of the shapes world."""

from pathlib import Path
from typing import Annotated

import typer

from origcli.cli import options, present
from origcli.errors import ExitCode

COLUMNS = ("path", "element", "confidence", "x0", "y0", "x1", "y1", "error")
COUNT_COLUMNS = ("path", "total", "elements", "error")
METRIC_COLUMNS = ("metric", "value")
EYES = "For the eye"


def detect(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE…",
            help="Pictures, directories, quoted globs, CSV lists, data sets, or - for stdin.",
            show_default=False,
        ),
    ],
    detector: Annotated[
        str,
        typer.Option(
            "--detector",
            metavar="DIR",
            autocompletion=lambda: ["shapes"],
            help="shapes (bundled), or a train-detector run.",
        ),
    ] = "shapes",
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", metavar="P", help="Least confidence that counts. [default: 0.9]"),
    ] = None,
    iou: Annotated[
        float | None,
        typer.Option(
            "--iou",
            metavar="SHARE",
            help="Overlap above which two detections, of whatever classes, are one object: the more "
            "confident counts. [default: 0.7]",
        ),
    ] = None,
    count: Annotated[
        bool, typer.Option("--count", help="One row a picture: its multiset of elements.")
    ] = False,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate",
            help="IMAGE is one data set: print precision, recall, mAP and how often the multiset is right.",
        ),
    ] = False,
    annotate: Annotated[
        Path | None,
        typer.Option(
            "--annotate", metavar="DIR", help="Write each picture with its boxes.", rich_help_panel=EYES
        ),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            "--audit",
            metavar="FILE",
            help="Write a sheet of detections by confidence, to see what the threshold should be.",
            rich_help_panel=EYES,
        ),
    ] = None,
    follow_links: options.FollowLinksOption = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            help="Pictures at a time. [default: 32]",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    device: options.DeviceOption = None,
    dtype: options.DtypeOption = None,
    threads: options.ThreadsOption = None,
    compile: options.CompileOption = None,
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> None:
    """List the elements that pictures show.

    A picture that cannot be read has a row that says so, and the exit status is 3; the others go on.

    \b
    Examples:
      origcli detect drawings/
      origcli detect a.png b.png --count
      find . -name '*.png' | origcli detect - --format csv > elements.csv
      origcli detect drawings/ --annotate boxes/ --audit sheet.png
      origcli detect data/held-out --evaluate --detector runs/detector
    """
    flags = {
        "detect": {"confidence": confidence, "iou": iou, "batch_size": batch_size},
        "runtime": {"device": device, "dtype": dtype, "threads": threads, "compile": compile},
    }
    settings = options.load_settings(preset, config, flags)
    from origcli.detection import survey
    from origcli.images.inputs import find_inputs
    from origcli.runtime.context import open_runtime

    progress = present.progress(quiet)
    with open_runtime(settings.runtime, None, progress) as runtime:
        if evaluate:
            report = survey.evaluate(images, detector, settings, runtime)
        else:
            inputs = find_inputs(images, follow_links=follow_links, say=progress.say)
            report = survey.run(inputs, detector, settings, runtime, annotated=annotate, audit=audit)
    if evaluate:
        table = survey.metric_rows(report)
        present.rows(table, METRIC_COLUMNS, form, whole=report.to_json())
    elif count:
        present.rows(survey.count_rows(report), COUNT_COLUMNS, form, whole=report.to_json())
    else:
        present.report(report, form, COLUMNS)
    for failure in report.errors:
        progress.say(f"{failure.message}{f' ({failure.hint})' if failure.hint else ''}")
    if report.errors:
        raise typer.Exit(int(ExitCode.INPUT))
