"""The stages of one generalization experiment, each of which is done once (supplement 2.1, 2.2, 6.1).

experiments/NAME/plan.json       what it is; another experiment of this name is refused
                 data/           images without the held-out element; gone once the UNet is trained
                 vae/, unet/     training runs; `unet/pipeline` draws
                 drawings/       empty/ and prompted/, one PNG a seed
                 detections.json what the detector saw in them
                 times.json      seconds of each stage
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from origcli.detection.detector import Detection, Detector
from origcli.detection.reporting import detector_directory
from origcli.detection.yolo import load_yolo
from origcli.errors import InputError
from origcli.generation.sampling import draw_prompts
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.pipeline import load_pipeline
from origcli.reports.writers import read_report
from origcli.runtime import interrupts
from origcli.runtime.atomic import make_directory, read_json, remove, storage_error, write_bytes, write_json
from origcli.runtime.context import Runtime
from origcli.runtime.machine import cores
from origcli.runtime.memory import slices
from origcli.runtime.run_directory import RunDirectory
from origcli.runtime.seeding import derive_seed
from origcli.scenes.elements import ALL_ELEMENTS
from origcli.scenes.mixtures import Recipe
from origcli.scenes.png import decode_png, encode_png
from origcli.scenes.writing import write_dataset
from origcli.settings import Settings, SynthSettings
from origcli.studies.generalization.diversity import Experiment
from origcli.studies.generalization.plan import picture_count, vae_settings
from origcli.training import unet, vae

Condition = Literal["empty", "prompted"]
CONDITIONS: tuple[Condition, ...] = ("empty", "prompted")
EXPERIMENTS = "experiments"
SEEN = 0.5  # ours: a deformed element is one that the detector is less sure of, not one that is not there
_CHUNK = 4  # batches of samples between two looks at what is there

Found = dict[Condition, list[list[Detection]]]


@dataclass(frozen=True)
class Bench:
    """One experiment and all that its stages need.

    Attributes:
        settings: those of the run; `text_encoder.source` may be the one that all experiments share.
        runtime: of the run; the stages open directories of their own.
        directory: of the experiment.
    """

    experiment: Experiment
    settings: Settings
    runtime: Runtime
    directory: Path

    @property
    def seed(self) -> int:
        """Of the data and of both trainings; other experiments have others."""
        return derive_seed(self.runtime.seed, "experiment", self.experiment.name)

    @property
    def synth(self) -> SynthSettings:
        """What its data set is made of."""
        span = self.experiment.span
        changes = {
            "mixture": "uniform",
            "count": picture_count(self.experiment, self.settings),
            "empty": self.settings.generalize.empty,
            "max_elements": self.settings.generalize.max_elements,
            "sizes": span.sizes,
            "colors": span.colors,
            "textures": span.textures,
            "shapes": span.shapes,
            "hold_out": (self.experiment.held_out.phrase,),
        }
        return self.settings.synth.model_copy(update=changes)

    def prompt(self, condition: Condition) -> str:
        """What is drawn from."""
        return "" if condition == "empty" else self.experiment.held_out.phrase


def open_detector(settings: Settings, runtime: Runtime) -> Detector:
    """The detector of all experiments; it tells of elements that it is less sure of, too.

    Raises:
        ModelError: it is missing or damaged.
    """
    lowest = min(SEEN, settings.detect.confidence)
    own = settings.detect.model_copy(update={"confidence": lowest})
    return load_yolo(detector_directory(settings.generalize.detector), runtime, own)


def run_experiment(bench: Bench, detector: Detector) -> Found:
    """Does the stages that are not done, and gives what was seen in the samples.

    Raises:
        Interrupted: a signal came; what was finished is kept.
    """
    train(bench)
    draw_all(bench)
    return detect_all(bench, detector)


def is_detected(directory: Path) -> bool:
    """Whether an experiment came to its end before."""
    return (directory / "detections.json").is_file()


def train(bench: Bench) -> None:
    """Data, VAE and UNet, as far as they are not there."""
    settings = bench.settings.model_copy(update={"vae": vae_settings(bench.experiment, bench.settings)})
    train_model(bench.directory, Recipe(bench.synth, bench.seed), settings, bench.runtime)


def train_model(
    directory: Path, recipe: Recipe, settings: Settings, runtime: Runtime, init_from: Path | None = None
) -> None:
    """Trains a model on the data of a recipe, seeded by it, in `data/`, `vae/` and `unet/`.

    Args:
        init_from: a pipeline to start from: its VAE is kept, its UNet is trained on.
    """
    if (directory / "unet" / "report.json").is_file():
        _clean(directory, settings)  # a kill may have come before it
        return
    runtime = replace(runtime, seed=recipe.seed)
    with timed(directory, "data"):
        write_dataset(
            recipe,
            directory / "data",
            workers=settings.runtime.threads or cores(),
            existing="use",
            progress=runtime.progress,
        )
    if init_from is None and not (directory / "vae" / "report.json").is_file():
        with timed(directory, "vae"), inner(runtime, directory / "vae") as own:
            vae.run(directory / "data", settings, own, resume=True)
    with timed(directory, "unet"), inner(runtime, directory / "unet") as own:
        latents = init_from or directory / "vae"
        unet.run(directory / "data", latents, settings, own, resume=True, init_from=init_from)
    _clean(directory, settings)


def _clean(directory: Path, settings: Settings) -> None:
    """Removes what a trained model has no use for, unless it is to be kept."""
    if not settings.generalize.keep_data:
        # The data can be made again from the recipe; checkpoints are of no use to a trained model.
        for name in ("data", "vae/checkpoints", "unet/checkpoints"):
            _remove(directory / name)


@contextmanager
def inner(runtime: Runtime, directory: Path) -> Iterator[Runtime]:
    """A runtime with a directory of its own."""
    with RunDirectory(directory) as run:
        yield replace(runtime, directory=run)


def _remove(path: Path) -> None:
    """Removes a directory, if it is there.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        remove(path)
    except OSError as error:
        raise storage_error(path, error) from error


@contextmanager
def timed(directory: Path, stage: str) -> Iterator[None]:
    """Adds the seconds of a stage, those before a stop included, to `times.json`."""
    path, began = directory / "times.json", time.monotonic()
    try:
        yield
    finally:
        times = _kept(path)
        times[stage] = round(times.get(stage, 0.0) + time.monotonic() - began, 3)
        write_json(path, times)


def drawing_seeds(bench: Bench) -> list[int]:
    """One an image: the same for both conditions and all experiments of a run."""
    count = bench.settings.generalize.samples
    return [derive_seed(bench.runtime.seed, "generalize", i) for i in range(count)]


def drawing_path(directory: Path, condition: Condition, number: int) -> Path:
    """The file of a sample."""
    return directory / "drawings" / condition / f"{number:05d}.png"


def drawing_facts(bench: Bench) -> dict[str, Any]:
    """What samples depend on, but for their number."""
    report = read_report(bench.directory / "unet", "train-unet")
    return {
        "weights": report.results[0].weights_hash,
        "draw": StableDiffusion.settled(bench.settings.draw).model_dump(mode="json", exclude={"batch_size"}),
        "seed": bench.runtime.seed,
    }


def draw_all(bench: Bench) -> None:
    """Draws the images that are missing; all of them where they were drawn in another way before."""
    directory, seeds = bench.directory, drawing_seeds(bench)
    facts, known = drawing_facts(bench), directory / "drawings" / "drawings.json"
    if known.parent.exists() and _kept(known) != facts:
        _remove(known.parent)
    write_json(make_directory(known.parent) / known.name, facts)
    parts = [
        (condition, part)
        for condition in CONDITIONS
        for part in slices(len(seeds), _CHUNK * bench.settings.draw.batch_size)
        if not all(drawing_path(directory, condition, i).is_file() for i in range(part.start, part.stop))
    ]
    if not parts:
        return
    model = load_pipeline(directory / "unet" / "pipeline", bench.runtime, name=bench.experiment.name)
    with timed(directory, "drawings"):
        for condition, part in parts:
            make_directory(directory / "drawings" / condition)
            draw = bench.settings.draw
            if condition == "empty":  # what is guided is what guides, so guidance would change nothing
                draw = draw.model_copy(update={"guidance": 1.0})
            pictures = draw_prompts(
                model,
                [bench.prompt(condition)] * (part.stop - part.start),
                seeds[part],
                draw,
                bench.runtime,
                description=f"draw {bench.experiment.name} {condition}",
            )
            for number, picture in enumerate(pictures, part.start):
                write_bytes(drawing_path(directory, condition, number), encode_png(np.asarray(picture)))
            interrupts.check()


def read_drawings(directory: Path, condition: Condition, numbers: Sequence[int]) -> list[Image.Image]:
    """Samples of a finished experiment.

    Raises:
        InputError: one is missing or damaged.
    """
    pictures = []
    for path in (drawing_path(directory, condition, number) for number in numbers):
        try:
            pictures.append(Image.fromarray(decode_png(path.read_bytes())))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path}: cannot read the sample: {error}", "remove it and --resume") from error
    return pictures


def _kept(path: Path) -> dict[str, Any]:
    """What an earlier run left in a JSON file; nothing where it is not there or damaged: it is made again."""
    try:
        kept = read_json(path)
    except InputError:
        return {}
    return kept if isinstance(kept, dict) else {}


def detect_all(bench: Bench, detector: Detector) -> Found:
    """What the detector sees in each sample: from the file where the same detector looked before."""
    path = bench.directory / "detections.json"
    images, batch = bench.settings.generalize.samples, bench.settings.detect.batch_size
    key = {
        "detector": detector.weights_hash,
        "least_confidence": detector.confidence,
        "iou": bench.settings.detect.iou,
        "images": images,
        "drawings": drawing_facts(bench),
    }
    if (kept := _kept(path)).get("key") == key:
        return {condition: [_unpacked(rows) for rows in kept[condition]] for condition in CONDITIONS}
    detections: Found = {condition: [] for condition in CONDITIONS}
    with timed(bench.directory, "detections"):
        for condition in CONDITIONS:
            for part in slices(images, batch):
                pictures = read_drawings(bench.directory, condition, range(part.start, part.stop))
                detections[condition] += detector.detect(pictures)
                interrupts.check()
    packed = {condition: [_packed(seen) for seen in detections[condition]] for condition in CONDITIONS}
    write_bytes(path, json.dumps({"key": key, **packed}, sort_keys=True).encode())
    return {condition: [_unpacked(rows) for rows in packed[condition]] for condition in CONDITIONS}


def _packed(detections: Sequence[Detection]) -> list[list[float]]:
    """Class, confidence and box of each."""
    return [
        [detection.element.index, round(detection.confidence, 6), *(round(side, 2) for side in detection.box)]
        for detection in detections
    ]


def _unpacked(rows: Sequence[Sequence[float]]) -> list[Detection]:
    return [
        Detection(ALL_ELEMENTS[int(kind)], confidence, (x0, y0, x1, y1))
        for kind, confidence, x0, y0, x1, y1 in rows
    ]
