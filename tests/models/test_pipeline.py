"""Pipeline directories: loaded strictly, and drawing as diffusers' own pipeline does."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, PNDMScheduler
from safetensors.torch import load_file, save_file

from origcli.errors import ModelError, UsageError
from origcli.generation.sampling import prompt_conditions, sample_latents
from origcli.models.pipeline import load_pipeline, save_pipeline
from origcli.models.text_encoder import tokenize
from origcli.runtime.context import Runtime
from origcli.runtime.seeding import noise
from origcli.settings import resolve
from origcli.weights.hashing import hash_pipeline
from tests.stable_diffusion import SCHEDULER, lay_out_as_published, write_narrow_pipeline

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny_bert_pipeline_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert_pipeline_dir, tmp_path / "copy"))


def test_a_pipeline_is_frozen_and_knows_its_shape(tiny_bert_pipeline_dir: Path) -> None:
    model = load_pipeline(tiny_bert_pipeline_dir, Runtime())
    encoder = model.words.encoders[0]
    assert (model.latent_shape, model.resolution, encoder.width) == ((4, 8, 8), 64, 16)
    assert (model.noising.prediction, encoder.length) == ("v_prediction", 24)
    assert sorted(model.family.modules) == ["text_encoder", "unet", "vae"]
    for module in model.family.modules.values():
        assert not module.training and not any(p.requires_grad for p in module.parameters())


def test_weights_keep_no_precision_of_their_own(tiny_clip_pipeline_dir: Path) -> None:
    model = load_pipeline(tiny_clip_pipeline_dir, Runtime(dtype=torch.bfloat16))
    for module in model.family.modules.values():
        assert {p.dtype for p in module.parameters()} == {torch.bfloat16}


def _drop_a_key(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, {"format": "pt"})


def _add_a_key(path: Path) -> None:
    save_file({**load_file(path), "stranger": torch.zeros(1)}, path, {"format": "pt"})


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.fault(22, "exit 4 and the part of the model")
@pytest.mark.parametrize("damage", [_drop_a_key, _add_a_key, _cut, Path.unlink])
def test_damaged_weights_are_named(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy / UNET)
    with pytest.raises(ModelError, match="unet"):
        load_pipeline(copy, Runtime())


def test_a_layout_of_2022_gives_the_same_model(tmp_path: Path) -> None:
    ours = load_pipeline(write_narrow_pipeline(tmp_path / "ours"), Runtime())
    shutil.copytree(tmp_path / "ours", tmp_path / "published")
    theirs = load_pipeline(lay_out_as_published(tmp_path / "published"), Runtime())
    for name in ("vae", "unet", "text_encoder"):
        wanted, found = (model.family.modules[name].state_dict() for model in (ours, theirs))
        assert wanted.keys() == found.keys() and all(torch.equal(wanted[key], found[key]) for key in wanted)
    ids, others = (
        tokenize(model.words.encoders[0].tokenizer, ["a photo of my Cat, 3 dogs"])[0]
        for model in (ours, theirs)
    )
    assert torch.equal(ids, others) and ids.shape == (1, 77)


# As in Stable Diffusion 2.x.
SD2 = {"attention_head_dim": (2, 4, 8, 8), "use_linear_projection": True, "upcast_attention": True}


def test_stable_diffusion_2_draws_as_diffusers_does(tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    scheduler = PNDMScheduler(**SCHEDULER, prediction_type="v_prediction")
    directory = write_narrow_pipeline(tmp_path / "sd2", unet_changes=SD2, scheduler=scheduler)
    model = load_pipeline(directory, Runtime())
    assert model.noising.prediction == "v_prediction" and model.denoiser.config.use_linear_projection
    settings = resolve({}, environment={})[0].draw
    settings = settings.model_copy(update={"scheduler": "pndm", "steps": 2, "guidance": 3.0})
    ours = sample_latents(model, prompt_conditions(model, ["a photo of a cat"]), [7], settings)
    theirs = DiffusionPipeline.from_pretrained(directory, safety_checker=None)
    expected = theirs(
        "a photo of a cat",
        num_inference_steps=2,
        guidance_scale=3.0,
        latents=noise(model.latent_shape, 7, "draw")[None],
        output_type="latent",
    ).images
    assert torch.allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "flow", "words"),
    [
        ({"in_channels": 9}, False, "inpainting model: its UNet takes 9 channels"),
        ({"cross_attention_dim": 40}, False, "states 40 wide, its text encoder gives 48"),
        (
            {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 96,
            },
            False,
            "more than a text's states: text_time",
        ),
        ({}, True, "FlowMatch"),
    ],
)
def test_models_of_other_kinds_are_refused(
    tmp_path: Path, changes: dict[str, Any], flow: bool, words: str
) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler() if flow else None
    write_narrow_pipeline(tmp_path / "other", unet_changes=changes, scheduler=scheduler)
    with pytest.raises(ModelError, match=words) as caught:
        load_pipeline(tmp_path / "other", Runtime())
    assert "supported are" in caught.value.hint


def test_a_missing_text_encoder_key_is_an_error(copy: Path) -> None:
    _drop_a_key(copy / "text_encoder/model.safetensors")
    with pytest.raises(ModelError, match="text_encoder"):
        load_pipeline(copy, Runtime())


@pytest.mark.parametrize("index", ["{", "[]", '{"vae": ["diffusers", "AutoencoderKL"]}', "null"])
def test_an_index_that_is_none_is_an_error(copy: Path, index: str) -> None:
    (copy / "model_index.json").write_text(index)
    with pytest.raises(ModelError, match="model_index"):
        load_pipeline(copy, Runtime())


@pytest.mark.fault(18, "a model's .bin is never opened")
def test_pickles_are_never_loaded(copy: Path) -> None:
    (copy / UNET).rename(copy / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match="unet"):
        load_pipeline(copy, Runtime())


def test_the_hash_changes_with_one_bit_and_not_with_other_files(copy: Path) -> None:
    before = hash_pipeline(copy)
    (copy / "README.md").write_text("a note")
    assert hash_pipeline(copy) == before
    data = bytearray((copy / UNET).read_bytes())
    data[-1] ^= 1
    (copy / UNET).write_bytes(data)
    assert hash_pipeline(copy) != before


@pytest.mark.parametrize("kind", ["bert", "clip"])
def test_text_states_are_those_of_diffusers(request: pytest.FixtureRequest, kind: str) -> None:
    from diffusers import DiffusionPipeline

    directory = request.getfixturevalue(f"tiny_{kind}_pipeline_dir")
    model = load_pipeline(directory, Runtime())
    theirs = DiffusionPipeline.from_pretrained(directory, safety_checker=None)
    expected, _ = theirs.encode_prompt("a photo of a cat", "cpu", 1, False)
    states = prompt_conditions(model, ["a photo of a cat"]).parts["states"]
    assert torch.allclose(states, expected, atol=1e-6)


@pytest.mark.fault(28, "exit 2; no prompt is cut in silence")
def test_a_prompt_that_is_too_long_is_refused(tiny_bert_pipeline_dir: Path) -> None:
    model = load_pipeline(tiny_bert_pipeline_dir, Runtime())
    with pytest.raises(UsageError, match="longer than the text encoder"):
        prompt_conditions(model, ["cat " * 30])


@pytest.mark.parametrize("kind", ["bert", "clip"])
def test_learned_vectors_stand_in_for_tokens_and_get_gradients(
    request: pytest.FixtureRequest, kind: str
) -> None:
    model = load_pipeline(request.getfixturevalue(f"tiny_{kind}_pipeline_dir"), Runtime())
    encoder, before = model.words.encoders[0], model.words.encoders[0].table.clone()
    plain = model.family.condition(["a photo of cat dog"]).parts["states"]
    words = (encoder.tokenizer(word, add_special_tokens=False)["input_ids"][-1] for word in ("cat", "dog"))
    own = encoder.table[list(words)].clone()
    prompt = f"a photo of {' '.join(model.words.names(5, 2))}"
    with model.words.holding({kind: own}, [5, 6]):
        assert torch.allclose(model.family.condition([prompt]).parts["states"], plain, atol=1e-6)
    vectors = torch.randn(2, 16, requires_grad=True)
    with model.words.holding({kind: vectors}, [6, 5]):
        model.family.condition([prompt]).parts["states"].square().sum().backward()
    assert vectors.grad is not None and (vectors.grad.abs().sum(1) > 0).all()
    assert torch.equal(encoder.table, before)
    assert torch.equal(model.family.condition(["a photo of cat dog"]).parts["states"], plain)


def test_a_saved_pipeline_does_not_tell_where_it_came_from(
    tiny_bert_pipeline_dir: Path, tmp_path: Path
) -> None:
    model = load_pipeline(tiny_bert_pipeline_dir, Runtime())
    parts = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
    for name in ("one", "two"):
        save_pipeline(tmp_path / name, **{part: model.family.parts[part] for part in parts})
    assert hash_pipeline(tmp_path / "one") == hash_pipeline(tmp_path / "two")
    texts = [path.read_text() for path in (tmp_path / "one").rglob("*.json")]
    assert not any(str(tiny_bert_pipeline_dir) in text for text in texts)
