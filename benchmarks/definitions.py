"""Thresholds from a model's own samples by three definitions, compared with that from held-out images.

    python benchmarks/definitions.py MODEL HELD_OUT [--captions 50] [--samples 20] [--images 60]
        [--out FILE.json]

The threshold from held-out images, a data set of `origcli synth`, is the 90th percentile of the mean distance
between an image and samples of its caption. Without such images, samples of one caption are compared with
each other:

- `median`: the median over the samples of the mean distance to the others, which `origcli calibrate` takes;
- `pairs`: the mean distance over all pairs;
- `first`: the mean distance of the others to the first sample, in place of the image.

The captions of own samples are those that `origcli calibrate` takes: one or two elements. Held-out images
have more, so those with one or two are also listed separately. Intervals resample captions or images.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from origcli.reports.schema import Estimate
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.progress import open_progress
from origcli.scenes.captions import JOINT
from origcli.scoring.calibrate import THRESHOLD_QUANTILE, caption_distances, read_held_out
from origcli.scoring.measure import mean_over_pairs, median_to_others
from origcli.scoring.models import Models
from origcli.scoring.self_calibration import own_captions, own_samples
from origcli.scoring.setup import open_models
from origcli.scoring.statistics import quantile
from origcli.settings import Settings, resolve

Between = Callable[[Any, Any], float]
Spread = Callable[[Sequence[Any], Between], float]


def first_to_others(items: Sequence[Any], between: Between) -> float:
    """The mean distance of the other items to the first."""
    return float(np.mean([between(items[0], item) for item in items[1:]]))


MOST_ELEMENTS = 2  # of own captions
DEFINITIONS: Mapping[str, Spread] = {
    "median": median_to_others,
    "pairs": mean_over_pairs,
    "first": first_to_others,
}


def own_spreads(
    models: Models, captions: Sequence[str], samples: int, settings: Settings, runtime: Runtime
) -> dict[str, list[float]]:
    """The spread of each caption by each definition, of the samples that `origcli calibrate` takes."""
    spreads: dict[str, list[float]] = {name: [] for name in DEFINITIONS}
    for caption in captions:
        images = own_samples(models, settings, runtime, caption, samples)
        features = models.metric.features(images)
        for name, spread in DEFINITIONS.items():
            spreads[name].append(spread(features, models.metric.between))
    return spreads


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("held_out")
    parser.add_argument("--captions", type=int, default=50)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    flags = {
        "score": {"model": given.model, "detector": "shapes", "samples": given.samples},
        "draw": {"guidance": given.guidance},
        "runtime": {"threads": given.threads, "dtype": given.dtype},
    }
    settings = resolve(flags, presets=("small", "fast"), environment={})[0]
    random = np.random.default_rng(0)

    def threshold(values: Sequence[float]) -> Estimate:
        return quantile(values, THRESHOLD_QUANTILE, given.replicates, random)

    with open_runtime(settings.runtime, progress=open_progress()) as runtime:
        models = open_models(settings, runtime)
        captions = own_captions(models, settings, runtime, given.captions)
        spreads = own_spreads(models, captions, given.samples, settings, runtime)
        found, _ = read_held_out(
            [given.held_out], 2 * given.images, models.model.resolution, settings, runtime
        )
        held_out = [image for image in found if image.caption][: given.images]  # blank ones have none
        distances = caption_distances(models, held_out, settings, runtime)
    pairs = zip(held_out, distances, strict=True)
    few = [distance for image, distance in pairs if str(image.caption).count(JOINT) < MOST_ELEMENTS]
    summary = {
        "model": models.model.weights_hash,
        "captions": len(captions),
        "samples": given.samples,
        "images": len(held_out),
        "held out": threshold(distances).to_json(),
        **{name: threshold(values).to_json() for name, values in spreads.items()},
        "images of one or two elements": len(few),
        "held out, one or two elements": threshold(few).to_json(),
    }
    print(json.dumps(summary, indent=2))
    if given.out:
        given.out.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
