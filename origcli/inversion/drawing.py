"""Pictures of prompts from a model by name, with or without learned tokens: `origcli draw`."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from origcli.errors import UsageError
from origcli.generation.sampling import draw, prompt_states
from origcli.inversion.embeddings import load_embeddings, states
from origcli.inversion.templates import SLOT
from origcli.models.opening import open_model
from origcli.reports.gallery import write_sheet_html
from origcli.reports.sheets import sheet
from origcli.runtime.atomic import atomic_file
from origcli.runtime.context import Runtime
from origcli.settings import Settings

_SHEET_CELL, _SHEET_COLUMNS = 128, 8


def run(
    name: str,
    prompts: Sequence[str],
    images: int,
    settings: Settings,
    runtime: Runtime,
    *,
    embeddings: Path | None = None,
) -> list[dict[str, Any]]:
    """Draws `images` pictures of each prompt into the run directory, and a page with a sheet of all.

    Picture k of each prompt has the seed `runtime.seed + k`.

    Returns:
        A row for each picture: file, prompt, seed.

    Raises:
        UsageError: a prompt has `{S}` and there are no embeddings, or the other way round.
    """
    slotted = [prompt for prompt in prompts if SLOT in prompt]
    if slotted and embeddings is None:
        raise UsageError(
            f"{slotted[0]!r} has {SLOT}, and no learned tokens are given", "add --embeddings FILE"
        )
    if embeddings is not None and not slotted:
        raise UsageError(f"no prompt has {SLOT} for the learned tokens", f'e.g. --prompt "a photo of {SLOT}"')
    vectors = load_embeddings(embeddings)[1] if embeddings is not None else None

    _, model = open_model(name, runtime)

    plain = prompt_states(model, ["", *(prompt for prompt in prompts if SLOT not in prompt)])
    rest = iter(plain[1:])
    each = [
        states(model, prompt, vectors) if vectors is not None and SLOT in prompt else next(rest)
        for prompt in prompts
    ]
    context = torch.stack(each).repeat_interleave(images, dim=0)  # (prompts · images, L, d)
    seeds = [runtime.seed + k for k in range(images)] * len(prompts)
    pictures = draw(model, context, plain[0], seeds, settings.draw, runtime)

    labels = list(chain.from_iterable([prompt] * images for prompt in prompts))
    rows = []
    for number, (picture, prompt, seed) in enumerate(zip(pictures, labels, seeds, strict=True)):
        file = f"{number:04d}.png"
        with atomic_file(runtime.out / file) as target:
            picture.save(target, "PNG")
        rows.append({"file": str(runtime.out / file), "prompt": prompt, "seed": seed})

    side = max(_SHEET_CELL, model.resolution)
    columns = min(images, _SHEET_COLUMNS) if len(prompts) > 1 else _SHEET_COLUMNS
    title = f"{len(pictures)} samples of {model.name}"
    write_sheet_html(runtime.out, title, sheet(pictures, labels, columns, size=side))
    return rows
