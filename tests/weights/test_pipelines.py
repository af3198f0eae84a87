"""What is refused by name, which files every part must hold, and how large a configuration's numbers are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from origcli.errors import ExitCode, ModelError
from origcli.weights.hashing import check_pipeline, hash_pipeline
from origcli.weights.kinds import KINDS
from origcli.weights.pipelines import INDEX, read_index


@pytest.fixture
def model(tiny_clip_pipeline_dir: Path, tmp_path: Path) -> Path:
    """A pipeline directory to change."""
    return Path(shutil.copytree(tiny_clip_pipeline_dir, tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    """Changes keys of a JSON file; `None` takes one out."""
    whole = {**json.loads(path.read_bytes()), **values}
    path.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))


def refused(model: Path, words: str) -> ModelError:
    """The error that the door gives, and that it gives before a weight is read."""
    for weights in model.rglob("*.safetensors"):
        weights.write_bytes(b"")  # whoever reads them fails otherwise
    with pytest.raises(ModelError, match=words) as caught:
        check_pipeline(model)
    assert caught.value.exit_code is ExitCode.MODEL
    return caught.value


OTHER_CLASSES = [
    ("StableDiffusionInpaintPipeline", "an inpainting model"),
    ("StableDiffusionXLInpaintPipeline", "an inpainting model"),
    ("StableDiffusionUpscalePipeline", "an upscaling model"),
    ("StableDiffusionLatentUpscalePipeline", "an upscaling model"),
    ("StableDiffusionControlNetPipeline", "a ControlNet"),
    ("LatentConsistencyModelPipeline", r"step-distilled model \(LCM\)"),
    ("KandinskyV22Pipeline", "Kandinsky"),
    ("StableCascadeCombinedPipeline", "Stable Cascade"),
    ("TextToVideoSDPipeline", "a video model"),
    ("SomethingNewPipeline", "not a kind that is measured here"),
    (None, "names no class"),
    (["StableDiffusionPipeline"], "names no class"),
]


@pytest.mark.fault(40, "refused by its class, before anything else is read")
@pytest.mark.parametrize(("name", "words"), OTHER_CLASSES)
def test_other_classes_are_refused_by_name(model: Path, name: Any, words: str) -> None:
    change(model / INDEX, _class_name=name)
    for part in model.iterdir():
        if part.is_dir():
            shutil.rmtree(part)
    error = refused(model, words)
    assert "Stable Diffusion 1.x" in error.hint or name is None or isinstance(name, list)


@pytest.mark.fault(40, "a model that is distilled to few steps is refused by what its files say")
@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("unet/config.json", {"time_cond_proj_dim": 256}, r"\(LCM\).*time_cond_proj_dim"),
        ("model_index.json", {"scheduler": ["diffusers", "LCMScheduler"]}, r"\(LCM\): LCMScheduler"),
        ("model_index.json", {"scheduler": ["diffusers", "TCDScheduler"]}, r"\(TCD\)"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"},
            "Turbo",
        ),
        ("model_index.json", {"_name_or_path": "stabilityai/sd-turbo"}, r"\(Turbo\)"),
        ("unet/config.json", {"_name_or_path": "/models/SDXL-Lightning_4step"}, r"\(Lightning\)"),
        ("unet/config.json", {"in_channels": 9}, "inpainting model"),
        ("unet/config.json", {"in_channels": 7}, "4 channels of 7"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "more than a text's states"),
        ("unet/config.json", {"num_class_embeds": 1000}, "more than a text's states: 1000"),
        ("unet/config.json", {"cross_attention_dim": 32}, "32 wide, its text encoder gives 16"),
        ("model_index.json", {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, "FlowMatch"),
        ("model_index.json", {"text_encoder": ["transformers", "T5EncoderModel"]}, "a T5EncoderModel"),
        ("model_index.json", {"unet": ["diffusers", "DiffusionPipeline"]}, "its unet is a DiffusionPipeline"),
        ("model_index.json", {"vae": [None, None]}, "names no vae"),
    ],
)
def test_other_kinds_of_the_same_class(model: Path, file: str, values: dict[str, Any], words: str) -> None:
    change(model / file, **values)
    assert "supported are" in refused(model, words).hint or "names no" in words


@pytest.mark.parametrize("name", ["sd-turbo", "LCM_Dreamshaper_v7", "some.schnell"])
def test_a_name_that_says_distilled(model: Path, name: str) -> None:
    error = refused(model.rename(model.with_name(name)), "step-distilled model")
    assert "another name" in error.hint


def test_a_name_that_only_contains_such_letters(model: Path) -> None:
    check_pipeline(model.rename(model.with_name("turbocharged-cats")))


REQUIRED = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
]


@pytest.mark.fault(42, "every file of every part is required by name")
@pytest.mark.parametrize("name", REQUIRED)
def test_every_file_is_required(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(ModelError, match=Path(name).name):
        check_pipeline(model)


def test_these_files_are_all_that_there_is(model: Path) -> None:
    assert sorted(str(path.relative_to(model)) for path in model.rglob("*.*")) == sorted(REQUIRED)


@pytest.mark.fault(42, "a part that is missing as a whole is named")
@pytest.mark.parametrize("part", ["scheduler", "text_encoder", "tokenizer", "unet", "vae"])
def test_every_part_is_required(model: Path, part: str) -> None:
    shutil.rmtree(model / part)
    with pytest.raises(ModelError, match=f"{part}/.*: missing"):
        check_pipeline(model)


def test_an_older_vocabulary_must_be_whole(model: Path) -> None:
    (model / "tokenizer/tokenizer.json").unlink()
    (model / "tokenizer/vocab.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json: missing"):
        check_pipeline(model)
    (model / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    check_pipeline(model)


def shard(model: Path, name: str = "model-{:05d}-of-00002.safetensors") -> Path:
    """Makes two shards of the text encoder; its list."""
    folder = model / "text_encoder"
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
        save_file({key: tensors[key] for key in names}, folder / name.format(number), {"format": "pt"})
        weight_map.update(dict.fromkeys(names, name.format(number)))
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path


def test_shards_are_read(model: Path) -> None:
    from origcli.models.pipeline import load_pipeline
    from origcli.runtime.context import Runtime

    shard(model)
    assert load_pipeline(model, Runtime()).weights_hash == hash_pipeline(model)


def _outside(path: Path) -> None:
    names = dict.fromkeys(json.loads(path.read_bytes())["weight_map"], "../../outside.safetensors")
    change(path, weight_map=names)
    (path.parent / "model-00002-of-00002.safetensors").rename(path.parents[2] / "outside.safetensors")
    (path.parent / "model-00002-of-00002.safetensors").write_bytes(b"")


def _hidden(path: Path) -> None:
    save_file({}, path.parent / ".hidden.safetensors")
    change(path, weight_map=dict.fromkeys(json.loads(path.read_bytes())["weight_map"], ".hidden.safetensors"))


@pytest.mark.fault(22, "a list of shards names files of its own part alone, which the model's hash covers")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_outside, r"names '\.\./\.\./outside\.safetensors'"),
        (_hidden, r"names '\.hidden"),
        (lambda path: path.write_text('{"weight_map": {"a": 3}}'), "lists no weights"),
        (lambda path: path.write_text("[]"), "not a JSON object"),
        (lambda path: path.unlink(), "index.json: missing"),
        (
            lambda path: (path.parent / "model-00001-of-00002.safetensors").unlink(),
            "00001-of-00002.*: missing",
        ),
    ],
)
def test_a_list_of_shards_stays_in_its_part(model: Path, damage: Callable[[Path], Any], words: str) -> None:
    damage(shard(model))
    with pytest.raises(ModelError, match=words):
        check_pipeline(model)


@pytest.mark.fault(22, "an adapter, whose base may lie anywhere, is refused")
def test_an_adapter_is_refused(model: Path) -> None:
    (model / "text_encoder/adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    assert "merge" in refused(model, "adapter_config").hint


@pytest.mark.fault(44, "refused before anything is loaded, with the bound")
@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        (
            "scheduler/scheduler_config.json",
            {"num_train_timesteps": 10**12},
            r"num_train_timesteps is 1e\+12; at most",
        ),
        (
            "tokenizer/tokenizer_config.json",
            {"model_max_length": int(1e30)},
            r"model_max_length is 1e\+30; at most",
        ),
        ("tokenizer/tokenizer_config.json", {"model_max_length": None}, "says no model_max_length"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 25}, "25 tokens, its text encoder takes 24"),
        ("unet/config.json", {"layers_per_block": 10**9}, "layers_per_block"),
        ("unet/config.json", {"sample_size": [10**6, 8]}, "sample_size"),
        ("unet/config.json", {"block_out_channels": [8, 1e300]}, "block_out_channels"),
        ("vae/config.json", {"latent_channels": float("nan")}, "latent_channels"),
        ("vae/config.json", {"latent_channels": "4"}, "latent_channels is '4', which is no number"),
        ("unet/config.json", {"sample_size": {"height": 8}}, "sample_size is .* no number"),
        ("unet/config.json", {"transformer_layers_per_block": [[1, 10**9], 1]}, "transformer_layers"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ("text_encoder/config.json", {"max_position_embeddings": -(10**9)}, "max_position_embeddings"),
    ],
)
def test_numbers_are_bounded(model: Path, file: str, values: dict[str, Any], words: str) -> None:
    change(model / file, **values)
    refused(model, words)


@pytest.mark.fault(22, "a weight file that is cut short is found by its header")
def test_a_weight_file_that_is_cut_short(model: Path) -> None:
    path = model / "vae/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"vae/diffusion.*: damaged"):
        check_pipeline(model)


@pytest.mark.fault(22, "a VAE or UNet alone is checked like a part of a pipeline")
@pytest.mark.parametrize("change_it", [_outside, _hidden])
def test_a_part_alone_is_checked_too(model: Path, change_it: Callable[[Path], None]) -> None:
    from origcli.models.vae import load_vae

    path = model / "vae/diffusion_pytorch_model.safetensors.index.json"
    names = ["diffusion_pytorch_model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (model / "vae/diffusion_pytorch_model.safetensors").rename(model / "vae" / names[0])
    for name in (names[1], names[1].replace("model", "diffusion_pytorch_model")):
        save_file({}, model / "vae" / name)
    path.write_text(json.dumps({"weight_map": dict.fromkeys(load_file(model / "vae" / names[0]), names[0])}))
    change_it(path)
    with pytest.raises(ModelError, match="which is not one of this part's files"):
        load_vae(model)


def test_a_configuration_of_any_size_is_not_read(model: Path) -> None:
    with (model / "unet/config.json").open("ab") as file:
        file.truncate(1 << 40)  # sparse
    refused(model, "too large to be a configuration")


def test_the_hash_covers_what_the_index_says(model: Path) -> None:
    before = hash_pipeline(model)
    change(model / INDEX, scheduler=["diffusers", "PNDMScheduler"])
    assert hash_pipeline(model) != before


def test_each_kind_says_what_it_is(model: Path) -> None:
    for name, kind in KINDS.items():
        assert name.endswith("Pipeline") and kind.title and kind.parts
    assert read_index("here", model / INDEX).class_name == "StableDiffusionPipeline"
