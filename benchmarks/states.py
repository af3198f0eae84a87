"""Which text states a model of the shapes world draws from: those of the words, or one that sums them up.

    python benchmarks/states.py [MODEL] [--pair circle square] [--captions 45] [--steps 20] [--threads N]

Pairs of two shapes are drawn in "a photo of ...", with the states of some places only; all other places have
the states that they have when the caption is left out. The figure of each way is the mean F1 of the detected
elements against the caption's. A learned token has but the place of one word, so what the places around the
words tell decides what a single token can bring back.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from drawing import captions_of
from torch import Tensor

from origcli.detection.counting import f1, multiset
from origcli.detection.reporting import detector_directory
from origcli.detection.yolo import load_yolo
from origcli.generation.sampling import draw, prompt_conditions
from origcli.inversion.templates import fill, without_slot
from origcli.models.conditioning import Conditioning
from origcli.models.text_encoder import tokenize
from origcli.runtime.context import open_runtime
from origcli.scenes.captions import caption
from origcli.scenes.elements import Element
from origcli.scoring.setup import open_models
from origcli.settings import resolve

PROMPT = "a photo of {S}"


def places(tokenizer: Any, prompts: Sequence[str], shapes: Sequence[str]) -> Mapping[str, Tensor]:
    """Which places each way keeps, (prompts, L) of bool."""
    ids, mask = tokenize(tokenizer, list(prompts))
    before = len(tokenizer(without_slot(PROMPT))["input_ids"]) - 1  # [CLS] and the words before the slot
    real = mask.bool()
    words = real & (ids != tokenizer.sep_token_id)
    words[:, :before] = False
    names = torch.isin(ids, torch.tensor(tokenizer.convert_tokens_to_ids(list(shapes))))
    return {
        "all": torch.ones_like(real),
        "the words": words,
        "the shapes' names": names,
        "all but the words": ~words,
        "[CLS]": ids == tokenizer.cls_token_id,
        "[CLS] and [SEP]": real & ~words,
        "the padding": ~real,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="shapes")
    parser.add_argument("--pair", nargs=2, default=("circle", "square"), metavar="SHAPE")
    parser.add_argument("--captions", type=int, default=45)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    values = {
        "score": {"model": given.model},
        "draw": {"steps": given.steps, "guidance": given.guidance, "batch_size": 32},
        "runtime": {"threads": given.threads},
    }
    settings, _ = resolve(values, environment={})
    known = [pair for kind in ("2", "rare", "unseen") for pair in captions_of(kind)]
    wanted = [pair for pair in known if {element.shape for element in pair} == set(given.pair)]
    pairs: list[tuple[Element, ...]] = [wanted[i % len(wanted)] for i in range(given.captions)]
    prompts = [fill(PROMPT, caption(pair)) for pair in pairs]
    results = {}
    with open_runtime(settings.runtime) as runtime:
        model = open_models(settings, runtime).model
        detector = load_yolo(detector_directory("shapes"), runtime, settings.detect)
        states = prompt_conditions(model, [*prompts, without_slot(PROMPT)]).parts["states"]
        full, silent = states[:-1], states[-1]  # (n, L, d), (L, d)
        for name, kept in places(model.words.encoders[0].tokenizer, prompts, given.pair).items():
            mixed = torch.where(kept[..., None], full, silent)
            pictures = draw(
                model,
                Conditioning({"states": mixed}),
                range(len(pairs)),
                settings.draw,
                runtime,
                description=name,
            )
            found = [multiset(seen) for seen in detector.detect(pictures)]
            told = [{element: pair.count(element) for element in pair} for pair in pairs]
            results[name] = statistics.mean(f1(a, b) for a, b in zip(found, told, strict=True))
    print(json.dumps({"model": model.weights_hash, "pair": given.pair, "f1": results}, indent=1))


if __name__ == "__main__":
    main()
