"""train-detector: YOLOv8 on data sets of the shapes world (supplement 2.1).

The loop is the one of all training here and not ultralytics' trainer, which resumes only at the end of an
epoch and not to the bit, reads pickled label caches, and spends more time around the network than in it
on images this small. Network, loss and metrics are ultralytics'.

Nothing that makes a class what it is, is augmented: no change of color, scale or texture, no mosaic. See
`hardening` for what is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from origcli.detection.card import DetectorCard, save_detector
from origcli.detection.evaluation import LOWEST, Evaluation
from origcli.detection.platt import fit_platt, fold
from origcli.detection.reporting import confusion_matrix
from origcli.detection.yolo import (
    YoloDetector,
    build,
    class_layers,
    fit,
    load_published,
    read_architecture,
    to_pixels,
    training_loss,
)
from origcli.errors import InputError, UsageError
from origcli.reports.envelope import Status
from origcli.reports.schema import TrainDetectorReport
from origcli.reports.writers import write_report
from origcli.runtime import interrupts
from origcli.runtime.atomic import write_bytes
from origcli.runtime.context import Runtime
from origcli.runtime.device import memory_format
from origcli.runtime.memory import slices
from origcli.runtime.provenance import hash_file
from origcli.runtime.seeding import derive_seed, generator
from origcli.scenes import dataset as datasets
from origcli.scenes.elements import ALL_ELEMENTS
from origcli.scenes.records import scene_of
from origcli.scenes.scene import Scene
from origcli.settings import DetectorSettings, DetectSettings, Settings
from origcli.training.hardening import augment, draw_randoms
from origcli.training.loop import Job, train
from origcli.training.report import Amount, by_the_first, provenance, stage_result
from origcli.training.schedule import steps_in

# An element that is hidden further is left out: to ask for it would teach to guess.
MAX_COVERED = 0.75
_LOOK_AT = 300  # held-out images that a look at the training takes in
_STATISTICS_BATCHES = 100


@dataclass(frozen=True)
class Pool:
    """Images of one or more data sets, numbered through."""

    sets: tuple[datasets.Dataset, ...]
    places: tuple[tuple[int, int], ...]  # (data set, index) of each image

    def image(self, number: int) -> np.ndarray[Any, Any]:
        """uint8 (h, w, 3)."""
        which, index = self.places[number]
        return self.sets[which].image(index)

    def scene(self, number: int) -> Scene:
        """What an image shows."""
        which, index = self.places[number]
        return scene_of(self.sets[which].records[index])

    def __len__(self) -> int:
        return len(self.places)


class Labelled(Dataset[Any]):
    """Images with their elements, fetched a batch at a time."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.most = max((len(r["elements"]) for data in pool.sets for r in data.records), default=0) or 1

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return self.__getitems__([number])

    def __getitems__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """uint8 images (n, h, w, 3), boxes (n, k, 4) as fractions, classes (n, k) or −1."""
        boxes = torch.zeros(len(numbers), self.most, 4)
        classes = torch.full((len(numbers), self.most), -1)
        for row, number in enumerate(numbers):
            seen = [p for p in self.pool.scene(number).placed if p.box and p.covered <= MAX_COVERED]
            for column, placed in enumerate(seen):
                boxes[row, column] = torch.tensor(placed.box)
                classes[row, column] = placed.element.index
        pictures = torch.from_numpy(np.stack([self.pool.image(number) for number in numbers]))
        return {"pictures": pictures, "boxes": boxes, "classes": classes}


class DetectionObjective(nn.Module):
    """YOLOv8's loss on augmented images."""

    def __init__(self, model: nn.Module, input_size: int) -> None:
        super().__init__()
        self.model, self.input_size = model, input_size
        self._loss: Any = None

    def forward(
        self, pictures: Tensor, boxes: Tensor, classes: Tensor, **randoms: Tensor
    ) -> dict[str, Tensor]:
        """Terms, each (n,). The loss is one number a batch (it divides by the batch's matched boxes), so all
        rows of a term are equal.

        Args:
            pictures: uint8 (n, h, w, 3).
            boxes: (n, k, 4) x0, y0, x1, y1 as fractions.
            classes: (n, k), −1 where there is no element.
            randoms: of `hardening.draw_randoms`.
        """
        if self._loss is None:  # now the network is on its device
            self._loss = training_loss(self.model)
        pixels, boxes = augment(to_pixels(pictures), boxes, randoms)
        output = self.model(fit(pixels, self.input_size))
        output = {k: v.float() if isinstance(v, Tensor) else v for k, v in output.items()}
        total, terms = self._loss(output, targets(boxes, classes))
        rows = {"loss": total.sum() / len(pictures), **terms}
        return {name: value.expand(len(pictures)) for name, value in rows.items()}


def targets(boxes: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Padded boxes (n, k, 4) and classes (n, k) as ultralytics has them: a row an element, center, size."""
    picture, place = (classes >= 0).nonzero(as_tuple=True)
    x0, y0, x1, y1 = boxes[picture, place].unbind(-1)
    centers = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1)
    return {"batch_idx": picture.float(), "cls": classes[picture, place].float(), "bboxes": centers}


def run(
    paths: Sequence[Path],
    settings: Settings,
    runtime: Runtime,
    *,
    init: Path | None = None,
    resume: bool = False,
    workers: int = 0,
    track: str | None = None,
) -> TrainDetectorReport:
    """Trains a detector; writes `detector/`, `report.json`, `history.csv` and figures into the run directory.

    Half of the held-out images calibrate the confidences, the other half are for the figures.

    Args:
        paths: data sets of one resolution.
        init: an ultralytics checkpoint to start from.

    Raises:
        InputError: a data set is missing, damaged or too small.
        UsageError: the data sets differ in resolution, no architecture has the name, or the checkpoint is
            of another.
        ModelError: the checkpoint cannot be loaded safely.
    """
    own = settings.detector
    training, calibrating, testing, hashes = pools(paths, own.held_out)

    architecture = read_architecture(own.architecture, len(ALL_ELEMENTS))
    model = initial_model(architecture, runtime.seed)
    notes = () if init is None else (load_published(model, init),)
    for note in notes:
        runtime.progress.say(note)

    card = DetectorCard(
        architecture=architecture,
        names=tuple(element.phrase for element in ALL_ELEMENTS),
        input_size=own.input_size,
        trained_on=tuple(hashes),
    )
    objective = DetectionObjective(model, own.input_size)

    def report_quality(step: int) -> None:
        seen = evaluate(model, card, testing, range(min(_LOOK_AT, len(testing))), settings.detect, runtime)
        runtime.progress.say(f"step {step}: {_in_words(seen.results())}")

    job = Job(
        name="train-detector",
        objective=objective,
        trained=model,
        samples=Labelled(training),
        size=len(training),
        randoms=lambda g, n: draw_randoms(g, n, own.harden),
        identity={
            "settings": own.model_dump(mode="json"),
            "seed": runtime.seed,
            "data": hashes,
            "contents": [data.contents_hash for data in training.sets],
            "init": init and hash_file(init),
        },
        preview=report_quality,
        # The loss and batch normalization look at a whole micro-batch.
        free=frozenset({"checkpoint_every", "sample_every"}),
    )
    amount = Amount(steps_in(own.epochs, len(training), own.batch_size), own.batch_size, len(training))
    model.to(runtime.device, memory_format=memory_format(runtime.device))  # type: ignore[call-overload]
    history = train(job, own, amount.steps, runtime, resume=resume, workers=workers, track=track)

    def finish() -> TrainDetectorReport:
        average_statistics(objective, job, own, runtime)
        calibration = calibrate(model, card, calibrating, own, settings.detect, runtime)

        seen = evaluate(model, card, testing, range(len(testing)), settings.detect, runtime)
        hard = evaluate(model, card, testing, range(len(testing)), settings.detect, runtime, hardened=True)
        measured = {**seen.results(), **{f"{name}_hardened": value for name, value in hard.results().items()}}

        tested = card.model_copy(update={"calibration": calibration, "metrics": measured})
        tested = save_detector(runtime.out / "detector", tested, model.state_dict())
        return _report(tested, model, measured, seen, history, amount, settings, runtime, notes)

    return by_the_first(finish, runtime)


def pools(paths: Sequence[Path], held_out: int) -> tuple[Pool, Pool, Pool, list[str]]:
    """Images to train on, to calibrate on and to test on, and the hashes of the data sets.

    The last images of each data set are held out, at most a tenth of it, in equal parts for both uses.
    """
    sets = tuple(datasets.read_dataset(path) for path in paths)
    if len({data.resolution for data in sets}) > 1:
        raise UsageError(
            "the data sets have different resolutions: "
            + ", ".join(f"{data.path} {data.resolution}" for data in sets)
        )
    parts: tuple[list[tuple[int, int]], ...] = ([], [], [])
    for which, data in enumerate(sets):
        held = min(held_out // len(sets), len(data) // 10)
        edges = [0, len(data) - held, len(data) - held // 2, len(data)]
        for part, start, stop in zip(parts, edges, edges[1:], strict=False):
            part.extend((which, index) for index in range(start, stop))
    if not all(parts):
        raise InputError(
            f"{paths[0]}: {len(sets[0])} images are too few to train on and hold some out",
            "make more: origcli synth --count",
        )
    training, calibrating, testing = (Pool(sets, tuple(part)) for part in parts)
    return training, calibrating, testing, [data.hash for data in sets]


def initial_model(architecture: Mapping[str, Any], seed: int) -> nn.Module:
    """New random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "detector"))
        return build(architecture)


@torch.no_grad()
def average_statistics(
    objective: DetectionObjective, job: Job, settings: DetectorSettings, runtime: Runtime
) -> None:
    """Recomputes the statistics of batch normalization: those of training belong to weights that moved."""

    def batches() -> Any:
        order = np.random.default_rng(derive_seed(runtime.seed, "statistics")).permutation(job.size)
        for number, part in enumerate(slices(job.size, settings.batch_size)):
            if number == _STATISTICS_BATCHES:
                return
            interrupts.check()
            batch = job.samples.__getitems__([int(i) for i in order[part]])  # type: ignore[attr-defined]
            randoms = job.randoms(generator(runtime.seed, "statistics", number), len(batch["pictures"]))
            randoms = {name: value.to(runtime.device) for name, value in randoms.items()}
            pixels = to_pixels(batch["pictures"].to(runtime.device))
            pixels, _ = augment(pixels, batch["boxes"].to(runtime.device), randoms)
            yield fit(pixels, settings.input_size)

    torch.optim.swa_utils.update_bn(batches(), objective.model)
    objective.eval()


def calibrate(
    model: nn.Module,
    card: DetectorCard,
    pool: Pool,
    settings: DetectorSettings,
    detect: DetectSettings,
    runtime: Runtime,
) -> tuple[float, float]:
    """Puts Platt's map into the network, fitted to images as it was trained on; its slope and offset."""
    scores, right = [], []
    for hardened in (False, True) if settings.harden else (False,):
        seen = evaluate(model, card, pool, range(len(pool)), detect, runtime, hardened=hardened)
        confidences, correct = seen.scored
        scores.append(confidences)
        right.append(correct)
    slope, offset = fit_platt(np.concatenate(scores), np.concatenate(right))
    fold(class_layers(model), slope, offset)
    return slope, offset


def evaluate(
    model: nn.Module,
    card: DetectorCard,
    pool: Pool,
    numbers: Sequence[int],
    detect: DetectSettings,
    runtime: Runtime,
    hardened: bool = False,
) -> Evaluation:
    """Detects in images of a pool, as they are or all hardened."""
    all_of_them = detect.model_copy(update={"confidence": LOWEST})
    detector = YoloDetector(model, card, all_of_them, runtime.device)
    evaluation = Evaluation(detect.confidence)
    resolution = pool.sets[0].resolution
    for part in slices(len(numbers), detect.batch_size):
        interrupts.check()
        chosen = numbers[part]
        array = np.stack([pool.image(number) for number in chosen])
        if hardened:
            array = harden(array, generator("evaluate", part.start))
        seen = detector.detect([Image.fromarray(picture) for picture in array])
        for number, detections in zip(chosen, seen, strict=True):
            evaluation.add(detections, pool.scene(number), resolution)
    return evaluation


def harden(array: np.ndarray[Any, Any], random: torch.Generator) -> np.ndarray[Any, Any]:
    """Images uint8 (n, h, w, 3), every one hardened. Elements keep their places to within a pixel."""
    randoms = draw_randoms(random, len(array), share=1.0)
    randoms["mirror"].zero_()
    pixels, _ = augment(to_pixels(torch.from_numpy(array)), torch.zeros(len(array), 1, 4), randoms)
    hardened: np.ndarray[Any, Any] = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return hardened


def _in_words(results: Mapping[str, float]) -> str:
    names = ("map50", "map50_95", "precision_at_threshold", "recall_at_threshold", "exact_multisets")
    return ", ".join(f"{name.replace('_', ' ')} {results[name]:.3f}" for name in names)


def _report(
    card: DetectorCard,
    model: nn.Module,
    measured: Mapping[str, float],
    seen: Evaluation,
    history: list[dict[str, float]],
    amount: Amount,
    settings: Settings,
    runtime: Runtime,
    notes: Sequence[str],
) -> TrainDetectorReport:
    """Writes the report and its figures."""
    from origcli.reports.figures import confusion, loss_curves

    matrix = confusion_matrix(seen)
    write_bytes(runtime.out / "confusion.png", confusion(matrix))
    write_bytes(runtime.out / "loss.png", loss_curves(history))

    sections = {"detector": settings.detector, "detect": settings.detect}
    data_hash = "+".join(card.trained_on)
    report = TrainDetectorReport(
        status=Status.complete,
        provenance=provenance("train-detector", sections, runtime, data_hash, notes),
        results=(
            stage_result(
                "detector",
                amount,
                model,
                measured,
                history,
                directory="detector",
                dataset_hash=data_hash,
                weights_hash=card.weights_sha256,
                confusion=matrix,
                figures=("loss.png", "confusion.png"),
            ),
        ),
    )
    write_report(runtime.out, report)
    return report
