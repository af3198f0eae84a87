"""Single files of Stable Diffusion 3 and FLUX: a transformer and more, and the rest from another model."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, FluxTransformer2DModel, SD3Transformer2DModel
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_sd3_transformer_checkpoint_to_diffusers,
)
from safetensors.torch import save_file
from torch import Tensor

from origcli.errors import ModelError, UsageError
from origcli.models.importing.mmdit import from_original, original_places
from origcli.models.opening import open_model
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_file
from tests.models.importing.conftest import Import, Listener
from tests.single_files import original_encoder, original_transformer, original_vae, stored
from tests.tiny_families import write_tiny_family

PREFIX = "model.diffusion_model."
FAMILIES = ("sd3", "flux")
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A tiny model by family and seed, written once. Do not write into it."""
    root = tmp_path_factory.mktemp("models")

    def get(family: str, seed: int = 0) -> Path:
        path = root / f"{family}-{seed}"
        return path if path.is_dir() else write_tiny_family(path, family, seed)

    return get


def parts_of(directory: Path) -> dict[str, Any]:
    pipeline = DiffusionPipeline.from_pretrained(directory)
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def write(path: Path, *parts: Tensors) -> Path:
    tensors = {name: tensor.contiguous().clone() for part in parts for name, tensor in part.items()}
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(("family", "prefix"), [("sd3", PREFIX), ("flux", "")])
def test_a_transformer_alone_takes_the_place_of_another(
    family: str, prefix: str, bring: Import, model_of: Callable[..., Path], tmp_path: Path
) -> None:
    tuned, base = model_of(family, 1), model_of(family)
    file = write(tmp_path / "t.safetensors", original_transformer(parts_of(tuned)["transformer"], prefix))
    source = bring(file, config=base)
    ours, theirs, rest = stored(tmp_path / "out"), stored(tuned), stored(base)
    assert ours.keys() == rest.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, (theirs if name.startswith("transformer.") else rest)[name]), name

    facts = source["base"]
    assert (facts["sha256"], facts["parts"], facts["left_out"]) == (hash_file(file), ["transformer"], 0)
    weights = "diffusion_pytorch_model.safetensors"
    assert facts["rest"]["files"][f"vae/{weights}"] == hash_file(base / "vae" / weights)
    assert f"transformer/{weights}" not in facts["rest"]["files"]
    _, model = open_model(str(tmp_path / "out"), Runtime())
    assert model.weights_hash == source["weights_hash"] is not None


def test_what_a_file_has_goes_before_the_other_model(
    bring: Import, listener: Listener, model_of: Callable[..., Path], tmp_path: Path
) -> None:
    """Encoders, autoencoder and what lies beside them, as in the files that people share."""
    for family, keys in (("sd3", ("clip_l", "clip_g", "t5xxl")), ("flux", ("clip_l", "t5xxl"))):
        tuned = model_of(family, 1)
        parts = parts_of(tuned)
        encoders = [name for name in sorted(parts) if name.startswith("text_encoder")]
        held = [
            original_encoder(parts[name], f"text_encoders.{key}.transformer.")
            for name, key in zip(encoders, keys, strict=True)
        ]
        beside = {
            "text_encoders.clip_l.logit_scale": torch.ones(1),
            "text_encoders.clip_l.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        }
        if family == "flux":  # its CLIP has no projection
            beside["text_encoders.clip_l.transformer.text_projection.weight"] = torch.eye(16)
        vae = original_vae(parts["vae"], "vae." if family == "flux" else "first_stage_model.")
        file = write(
            tmp_path / "w.safetensors", original_transformer(parts["transformer"]), vae, *held, beside
        )
        source = bring(file, family, config=model_of(family), dtype="fp16")
        assert source["base"]["parts"] == sorted(parts)
        assert source["base"]["left_out"] == len(beside) and not listener.said
        ours, theirs = stored(tmp_path / family), stored(tuned)
        assert ours.keys() >= theirs.keys()
        assert all(torch.equal(ours[name], theirs[name].half()) for name in theirs)
        open_model(str(tmp_path / family), Runtime())


def test_a_clip_without_its_projection_has_one_that_changes_nothing(
    bring: Import, model_of: Callable[..., Path], tmp_path: Path
) -> None:
    parts = parts_of(model_of("sd3", 1))
    clip = original_encoder(parts["text_encoder"], "text_encoders.clip_l.transformer.")
    del clip["text_encoders.clip_l.transformer.text_projection.weight"]
    file = write(tmp_path / "w.safetensors", original_transformer(parts["transformer"]), clip)
    bring(file, config=model_of("sd3"))
    assert torch.equal(stored(tmp_path / "out")["text_encoder.text_projection.weight"], torch.eye(16))


def test_another_vae_and_loras_beside(bring: Import, model_of: Callable[..., Path], tmp_path: Path) -> None:
    parts, other = parts_of(model_of("flux", 1)), parts_of(model_of("flux", 2))
    file = write(tmp_path / "t.safetensors", original_transformer(parts["transformer"]))
    vae = write(tmp_path / "vae.safetensors", original_vae(other["vae"], ""))
    stem = "lora_unet_img_in"
    down, up = torch.randn(2, 16), torch.randn(32, 2)
    lora = write(tmp_path / "l.safetensors", {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})
    source = bring(file, config=model_of("flux"), vae=str(vae), loras=(str(lora),))
    assert source["vae"]["sha256"] == hash_file(vae)
    ours, tuned = stored(tmp_path / "out"), stored(model_of("flux", 1))
    assert all(torch.equal(ours[f"vae.{name}"], tensor) for name, tensor in other["vae"].state_dict().items())
    torch.testing.assert_close(
        ours["transformer.x_embedder.weight"], tuned["transformer.x_embedder.weight"] + up @ down
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_what_does_not_fit_is_refused(
    family: str, bring: Import, model_of: Callable[..., Path], tmp_path: Path
) -> None:
    whole = original_transformer(parts_of(model_of(family))["transformer"], "")
    attention = next(name for name in whole if name.endswith("qkv.weight"))
    clip = {"text_encoders.clip_l.transformer.text_model.final_layer_norm.weight": torch.ones(16)}
    cases: list[tuple[dict[str, Tensor | None], str]] = [
        ({attention: None}, r"3 tensors missing"),
        ({attention: torch.ones(97, 32)}, r"is \[97, 32\], expected \[32, 32\]"),
        ({attention: whole[attention][:, :-1]}, r"is \[32, 31\], expected \[32, 32\]"),
        ({"extra.weight": torch.ones(2)}, "1 tensors have no place in the model, e.g. extra.weight"),
        ({attention: torch.full_like(whole[attention], torch.nan)}, "not finite"),
        (dict(clip), "text_encoder: .* tensors missing"),
    ]
    for change, message in cases:
        tensors = {name: tensor for name, tensor in {**whole, **change}.items() if tensor is not None}
        with pytest.raises(ModelError, match=message):
            bring(write(tmp_path / "odd.safetensors", tensors), config=model_of(family))
        assert not (tmp_path / "out").exists()


def test_the_rest_comes_from_a_model_of_the_same_kind(
    bring: Import, model_of: Callable[..., Path], tmp_path: Path
) -> None:
    file = write(tmp_path / "t.safetensors", original_transformer(parts_of(model_of("flux"))["transformer"]))
    for config, message in (
        (None, "lacks its configuration"),
        ("sdxl", "sdxl is none of its kind"),
        (model_of("sd3"), "a StableDiffusion3Pipeline, and t.safetensors is FLUX.1"),
    ):
        with pytest.raises(UsageError, match=message) as refused:
            bring(file, config=config)
        assert "--config flux-dev" in refused.value.hint
    with pytest.raises(ModelError, match="flux-dev") as missing:
        bring(file, config="flux-dev")
    assert "origcli fetch flux-dev" in f"{missing.value} {missing.value.hint}"
    bare = shutil.copytree(model_of("flux"), tmp_path / "bare")
    for weights in bare.glob("text_encoder*/*.safetensors"):
        weights.unlink()
    with pytest.raises(ModelError, match=r"bare/text_encoder.*has no safetensors weights"):
        bring(file, config=bare)


def test_weights_in_eight_bits_are_refused(
    bring: Import, model_of: Callable[..., Path], tmp_path: Path
) -> None:
    whole = original_transformer(parts_of(model_of("flux"))["transformer"], "")
    small = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in whole.items()}
    with pytest.raises(ModelError, match=r"quantized to fp8 \(.* is F8_E4M3\)"):
        bring(write(tmp_path / "f8.safetensors", small), config=model_of("flux"))


def narrow(rows: Tensors) -> Tensors:
    """Random tensors of the same heights, and one column wide."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(len(tensor), 1, generator=generator) for name, tensor in rows.items()}


@pytest.mark.parametrize("family", ["sd3", "sd35", "flux"])
def test_names_are_those_of_diffusers(family: str) -> None:
    """Its own conversion, at the widths of FLUX that are written into it."""
    with torch.device("meta"):
        if family == "flux":
            network: Any = FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True)
            convert = convert_flux_transformer_checkpoint_to_diffusers
        else:
            own = {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1)} if family == "sd35" else {}
            network = SD3Transformer2DModel(num_layers=3, **own)
            convert = convert_sd3_transformer_checkpoint_to_diffusers
    file = narrow(original_transformer(network))
    ours, theirs = from_original(network, PREFIX, file), convert(dict(file))
    assert ours.keys() == theirs.keys() == network.state_dict().keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_row_has_one_place(model_of: Callable[..., Path]) -> None:
    for family in FAMILIES:
        network = parts_of(model_of(family))["transformer"]
        rows: dict[str, list[int]] = {}
        for module, place in original_places(network).items():
            heights = place.rows or ((0, place.height),)
            assert sum(end - first for first, end in heights) == len(network.get_submodule(module).weight)
            rows.setdefault(place.module, []).extend(i for first, end in heights for i in range(first, end))
        assert all(sorted(found) == list(range(len(found))) for found in rows.values())
        assert not original_places(parts_of(model_of(family))["vae"])
        named = {re.sub(r"\.(weight|bias|scale)$", "", name) for name in original_transformer(network, "")}
        assert rows.keys() == named - {"pos_embed"}
