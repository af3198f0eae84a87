"""Whether an image of learned tokens can still be edited (supplement 1): the sign of being in distribution.

"cat with S" should look more like a cat than "a photo of S" does, by CLIP's similarity of image and text.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from origcli.errors import UsageError
from origcli.perception.embedding import load_processor, load_strictly
from origcli.runtime.context import Runtime
from origcli.runtime.memory import BatchSize, slices
from origcli.weights.registry import CLIP

PLACEHOLDER = "{S}"
_BATCH = 32


def edit_words(prompt: str) -> str:
    """What an edit prompt asks for besides the learned tokens: "cat" of "cat with {S}".

    Raises:
        UsageError: the prompt has no `{S}`, or nothing else.
    """
    if prompt.count(PLACEHOLDER) != 1:
        raise UsageError(f"the edit prompt {prompt!r} must hold {PLACEHOLDER} once")
    words = re.sub(r"\b(with|and|of|in|on|next to|beside)\s*\{S\}|\{S\}", " ", prompt)
    words = " ".join(words.split())
    if not words:
        raise UsageError(f"the edit prompt {prompt!r} asks for nothing besides {PLACEHOLDER}")
    return words


class TextSimilarity:
    """Cosine similarity of CLIP's embeddings of images and a text."""

    def __init__(self, directory: Path, runtime: Runtime) -> None:
        """Loads CLIP, both towers, from a `transformers` directory.

        Raises:
            ModelError: a file is missing or damaged, or a weight is.
        """
        from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        model = load_strictly(CLIPModel, directory, CLIP.command)
        self._tokenizer = load_processor(CLIPTokenizer, directory, CLIP.command)
        self._processor = load_processor(CLIPImageProcessorPil, directory, CLIP.command)
        self._model = model.to(runtime.device)
        self._device = runtime.device
        self._batch = BatchSize(_BATCH, runtime.progress.say)

    @torch.inference_mode()
    def of(self, images: Sequence[Image.Image], text: str) -> list[float]:
        """The similarity of each image to the text, in [−1, 1]."""
        tokens = self._tokenizer([text], return_tensors="pt", truncation=True).to(self._device)
        wanted = _unit(self._model.get_text_features(**tokens))  # (1, d)

        def work(size: int) -> list[float]:
            values: list[float] = []
            for part in slices(len(images), size):
                pixels = self._processor(list(images[part]), return_tensors="pt")["pixel_values"]
                shown = _unit(self._model.get_image_features(pixel_values=pixels.to(self._device)))  # (n, d)
                values += (shown @ wanted.T).squeeze(1).tolist()
            return values

        return self._batch.attempt(work)


def _unit(output: object) -> torch.Tensor:
    features = getattr(output, "pooler_output", output)
    assert isinstance(features, torch.Tensor)
    return torch.nn.functional.normalize(features.float(), dim=-1)
