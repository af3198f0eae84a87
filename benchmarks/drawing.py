"""What a model of the shapes world draws of its captions: the figures of the bundled model's card.

    python benchmarks/drawing.py [MODEL] [--captions 250] [--guidance G] [--sheet FILE] [--json FILE]

For each kind of caption, uniform over the multisets of big full elements that the kind has: the share of
drawings whose detected elements are the caption's, and the mean F1 of the two multisets. The kinds are
captions of 1 to 4 elements that the `originality` mixture (supplement 6.1) holds, its rare pairs, the
pairs that it never shows, and the empty prompt, of which no caption tells what is right. `explained` is
the share of drawings in which nothing dark lies outside the boxes of what was detected.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from PIL import Image

from origcli.detection.counting import f1, multiset
from origcli.detection.detector import Detection, Detector
from origcli.detection.reporting import detector_directory
from origcli.detection.yolo import load_yolo
from origcli.generation.sampling import draw_prompts
from origcli.models.pipeline import DiffusionModel
from origcli.reports.sheets import sheet
from origcli.runtime.context import Runtime, open_runtime
from origcli.scenes.captions import caption
from origcli.scenes.elements import ALL_ELEMENTS, CORE_SHAPES, Element
from origcli.scoring.setup import open_models
from origcli.settings import Settings, resolve

BIG_FULL = tuple(e for e in ALL_ELEMENTS if e.size == "big" and e.texture == "full")
NOT_WHITE = 64  # of 255: darker than white by more than this is ink
MARGIN = 2  # pixels around a box that still belong to its element


def captions_of(kind: str) -> list[tuple[Element, ...]]:
    """All multisets of a kind: "1" to "4" elements as training shows them, "rare", "unseen" or "empty"."""
    if kind == "empty":
        return [()]
    number = 2 if kind in ("rare", "unseen") else int(kind)
    wanted = {"rare": [("circle", "triangle")], "unseen": [("square", "triangle")]}
    found = []
    for elements in combinations_with_replacement(BIG_FULL, number):
        core = tuple(sorted((e.shape for e in elements if e.shape in CORE_SHAPES), key=CORE_SHAPES.index))
        often = len(core) <= 1 or (number == 2 and core == ("circle", "square"))
        if core in wanted[kind] if kind in wanted else often:
            found.append(elements)
    return found


def choose(kind: str, count: int) -> list[tuple[Element, ...]]:
    """`count` multisets of a kind, each as often as the others or once more, in an order by seed 0."""
    have = captions_of(kind)
    order = np.random.default_rng(0).permutation(len(have))
    return [have[order[i % len(have)]] for i in range(count)]


def outside(picture: Image.Image, found: Sequence[Detection]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """How far pixels outside all boxes are from white, (pixels, channels) flattened, 0 to 255."""
    pixels = 255 - np.asarray(picture.convert("RGB"))
    free = np.ones(pixels.shape[:2], bool)
    for detection in found:
        x0, y0, x1, y1 = detection.box
        rows = slice(max(0, int(y0) - MARGIN), int(y1) + 1 + MARGIN)
        free[rows, max(0, int(x0) - MARGIN) : int(x1) + 1 + MARGIN] = False
    return pixels[free].ravel()


def measure(
    kind: str, count: int, model: DiffusionModel, detector: Detector, settings: Settings, runtime: Runtime
) -> tuple[dict[str, float], list[Image.Image], list[str]]:
    """Draws a kind's captions: its figures, the drawings, and a label for each that says what was seen."""
    wanted = choose(kind, count)
    prompts = [caption(elements) for elements in wanted]
    pictures = draw_prompts(model, prompts, range(count), settings.draw, runtime, description=kind)
    found = detector.detect(pictures)
    seen = [multiset(detections) for detections in found]
    white = [outside(picture, detections) for picture, detections in zip(pictures, found, strict=True)]
    explained = [not len(w) or int(w.max()) <= NOT_WHITE for w in white]
    figures = {
        "drawings": float(count),
        "captions": float(len(captions_of(kind))),
        "explained": statistics.mean(explained),
        "background_median_error": float(np.median(np.concatenate(white))),
    }
    if kind != "empty":
        told = [{e: elements.count(e) for e in elements} for elements in wanted]
        figures["exact"] = statistics.mean(dict(s) == t for s, t in zip(seen, told, strict=True))
        figures["f1"] = statistics.mean(f1(s, t) for s, t in zip(seen, told, strict=True))
    short = [
        " ".join(p.replace("big ", "").replace("full ", "").replace("and ", "+ ").split()) for p in prompts
    ]
    right = [
        kind == "empty" or dict(s) == {e: w.count(e) for e in w} for s, w in zip(seen, wanted, strict=True)
    ]
    return figures, pictures, [("" if ok else "x ") + text for ok, text in zip(right, short, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="shapes")
    parser.add_argument("--captions", type=int, default=250, help="drawings a kind")
    parser.add_argument("--kinds", nargs="*", default=["1", "2", "3", "4", "rare", "unseen", "empty"])
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--detector", default="shapes")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--sheet", type=Path, help="PNG of the first drawings of each kind, x where one is wrong"
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    values = {
        "score": {"model": given.model, "detector": given.detector},
        "draw": {"steps": given.steps, "guidance": given.guidance, "batch_size": 32},
        "runtime": {"threads": given.threads},
    }
    settings, _ = resolve(values, environment={})
    results, pictures, labels = {}, [], []
    with open_runtime(settings.runtime) as runtime:
        models = open_models(settings, runtime)
        detector = load_yolo(detector_directory(given.detector), runtime, settings.detect)
        for kind in given.kinds:
            results[kind], drawn, said = measure(
                kind, given.captions, models.model, detector, settings, runtime
            )
            pictures += drawn[:16]
            labels += said[:16]
            print(
                kind,
                {name: round(value, 3) for name, value in results[kind].items()},
                file=sys.stderr,
                flush=True,
            )
    if given.sheet:
        sheet(pictures, labels, 8, size=128).save(given.sheet)
    text = json.dumps({"model": models.model.weights_hash, "guidance": given.guidance, **results}, indent=1)
    if given.json:
        given.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
