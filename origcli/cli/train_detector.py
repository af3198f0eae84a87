"""`origcli train-detector`: YOLOv8 that counts what was drawn."""

from pathlib import Path
from typing import Annotated

import typer

from origcli.cli import options, present


def train_detector(
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET…",
            help="Data set directories that `origcli synth` wrote, of one resolution.",
            show_default=False,
        ),
    ],
    out: options.OutOption = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            "--architecture",
            metavar="NAME",
            autocompletion=lambda: ["yolov8-shapes", "yolov8n", "yolov8s", "yolov8n-p2"],
            help="yolov8-shapes (ours, for 64 pixels), yolov8n … yolov8x, or a model .yaml. "
            "[default: small yolov8-shapes, paper yolov8n]",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init", metavar="FILE", help="Start from a published checkpoint, e.g. yolov8n.pt, read safely."
        ),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            "--input-size",
            metavar="N",
            help="Pixels that pictures are scaled to. [default: small 64, paper 256]",
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            "--epochs",
            metavar="N",
            help="Passes over the data; parts of one count. [default: small 3, paper 10]",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            help="Effective batch, over all processes. [default: small 32, paper 64]",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", metavar="RATE", help="Of AdamW. [default: small 4e-3, paper 2e-3]"),
    ] = None,
    harden: Annotated[
        float | None,
        typer.Option(
            "--harden",
            metavar="SHARE",
            help="Share of training pictures that are bent, blurred and stained a little, as a model's "
            "drawings are. [default: 0.5]",
        ),
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(
            "--held-out",
            metavar="N",
            help="Pictures kept from training, half to calibrate on, half to test on. "
            "[default: small 2000, paper 4000]",
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
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> None:
    """Train YOLOv8 to find and count the elements of pictures.

    Writes OUT/detector (detector.yaml and detector.safetensors, for `detect --detector`), report.json with
    precision, recall, mAP50 and mAP50-95 on held-out pictures, history.csv, and a confusion matrix.

    Confidences are calibrated: of the detections at 0.9, nine in ten are right.

    \b
    Examples:
      origcli synth data/shapes --count 100000
      origcli train-detector data/shapes --out runs/detector
      origcli train-detector data/n4 data/n6 --out runs/detector --resume
      origcli train-detector data/256px --architecture yolov8n --init yolov8n.pt --preset paper
    """
    flags = {
        "detector": {
            "architecture": architecture,
            "input_size": input_size,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "harden": harden,
            "held_out": held_out,
        },
        "runtime": {"seed": seed, "device": device, "dtype": dtype, "threads": threads, "compile": compile},
    }
    settings = options.load_settings(preset, config, flags)
    from origcli.runtime.context import open_runtime
    from origcli.training import detector

    target = out or Path("runs") / f"detector-{datasets[0].name}"
    with open_runtime(
        settings.runtime, target, present.progress(quiet), options.existing(resume, force)
    ) as runtime:
        report = detector.run(
            datasets, settings, runtime, init=init, resume=resume, workers=workers, track=track
        )
    present.report(report, form, options.TRAINED)
