"""Images of prompts from a model by name, with or without learned tokens: `origcli draw`."""

import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from origcli.errors import UsageError
from origcli.generation.sampling import draw, prompt_conditions
from origcli.inversion.embeddings import condition_with
from origcli.inversion.templates import SLOT
from origcli.inversion.token_files import read_tokens
from origcli.models.conditioning import joined
from origcli.models.opening import open_model
from origcli.reports.gallery import write_sheet_html
from origcli.reports.sheets import sheet
from origcli.runtime.atomic import atomic_file
from origcli.runtime.context import Runtime
from origcli.settings import Settings

_PLACEHOLDER = re.compile(r"<[\w-]+>")
_SHEET_CELL, _SHEET_COLUMNS = 128, 8


def draw_images(
    name: str,
    prompts: Sequence[str],
    images: int,
    settings: Settings,
    runtime: Runtime,
    *,
    embeddings: Path | None = None,
) -> list[dict[str, Any]]:
    """Draws `images` images of each prompt into the run directory, and a page with a sheet of all.

    Image k of each prompt has the seed `runtime.seed + k`.

    Returns:
        A row for each image: file, prompt, seed.

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
    vectors = read_tokens(embeddings)[1] if embeddings is not None else None

    _, model = open_model(name, runtime)
    # Of the first encoder: what another makes of a word is no plainer.
    for remark in remarks(model.words.encoders[0].tokenizer, prompts):
        runtime.progress.say(remark)

    each = [
        condition_with(model, prompt, vectors)
        if vectors is not None and SLOT in prompt
        else prompt_conditions(model, [prompt])
        for prompt in prompts
    ]
    seeds = [runtime.seed + k for k in range(images)] * len(prompts)
    pictures = draw(model, joined(each).repeated(images), seeds, settings.draw, runtime)

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


def remarks(tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """What of the prompts the model will not understand: words that it does not know, and placeholders whose
    vectors are not given. They would be drawn as something else, without an error.
    """
    words = []
    for word in dict.fromkeys(word for prompt in prompts for word in prompt.split() if SLOT not in word):
        if _PLACEHOLDER.search(word):
            if not set(_PLACEHOLDER.findall(word)) <= tokenizer.get_vocab().keys():
                words.append(f"{word}: read as plain text; write {SLOT} instead and add --embeddings FILE")
        elif _is_unknown(tokenizer, word):
            words.append(f"{word}: a word that the model does not know")
    return words


def _is_unknown(tokenizer: Any, word: str) -> bool:
    # CLIP's unknown token is also its end of text, which no word becomes: it spells every word.
    if tokenizer.unk_token_id in (None, tokenizer.eos_token_id):
        return False
    return tokenizer.unk_token_id in tokenizer(word, add_special_tokens=False)["input_ids"]
