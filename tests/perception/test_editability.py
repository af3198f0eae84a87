from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from origcli.errors import ModelError, UsageError
from origcli.perception.editability import TextSimilarity, edit_words
from origcli.runtime.context import Runtime
from tests.tiny_models import clip_tokenizer


@pytest.fixture(scope="module")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP's architecture, both towers, tiny and with random weights, as transformers lays it out."""
    directory = tmp_path_factory.mktemp("clip")
    tokenizer = clip_tokenizer()
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        **size,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 24,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPConfig(
            text_config=text, vision_config={**size, "image_size": 32, "patch_size": 8}, projection_dim=8
        )
        CLIPModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        directory
    )
    return directory


def pictures(count: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (40, 40, 3), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("cat with {S}", "cat"),
        ("a big cat and {S}", "a big cat"),
        ("{S} on the moon", "on the moon"),
        ("a photo of {S} with a hat", "a photo with a hat"),
    ],
)
def test_words_of_an_edit(prompt: str, words: str) -> None:
    assert edit_words(prompt) == words


@pytest.mark.parametrize("prompt", ["cat", "{S}", "with {S}", "{S} and {S}"])
def test_an_edit_needs_tokens_and_words(prompt: str) -> None:
    with pytest.raises(UsageError):
        edit_words(prompt)


def test_similarity_is_the_cosine_of_clips_embeddings(clip_dir: Path) -> None:
    images = pictures(3)
    similarity = TextSimilarity(clip_dir, Runtime())
    found = similarity.of(images, "a cat")
    model = CLIPModel.from_pretrained(clip_dir).eval()
    processor = CLIPImageProcessorPil.from_pretrained(clip_dir)
    with torch.no_grad():
        output = model(
            **clip_tokenizer()(["a cat"], return_tensors="pt"),
            pixel_values=processor(images, return_tensors="pt")["pixel_values"],
        )
    expected = (output.image_embeds @ output.text_embeds.T).squeeze(1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert similarity.of(images, "a dog") != found


def test_batches_change_nothing(clip_dir: Path) -> None:
    images = pictures(5)
    similarity = TextSimilarity(clip_dir, Runtime())
    whole = similarity.of(images, "a cat")
    similarity._batch.size = 2
    np.testing.assert_allclose(similarity.of(images, "a cat"), whole, atol=1e-6)


def test_clip_that_is_missing_or_damaged_is_a_model_error(clip_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load CLIP"):
        TextSimilarity(tmp_path, Runtime())
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        if (clip_dir / name).is_file():
            (tmp_path / name).write_bytes((clip_dir / name).read_bytes())
    data = (clip_dir / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cannot load CLIP"):
        TextSimilarity(tmp_path, Runtime())
