"""`origcli train-detector`: YOLOv8 that counts elements."""

from pathlib import Path
from typing import Annotated

from origcli.cli import options, present
from origcli.cli.binding import Sets, argument, option
from origcli.cli.run import ALL, Run, command


@command(ALL - {"dry_run"})
def train_detector(
    datasets: Annotated[
        list[Path],
        argument("DATASET…", "Data set directories that `origcli synth` wrote, of one resolution."),
    ],
    architecture: Annotated[
        str | None,
        option(
            "--architecture",
            "NAME",
            "yolov8-shapes (ours, for 64 pixels), yolov8n … yolov8x, or a model .yaml. ",
            words=("yolov8-shapes", "yolov8n", "yolov8s", "yolov8n-p2"),
        ),
        Sets("detector.architecture"),
    ] = None,
    init: Annotated[
        Path | None,
        option("--init", "FILE", "Start from a published checkpoint, e.g. yolov8n.pt, read safely."),
    ] = None,
    input_size: Annotated[
        int | None,
        option("--input-size", "N", "Pixels that images are scaled to."),
        Sets("detector.input_size"),
    ] = None,
    epochs: Annotated[float | None, options.EPOCHS, Sets("detector.epochs")] = None,
    batch_size: Annotated[int | None, options.BATCH_SIZE, Sets("detector.batch_size")] = None,
    learning_rate: Annotated[float | None, options.LEARNING_RATE, Sets("detector.learning_rate")] = None,
    harden: Annotated[
        float | None,
        option(
            "--harden",
            "SHARE",
            "Share of training images that are deformed, blurred and stained a little, like a model's "
            "samples.",
        ),
        Sets("detector.harden"),
    ] = None,
    held_out: Annotated[
        int | None,
        option("--held-out", "N", "Images held out from training: half to calibrate, half to test."),
        Sets("detector.held_out"),
    ] = None,
    workers: options.WorkersOption = 0,
    track: options.TrackOption = None,
    *,
    run: Run,
) -> None:
    """Train YOLOv8 to find and count the elements of images.

    Writes OUT/detector (detector.yaml and detector.safetensors, for `detect --detector`), report.json with
    precision, recall, mAP50 and mAP50-95 on held-out images, history.csv, and a confusion matrix.

    Confidences are calibrated: of the detections at 0.9, nine in ten are correct.

    \b
    Examples:
      origcli synth data/shapes --count 100000
      origcli train-detector data/shapes --out runs/detector
      origcli train-detector data/n4 data/n6 --out runs/detector --resume
      origcli train-detector data/256px --architecture yolov8n --init yolov8n.pt --preset paper
    """
    with run.starting():
        from origcli.training import detector

    target = run.out or Path("runs") / f"detector-{datasets[0].name}"
    with run.open(run.settings, target) as runtime:
        report = detector.run(
            datasets, run.settings, runtime, init=init, resume=run.resume, workers=workers, track=track
        )
    present.report(report, run.form, options.TRAINED, drop=options.DROP_OF_TRAINED)
