"""At which noise a model of the shapes world tells a right caption from one with a wrong color.

    python benchmarks/timesteps.py [MODEL] [--pictures 4] [--noises 640] [--threads N]

Pictures of common pairs (circle, square) are noised and denoised with their own caption, and with the four
captions that have another color for one of the two. For each tenth of the schedule: the mean error, by how
much a wrong color raises it, and that rise over the standard deviation of the error from noise to noise.
The last is what a step of textual inversion has to go by, so it says which timesteps teach a token most.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from origcli.generation.sampling import prompt_conditions
from origcli.inversion.preparation import encode
from origcli.inversion.templates import fill
from origcli.models.pipeline import DiffusionModel
from origcli.runtime.context import open_runtime
from origcli.runtime.memory import slices
from origcli.runtime.seeding import generator
from origcli.scenes.captions import caption, parse_caption
from origcli.scenes.elements import COLORS
from origcli.scoring.setup import open_models
from origcli.settings import resolve
from origcli.studies.queries import make_queries, query_recipe

PROMPT = "a photo of {S}"
TENTHS = 10
BATCH = 64


def miscolored(text: str) -> list[str]:
    """The captions that have another color for one of the elements."""
    elements = parse_caption(text)
    return [
        caption([*elements[:i], replace(element, color=color), *elements[i + 1 :]])
        for i, element in enumerate(elements)
        for color in COLORS
        if color != element.color
    ]


def errors(model: DiffusionModel, image: Image.Image, captions: Sequence[str], noises: int) -> Tensor:
    """Squared errors of the prediction, (captions, noises): timesteps evenly over the schedule."""
    timesteps = torch.arange(noises) * 1000 // noises
    noise = torch.randn(noises, *model.latent_shape, generator=generator("timesteps", "noise"))
    latents = model.family.to_denoiser(encode(model, image, "picture").mean[:1]).expand_as(noise)
    noisy, target = model.noising.mix(latents, noise, timesteps)
    given = prompt_conditions(model, [fill(PROMPT, text) for text in captions])

    def found(row: int, at: slice) -> Tensor:
        one = given[[row]].expanded(at.stop - at.start)
        predicted = model.family.predict(noisy[at], timesteps[at], one)
        return (predicted - target[at]).square().mean((1, 2, 3))

    with torch.no_grad():
        return torch.stack(
            [torch.cat([found(row, at) for at in slices(noises, BATCH)]) for row in range(len(captions))]
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="shapes")
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--noises", type=int, default=640)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    values = {"score": {"model": given.model}, "runtime": {"threads": given.threads, "device": "cpu"}}
    settings, _ = resolve(values, environment={})
    right, rises = [], []
    with open_runtime(settings.runtime) as runtime, tempfile.TemporaryDirectory() as folder:
        model = open_models(settings, runtime).model
        recipe = query_recipe(settings, "common", given.pictures, settings.synth.resolution)
        data, inputs = make_queries(Path(folder), "common", recipe, settings.rarity.seed, runtime)
        for record, query in zip(data.records, inputs, strict=True):
            text = record["text"]
            with Image.open(query.path) as image:
                found = errors(model, image.convert("RGB"), [text, *miscolored(text)], given.noises)
            right.append(found[0])
            rises.append((found[1:] - found[0]).mean(0))
    error, rise = torch.stack(right).chunk(TENTHS, 1), torch.stack(rises).chunk(TENTHS, 1)
    rows = [
        {
            "timesteps": f"{i * 1000 // TENTHS} to {(i + 1) * 1000 // TENTHS}",
            "error": e.mean().item(),
            "rise": r.mean().item(),
            "rise_over_deviation": (r.mean(1) / e.std(1)).mean().item(),
        }
        for i, (e, r) in enumerate(zip(error, rise, strict=True))
    ]
    print(json.dumps({"model": model.weights_hash, "tenths": rows}, indent=1))


if __name__ == "__main__":
    main()
