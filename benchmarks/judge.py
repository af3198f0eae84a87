"""A second judge of what samples show, which shares nothing with the detector: rendered stamps.

    python benchmarks/judge.py RUN [--others DATA] [--out FILE.json] [--sheet FILE.png]

RUN is a run of `origcli rarity`, whose queries and samples are counted by both judges. The
second takes an image apart by color, and then finds the kind of element and the place whose rendered stamp
takes away most of the squared error of what is left, until none takes away any (matching pursuit, Mallat and
Zhang 1993); a stamp counts if its intersection over union with the ink in and around its box is at least
IOU. Nothing in it was learned, and it sees no caption.

Reported: how often the two agree on the samples, and the study's order by either: ROC-AUC of originality for
each pair of categories, Spearman's rank correlation image by image. With `--others`, a data set of
`origcli synth`, also how often each counts its first images as their captions have them.
"""

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

from origcli.detection.counting import f1, multiset
from origcli.detection.reporting import detector_directory
from origcli.detection.yolo import load_yolo
from origcli.reports.saved_images import read_saved_image
from origcli.reports.schema import ScoreResult
from origcli.reports.sheets import sheet
from origcli.reports.writers import ResultLog
from origcli.runtime.context import Runtime
from origcli.scenes.captions import parse_caption
from origcli.scenes.dataset import read_dataset
from origcli.scenes.elements import COLORS, SHAPES, SIZES, TEXTURES, Element
from origcli.scenes.rendering import RGB, Kind, coverage
from origcli.scoring.measure import originality
from origcli.scoring.run_archive import RESULTS
from origcli.scoring.statistics import rank_correlation, roc_auc
from origcli.settings import resolve
from origcli.studies.queries import SCORE
from origcli.studies.rarity import CATEGORIES
from origcli.weights.registry import BUNDLED

IOU = 0.6  # declared before any sample was judged; chosen on rendered images alone
MOST = 12  # elements of an image
Counts = Counter[Element]
Plane = npt.NDArray[np.float64]


def ink(image: Image.Image) -> dict[str, Plane]:
    """How much of each pixel is covered by each color, (h, w) in [0, 1], over a white ground.

    A pixel is given to the one color of which it holds most; its amount is the share of the way from white to
    that color that comes nearest to it.
    """
    missing = 255.0 - np.asarray(image.convert("RGB"), np.float64)  # (h, w, 3)
    ways = np.array([[255.0 - value for value in RGB[color]] for color in COLORS])  # (colors, 3)
    lengths = (ways**2).sum(axis=1)
    amounts = np.clip(missing @ ways.T / lengths, 0, 1)  # (h, w, colors)
    errors = ((missing[:, :, None] - amounts[..., None] * ways) ** 2).sum(axis=-1)
    mine = errors.argmin(axis=-1)  # (h, w)
    return {color: np.where(mine == place, amounts[..., place], 0.0) for place, color in enumerate(COLORS)}


@cache
def stamps(resolution: int) -> list[tuple[Kind, Plane]]:
    """The rendered stamp of each kind of element, at a quarter of its places within a pixel."""
    return [
        (kind, coverage(kind, resolution, left, top) / 255.0)
        for kind in product(SIZES, TEXTURES, SHAPES)
        for left, top in product((0, 4), repeat=2)
    ]


def seen(image: Image.Image) -> Counts:
    """The elements that the stamps find."""
    return Counter(
        Element(size, color, texture, shape)
        for color, plane in ink(image).items()
        for size, texture, shape in _pursue(plane)
    )


def _pursue(left: Plane) -> Iterator[Kind]:
    """The kinds of the stamps that explain a plane of ink, the one that explains most first."""
    left = left.copy()
    for _ in range(MOST):
        if left.sum() < 4:  # pixels
            return
        best = max(
            ((*_best_place(left, stamp), kind, stamp) for kind, stamp in stamps(len(left))),
            key=lambda found: found[0],
        )
        gain, row, column, kind, stamp = best
        if gain <= 0:
            return
        place = np.zeros_like(left)
        height, width = stamp.shape
        place[row : row + height, column : column + width] = stamp
        around = maximum_filter(place, 3) > 0
        if kind[1] == "empty":  # what lies inside of an outline speaks against it
            around[row : row + height, column : column + width] = True
        union = np.maximum(left, place)[around].sum()
        if np.minimum(left, place)[around].sum() / union >= IOU:
            yield kind
        left = np.clip(left - np.where(around, np.maximum(place, left * (place > 0)), 0), 0, None)


def _best_place(plane: Plane, stamp: Plane) -> tuple[float, int, int]:
    """How much squared error a stamp takes away at its best place, and that place's row and column."""
    gains = 2 * fftconvolve(plane, stamp[::-1, ::-1], mode="valid") - (stamp**2).sum()
    row, column = np.unravel_index(int(gains.argmax()), gains.shape)
    return float(gains[row, column]), int(row), int(column)


def agreement(some: Sequence[Counts], others: Sequence[Counts]) -> dict[str, float]:
    """How often two judges count the same, and the mean F1 of their counts."""
    return {
        "images": len(some),
        "equal": statistics.fmean(a == b for a, b in zip(some, others, strict=True)),
        "f1": statistics.fmean(f1(a, b) for a, b in zip(some, others, strict=True)),
    }


class Judges:
    """What both judges count in image files."""

    def __init__(self, run: Path) -> None:
        self.run = run
        runtime = Runtime()
        self.detector = load_yolo(detector_directory(BUNDLED), runtime, resolve(environment={})[0].detect)
        self.unequal: list[tuple[Image.Image, str]] = []

    def read(self, names: Sequence[str]) -> list[Image.Image]:
        """Images of the run."""
        found = [read_saved_image(self.run / SCORE, name) for name in names]
        missing = [name for name, image in zip(names, found, strict=True) if image is None]
        if missing:
            raise SystemExit(f"{self.run}: no image {missing[0]}")
        return [image for image in found if image is not None]

    def count(self, images: Sequence[Image.Image]) -> tuple[list[Counts], list[Counts]]:
        """The detector's counts and the stamps'."""
        detected = [Counter(multiset(one)) for one in self.detector.detect(images)]
        stamped = [seen(image) for image in images]
        for image, one, other in zip(images, detected, stamped, strict=True):
            if one != other:
                self.unequal.append((image, f"{words(one)} | {words(other)}"))
        return detected, stamped


def words(counts: Counts) -> str:
    """Elements in short."""
    return " + ".join(
        f"{element.size[0]}{element.texture[0]} {element.color} {element.shape}"
        for element in sorted(counts.elements())
    )


def distances(query: Counts, samples: Sequence[Counts]) -> list[float]:
    """1 − F1 of a query and each of its samples."""
    return [1 - f1(query, sample) for sample in samples]


def order(scores: Sequence[float], groups: Sequence[str]) -> dict[str, float | None]:
    """ROC-AUC of each pair of categories."""
    of = {
        name: [score for score, group in zip(scores, groups, strict=True) if group == name]
        for name in CATEGORIES
    }
    return {f"{high} over {low}": roc_auc(of[high], of[low]) for low, high in combinations(CATEGORIES, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--others", type=Path, help="a data set, of which --count images are judged, too")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheet", type=Path, help="PNG of images that the two count differently")
    arguments = parser.parse_args()

    judges = Judges(arguments.run)
    results = list(ResultLog(arguments.run / SCORE / RESULTS, ScoreResult))
    by_detector: list[float] = []
    by_stamps: list[float] = []
    sampled: tuple[list[Counts], list[Counts]] = ([], [])
    for result in results:
        files = result.pictures
        if files is None:
            raise SystemExit(f"{result.id}: the run kept no images of it")
        query, round_trip = (
            judges.count(judges.read([name or ""])) for name in (files.query, files.round_trip)
        )
        curves: tuple[list[float], list[float]] = ([], [])
        for point in result.curve:
            counted = judges.count(judges.read(point.drawings))
            for judge, counts in enumerate(counted):
                sampled[judge].extend(counts)
                curves[judge].append(statistics.fmean(distances(query[judge][0], counts)))
        for judge, scores in enumerate((by_detector, by_stamps)):
            floor = distances(query[judge][0], round_trip[judge])[0]
            ceiling = result.ceiling.value or 0.0  # of the detector: a constant, which changes no order
            scores.append(float(originality(np.array(curves[judge]), floor, ceiling)))

    groups = [result.group or "" for result in results]
    summary: dict[str, Any] = {
        "samples": agreement(*sampled),
        "originality": {
            "spearman": rank_correlation(by_detector, by_stamps),
            "largest_difference": max(abs(a - b) for a, b in zip(by_detector, by_stamps, strict=True)),
            "by_detector": order(by_detector, groups),
            "by_stamps": order(by_stamps, groups),
        },
    }
    if arguments.others:
        data = read_dataset(arguments.others)
        count = min(arguments.count, len(data))
        truth = [Counter(parse_caption(text)) for text in data.captions[:count]]
        detected, stamped = judges.count([Image.fromarray(data.image(i)) for i in range(count)])
        summary["queries"] = {
            "detector_right": agreement(truth, detected),
            "stamps_right": agreement(truth, stamped),
            "agree": agreement(detected, stamped),
        }
    print(json.dumps(summary, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    if arguments.sheet and judges.unequal:
        shown = judges.unequal[:: max(1, len(judges.unequal) // 48)][:48]
        sheet([image for image, _ in shown], [text for _, text in shown], 6, size=160).save(arguments.sheet)


if __name__ == "__main__":
    main()
