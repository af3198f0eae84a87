"""`origcli detect` against ultralytics' own predictor, in one run: pictures per second, decoding included.

    python benchmarks/detection.py [--count 2000] [--repeats 3] [--commands]

Both read the same PNG files of 64 pixels with the same weights, input size, threshold and overlap, on the
same cores, and turn about; `yolo predict` sets its number of threads itself. It takes one picture at a time
by default; it is timed with batches, too. What both find is compared, so that neither is fast by leaving
something out. `--commands` times the whole commands as well, from the start of Python to the last line.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from origcli.detection.card import CARD, read_card, read_weights
from origcli.detection.counting import multiset
from origcli.detection.image_files import Seen, detect_files
from origcli.detection.reporting import detector_directory
from origcli.detection.yolo import load_yolo
from origcli.images.inputs import find_inputs
from origcli.runtime.context import Runtime
from origcli.scenes.elements import ALL_ELEMENTS
from origcli.scenes.mixtures import Recipe
from origcli.scenes.writing import write_dataset
from origcli.settings import DetectSettings, resolve

Counts = dict[str, Counter[str]]


def make_pictures(directory: Path, count: int) -> Path:
    """Uniform scenes of up to four elements, 64 pixels."""
    values = {
        "count": count,
        "resolution": 64,
        "mixture": "uniform",
        "max_elements": 4,
        "sizes": ("big", "small"),
        "textures": ("full", "empty"),
    }
    settings, _ = resolve({"synth": values}, environment={})
    write_dataset(Recipe(settings.synth, 7), directory)
    return directory / "images"


def ours(detector: Path, pictures: Path, settings: DetectSettings) -> Callable[[], Counts]:
    """What `origcli detect` does after its start."""
    network = load_yolo(detector, Runtime(), settings)

    def run() -> Counts:
        inputs = find_inputs([str(pictures)])
        seen = detect_files(inputs, network, settings.batch_size)
        return {
            s.input.path.name: Counter(e.phrase for e in multiset(s.detections).elements())
            for s in seen
            if isinstance(s, Seen)
        }

    return run


def export_checkpoint(detector: Path, path: Path) -> None:
    """The same detector as ultralytics keeps one."""
    from ultralytics import YOLO

    card = read_card(detector)
    whole = YOLO(str(detector / CARD), verbose=False)
    whole.model.load_state_dict(read_weights(detector, card), strict=True)
    whole.model.names = dict(enumerate(card.names))
    whole.save(path)


def theirs(
    checkpoint: Path, pictures: Path, size: int, settings: DetectSettings, batch: int
) -> Callable[[], Counts]:
    """What `yolo predict` does after its start."""
    from ultralytics import YOLO

    whole = YOLO(str(checkpoint))

    def run() -> Counts:
        results = whole.predict(
            source=str(pictures / "**" / "*.png"),
            imgsz=size,
            conf=settings.confidence,
            iou=settings.iou,
            agnostic_nms=True,
            batch=batch,
            stream=True,
            save=False,
            verbose=False,
            device="cpu",
        )
        return {
            Path(r.path).name: Counter(ALL_ELEMENTS[int(k)].phrase for k in r.boxes.cls.tolist())
            for r in results
        }

    return run


def seconds(run: Callable[[], Any]) -> float:
    """The wall time of a call. Each begins with a thread a core: ultralytics leaves fewer behind."""
    torch.set_num_threads(os.cpu_count() or 1)
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def command(*words: str | Path) -> Callable[[], Any]:
    """A whole command, its output thrown away."""
    return lambda: subprocess.run([str(w) for w in words], check=True, capture_output=True)


def main() -> None:
    """Times everything and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--commands", action="store_true")
    parser.add_argument("--detector", default="shapes")
    arguments = parser.parse_args()
    directory = detector_directory(arguments.detector)
    settings = resolve({}, environment={})[0].detect
    size = read_card(directory).input_size
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"YOLO_OFFLINE": "1", "YOLO_CONFIG_DIR": scratch, "YOLO_AUTOINSTALL": "0"}
        pictures = make_pictures(Path(scratch, "data"), arguments.count)
        checkpoint = Path(scratch, "detector.pt")
        export_checkpoint(directory, checkpoint)
        runs: dict[str, Callable[[], Any]] = {
            "origcli detect": ours(directory, pictures, settings),
            "yolo predict": theirs(checkpoint, pictures, size, settings, 1),
            f"yolo predict, batch {settings.batch_size}": theirs(
                checkpoint, pictures, size, settings, settings.batch_size
            ),
        }
        found = {name: run() for name, run in runs.items()}  # warms up, too
        if arguments.commands:
            yolo = Path(sys.executable).with_name("yolo")
            words = {"imgsz": size, "conf": settings.confidence, "iou": settings.iou, "agnostic_nms": True}
            options = [f"{k}={v}" for k, v in words.items()]
            origcli = [sys.executable, "-m", "origcli", "detect", pictures, "--detector", arguments.detector]
            runs["origcli detect, the command"] = command(*origcli, "--format", "csv", "--quiet")
            runs["yolo predict, the command"] = command(
                yolo, "predict", f"model={checkpoint}", f"source={pictures}/**/*.png", "save=False",
                f"project={scratch}", *options,
            )  # fmt: skip
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(arguments.repeats):
            for name, run in runs.items():
                times[name].append(seconds(run))
    base = statistics.median(times["yolo predict"])
    print(f"{arguments.count} pictures of 64 pixels, input size {size}, {os.cpu_count()} cores")
    for name, values in times.items():
        middle = statistics.median(values)
        other = statistics.median(times["yolo predict, the command"]) if "command" in name else base
        print(f"{name:32} {arguments.count / middle:8.0f} pictures/s   {other / middle:5.2f} ×")
    differing = [n for n, counts in found["yolo predict"].items() if found["origcli detect"][n] != counts]
    print(f"pictures in which both found the same: {arguments.count - len(differing)} of {arguments.count}")
    if differing:
        sys.exit(f"different in {', '.join(sorted(differing))}: the times are not of the same work")


if __name__ == "__main__":
    main()
