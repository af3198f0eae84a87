"""Embeddings files, starting points, and conditioning; what plain diffusers makes of the files."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from safetensors import safe_open
from safetensors.torch import save_file

from origcli.errors import InputError, UsageError
from origcli.generation.sampling import draw, prompt_conditions
from origcli.inversion.embeddings import condition_with, cycled, initial_vectors, learning_rates
from origcli.inversion.placeholders import placeholder, vector_tokens
from origcli.inversion.token_files import read_tokens, write_tokens
from origcli.models.pipeline import DiffusionModel
from origcli.runtime.context import Runtime
from origcli.runtime.seeding import noise
from origcli.settings import DrawSettings
from tests.tiny_models import EMBEDDING_WIDTH


def vectors(m: int, seed: int = 0) -> torch.Tensor:
    """Vectors far enough from each other and from the vocabulary to matter."""
    return torch.randn(m, EMBEDDING_WIDTH, generator=torch.Generator().manual_seed(seed))


def one(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Vectors of a model with one encoder."""
    return {"": rows}


def states(model: DiffusionModel, template: str, rows: torch.Tensor) -> torch.Tensor:
    """Text states (L, d) of a prompt with learned vectors."""
    return condition_with(model, template, one(rows)).parts["states"][0]


def start(model: DiffusionModel, words: str, m: int) -> torch.Tensor:
    """The first vectors of the model's one encoder."""
    return next(iter(initial_vectors(model, words, m).values()))


def test_a_file_holds_one_key_and_reads_back_bit_by_bit(tmp_path: Path) -> None:
    path = tmp_path / "cat.safetensors"
    write_tokens(path, "<origcli-cat-m3>", one(vectors(3)))
    with safe_open(path, "pt") as file:
        assert list(file.keys()) == ["<origcli-cat-m3>"]
    token, loaded = read_tokens(path)
    assert token == "<origcli-cat-m3>"
    assert loaded[""].dtype == torch.float32 and torch.equal(loaded[""], vectors(3))


def test_one_vector_of_other_programs_is_a_row(tmp_path: Path) -> None:
    save_file({"emb": vectors(1)[0].half()}, tmp_path / "one.safetensors")
    assert read_tokens(tmp_path / "one.safetensors")[1][""].shape == (1, EMBEDDING_WIDTH)


def test_files_that_are_not_one_finite_matrix_are_refused(tmp_path: Path) -> None:
    bad = {
        "two": {"a": vectors(1), "b": vectors(1)},
        "nan": {"a": vectors(2) * float("nan")},
        "cube": {"a": torch.zeros(2, 2, 2)},
        "empty": {"a": torch.zeros(0, 4)},
    }
    for name, tensors in bad.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(InputError, match=name):
            read_tokens(tmp_path / f"{name}.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "two.safetensors").read_bytes()[:-3])
    for name in ("cut", "missing"):
        with pytest.raises(InputError, match=name):
            read_tokens(tmp_path / f"{name}.safetensors")


def test_tokens_of_several_encoders_and_of_other_formats_name_the_remedy(
    bert: DiffusionModel, tmp_path: Path
) -> None:
    save_file({"clip_l": vectors(1), "clip_g": vectors(1)}, tmp_path / "xl.safetensors")
    with pytest.raises(UsageError, match=r"vectors for clip_l, clip_g do not fit bert's bert") as refused:
        condition_with(bert, "a photo of {S}", read_tokens(tmp_path / "xl.safetensors")[1])
    assert "use the model" in refused.value.hint
    for name in ("a.pt", "a.bin"):
        with pytest.raises(InputError) as caught:
            read_tokens(tmp_path / name)
        assert "docs/formats.md" in caught.value.hint


@pytest.mark.fault(18, "embeddings that are pickles are refused, the trap is not touched")
def test_pickles_are_never_opened(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    for name in ("embeds.bin", "embeds.pt", "embeds.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(InputError, match=name):
            read_tokens(tmp_path / name)
    assert not marker.exists()


def test_spread_goes_over_the_rows_again() -> None:
    rows = torch.arange(6.0).view(2, 3)
    assert torch.equal(cycled(rows, 5), rows[[0, 1, 0, 1, 0]])
    assert torch.equal(cycled(rows, 1), rows[:1])


def test_starting_points(model: DiffusionModel, tmp_path: Path) -> None:
    encoder = model.words.encoders[0]
    table = encoder.table
    assert torch.allclose(start(model, "mean", 3), table.mean(0).expand(3, -1))
    cat, dog = (encoder.tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("cat", "dog"))
    assert torch.equal(start(model, "cat", 2), table[cat * 2])
    assert torch.equal(start(model, "cat dog", 3), table[[*cat, *dog, *cat]])
    write_tokens(tmp_path / "x.safetensors", "<x>", one(vectors(2)))
    assert torch.equal(start(model, str(tmp_path / "x.safetensors"), 3), vectors(2)[[0, 1, 0]])


def test_starting_points_that_do_not_fit_are_refused(model: DiffusionModel, tmp_path: Path) -> None:
    write_tokens(tmp_path / "x.safetensors", "<x>", one(torch.zeros(1, EMBEDDING_WIDTH + 1)))
    with pytest.raises(UsageError, match="width 17"):
        initial_vectors(model, str(tmp_path / "x.safetensors"), 1)
    for words in ("日本", " "):
        with pytest.raises(UsageError, match="not words"):
            initial_vectors(model, words, 1)


def test_states_are_those_of_the_vocabulary_when_the_vectors_are(model: DiffusionModel) -> None:
    words = start(model, "red circle", 2)
    learned = states(model, "a photo of {S} and star", words)
    assert torch.allclose(
        learned, prompt_conditions(model, ["a photo of red circle and star"]).parts["states"][0], atol=1e-6
    )


def test_every_vector_changes_the_states(model: DiffusionModel) -> None:
    before = states(model, "a photo of {S}", vectors(4))
    for row in range(4):
        changed = vectors(4)
        changed[row] *= -1
        assert (states(model, "a photo of {S}", changed) - before).abs().max() > 1e-3


@pytest.mark.parametrize("m", [1, 3])
def test_plain_diffusers_draws_the_same_pictures_from_a_file(
    model: DiffusionModel, tmp_path: Path, m: int
) -> None:
    token = placeholder("Cat", m)
    write_tokens(tmp_path / "cat.safetensors", token, one(vectors(m)))
    settings = DrawSettings(steps=4, guidance=3.0, scheduler="ddim", batch_size=2)
    given = condition_with(model, "a photo of {S}", read_tokens(tmp_path / "cat.safetensors")[1])
    ours = draw(model, given, [5, 6], settings, Runtime())

    plain = DiffusionPipeline.from_pretrained(model.source, safety_checker=None)
    plain.set_progress_bar_config(disable=True)
    plain.load_textual_inversion(str(tmp_path / "cat.safetensors"))
    assert [t for t in vector_tokens(token, m) if t in plain.tokenizer.get_vocab()] == vector_tokens(token, m)
    assert isinstance(plain.scheduler, DDIMScheduler)
    latents = torch.stack([noise(model.latent_shape, seed, "draw") for seed in (5, 6)])
    theirs = plain(
        [f"a photo of {token}"] * 2, num_inference_steps=4, guidance_scale=3.0, latents=latents
    ).images
    without = plain(["a photo of"] * 2, num_inference_steps=4, guidance_scale=3.0, latents=latents).images
    for mine, other, none in zip(ours, theirs, without, strict=True):
        levels = [np.asarray(image, dtype=int) for image in (mine, other, none)]
        assert np.abs(levels[0] - levels[1]).max() <= 1  # a level of 255 by rounding
        assert np.abs(levels[0] - levels[2]).max() > 1


def test_the_automatic_learning_rate_follows_the_size_of_word_vectors(bert: DiffusionModel) -> None:
    table = bert.words.encoders[0].module.get_input_embeddings().weight
    rate = learning_rates(bert, "auto")["bert"]
    assert rate == pytest.approx(2 / 3 * float(table.square().mean().sqrt()))
    kept = table.detach().clone()
    try:
        with torch.no_grad():
            table *= 3
        assert learning_rates(bert, "auto")["bert"] == pytest.approx(3 * rate)
    finally:
        with torch.no_grad():
            table.copy_(kept)
    assert learning_rates(bert, 5e-4) == {"bert": 5e-4}
