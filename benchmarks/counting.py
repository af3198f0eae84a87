"""How well a detector counts: on scenes as they are, and as they come back from a model's VAE.

    python benchmarks/counting.py [--detector shapes] [--vae DIR] [--count 2000] [--json FILE]

The scenes are uniform, of up to four elements, at 64 pixels: `all` of the 60 elements, and `big full` of the
15 that the bundled model draws. Those of a round trip went through the VAE's mean latents and back. Elements
more than half covered are ignored; an image that has none of those is countable.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from origcli.detection.evaluation import LOWEST, Evaluation
from origcli.detection.reporting import detector_directory
from origcli.detection.yolo import load_yolo
from origcli.models.vae import decode_latents, encode_moments, load_vae, to_images, to_pixels
from origcli.runtime.context import open_runtime
from origcli.runtime.memory import slices
from origcli.scenes.dataset import Dataset
from origcli.scenes.mixtures import Recipe
from origcli.scenes.records import scene_of
from origcli.scenes.writing import write_dataset
from origcli.settings import resolve
from origcli.weights.registry import bundled_directory

SEED = 77
WORLDS: dict[str, dict[str, Sequence[str]]] = {
    "all": {"sizes": ("big", "small"), "textures": ("full", "empty")},
    "big full": {"sizes": ("big",), "textures": ("full",)},
}
BATCH = 32

See = Callable[[list[np.ndarray[Any, Any]]], list[Image.Image]]


def as_they_are(arrays: list[np.ndarray[Any, Any]]) -> list[Image.Image]:
    return [Image.fromarray(array) for array in arrays]


def round_trip(vae: Any) -> See:
    """Pictures as they come back from a VAE."""

    @torch.inference_mode()
    def see(arrays: list[np.ndarray[Any, Any]]) -> list[Image.Image]:
        latents = encode_moments(vae, to_pixels(np.stack(arrays)))[0] * vae.config.scaling_factor
        return to_images(decode_latents(vae, latents))

    return see


def measure(data: Dataset, see: See, detector: Any, threshold: float) -> dict[str, float]:
    """The figures of a detector on what is seen of a data set."""
    evaluation = Evaluation(threshold)
    for part in slices(len(data), BATCH):
        found = detector.detect(see([data.image(i) for i in range(part.start, part.stop)]))
        for record, detections in zip(data.records[part], found, strict=True):
            evaluation.add(detections, scene_of(record), data.resolution)
    return evaluation.results()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="shapes")
    parser.add_argument("--vae", type=Path, default=bundled_directory())
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    ways = {"scenes": as_they_are, "round trips": round_trip(load_vae(given.vae))}
    results: dict[str, dict[str, float]] = {}
    settings, _ = resolve({"detect": {"confidence": LOWEST}}, environment={})
    threshold = resolve({}, environment={})[0].detect.confidence
    with open_runtime(settings.runtime) as runtime, tempfile.TemporaryDirectory() as folder:
        detector = load_yolo(detector_directory(given.detector), runtime, settings.detect)
        for world, chosen in WORLDS.items():
            recipe = {
                "count": given.count,
                "resolution": 64,
                "mixture": "uniform",
                "max_elements": 4,
                **chosen,
            }
            made, _ = resolve({"synth": recipe}, environment={})
            data = write_dataset(Recipe(made.synth, SEED), Path(folder) / world.replace(" ", "-"))
            for way, see in ways.items():
                name = f"{world}, {way}"
                results[name] = measure(data, see, detector, threshold)
                shown = {key: round(value, 4) for key, value in results[name].items()}
                print(name, shown, file=sys.stderr, flush=True)
    text = json.dumps(results, indent=1)
    if given.json:
        given.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
