"""Numbers of Stable Diffusion's shape and of the bundled model, as they were before other families came.

`python -m tests.scoring.test_pins` writes them again, for a change that is meant to change them.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from origcli.generation.sampling import draw_prompts
from origcli.images.inputs import Input
from origcli.inversion.optimization import invert
from origcli.models.pipeline import DiffusionModel, load_pipeline
from origcli.reports.writers import read_report
from origcli.runtime.atomic import make_directory
from origcli.runtime.context import Runtime
from origcli.settings import resolve
from origcli.weights.registry import bundled_directory
from tests.measuring import TINY, PixelDistance
from tests.scoring.runs import score
from tests.tiny_models import RESOLUTION, write_tiny_pipeline

PINS = Path(__file__).with_name("pins.json")
MODELS = ("bert", "clip", "shapes")


def picture(size: int) -> Image.Image:
    """Noise in blocks of eight pixels."""
    levels = np.random.default_rng(5).integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    return Image.fromarray(levels.repeat(8, 0).repeat(8, 1))


def measured(model: DiffusionModel) -> Iterator[tuple[str, Any]]:
    """Tokens that are learned and pictures that are drawn, in each of the two ways of drawing noise."""
    for way in (False, True):
        changes = {
            "invert": {**TINY["invert"], "stratified": way, "antithetic": way, "flip": way},
            "draw": {**TINY["draw"], "scheduler": "dpm" if way else "ddim"},
        }
        settings = resolve(changes, environment={})[0]
        found = invert(model, [picture(model.resolution)], ["pin"], [1, 2], settings.invert, Runtime(seed=3))[
            0
        ]
        vectors = {m: rows for m, by_encoder in found.vectors.items() for rows in by_encoder.values()}
        yield (
            f"tokens-{way}",
            {
                "vectors": {str(m): rows[:, :8].tolist() for m, rows in vectors.items()},
                "norms": {str(m): rows.norm(dim=1).tolist() for m, rows in vectors.items()},
                "losses": {str(m): losses for m, losses in found.losses.items()},
                "l_det": {str(m): loss for m, loss in found.l_det.items()},
                "l_det_none": found.l_det_none,
            },
        )
        drawn = draw_prompts(model, ["a photo of", "a circle"], [4, 5], settings.draw, Runtime())
        yield (
            f"samples-{way}",
            [np.asarray(one.resize((4, 4), Image.Resampling.BOX)).tolist() for one in drawn],
        )


def scored(directory: Path, out: Path) -> dict[str, Any]:
    """What a report says of one image, with a metric that needs no weights."""
    flags = {**TINY, "score": {**TINY["score"], "model": str(directory)}}
    path = out / "picture.png"
    picture(RESOLUTION).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORIGCLI_CACHE", str(out / "cache"))
        patch.setattr("origcli.scoring.setup.open_metric", lambda *_, **__: PixelDistance())
        patch.setattr("origcli.scoring.measure.LEAST_RANGE", -10.0)
        score(resolve(flags, environment={})[0], out / "run", [Input(path, "picture")])
    result = read_report(out / "run", "score").results[0]
    return {
        "distances": [list(one) for point in result.curve for one in point.distances],
        "l_det": [point.l_det.value for point in result.curve],
        "ends": [result.floor.value, result.ceiling.value, result.originality.value],
        "without": list(result.distances_0),
    }


def load(name: str, directory: Path) -> DiffusionModel:
    """A model by its name here."""
    if name == "shapes":
        return load_pipeline(bundled_directory(), Runtime(), name=name)
    return load_pipeline(write_tiny_pipeline(directory / name, name), Runtime(), name=name)


def flat(value: Any) -> list[float]:
    """All numbers of nested lists and mappings, in order."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in flat(one)]
    return [number for one in value for number in flat(one)] if isinstance(value, list) else [float(value)]


@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_those_of_before(name: str, tmp_path: Path) -> None:
    pinned = json.loads(PINS.read_text("utf-8"))[name]
    model = load(name, tmp_path)
    assert model.weights_hash == pinned.pop("weights_hash")
    for key, value in measured(model):
        # Samples in gray levels: another CPU rounds another way.
        absolute, relative = (1.0, None) if key.startswith("samples") else (1e-5, 1e-3)
        assert flat(value) == pytest.approx(flat(pinned[key]), rel=relative, abs=absolute), key
    if name != "shapes":
        report = scored(tmp_path / name, tmp_path)
        assert flat(report) == pytest.approx(flat(pinned["report"]), rel=1e-3, abs=4e-3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        values: dict[str, Any] = {}
        for each in MODELS:
            opened = load(each, Path(temporary))
            values[each] = {"weights_hash": opened.weights_hash, **dict(measured(opened))}
            if each != "shapes":
                out = make_directory(Path(temporary) / f"{each}-out")
                values[each]["report"] = scored(Path(temporary) / each, out)
    text = json.dumps(values, indent=1)
    sys.stdout.write(hashlib.sha256(text.encode()).hexdigest() + "\n")
    if sys.argv[1:] != ["--only-hash"]:
        PINS.write_text(text + "\n", "utf-8")
