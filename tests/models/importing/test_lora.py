"""LoRAs: merged as diffusers merges them, all of them or none."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from origcli.errors import ModelError, UsageError
from origcli.models.importing.lora import parse
from tests.models.importing.conftest import Import
from tests.single_files import (
    low_rank,
    original_encoder,
    original_transformer,
    stored,
    write_diffusers_lora,
    write_kohya_lora,
)
from tests.tiny_families import write_tiny_family

EVERYWHERE = r"attn|ff\.net|proj_in|conv1|_proj|fc|conv_in|conv_out|sampl|time_emb|add_emb|shortcut"
ATTENTION = r"attn2\.to_[qkv]|attn1\.to_out|self_attn\.[qv]_proj"


def fused(directory: Path, out: Path, *loras: tuple[Path, float]) -> dict[str, torch.Tensor]:
    """What diffusers and PEFT make of a model and LoRAs."""
    pipeline = DiffusionPipeline.from_pretrained(directory)
    for number, (file, _) in enumerate(loras):
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=f"n{number}")
    pipeline.set_adapters([f"n{number}" for number in range(len(loras))], [scale for _, scale in loras])
    changed = ("unet", "transformer", "text_encoder", "text_encoder_2")
    parts = [
        part for part in changed if part in pipeline.components and part in pipeline._lora_loadable_modules
    ]
    pipeline.fuse_lora(components=parts, adapter_names=[f"n{number}" for number in range(len(loras))])
    pipeline.unload_lora_weights()
    pipeline.save_pretrained(out)
    return stored(out)


@pytest.mark.parametrize("naming", ["kohya", "diffusers"])
@pytest.mark.parametrize("family", ["sd", "xl"])
def test_as_diffusers_merges_it(
    family: str, naming: str, bring: Import, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    directory, parts = (request.getfixturevalue(f"{family}_{kind}") for kind in ("dir", "parts"))
    write = write_kohya_lora if naming == "kohya" else write_diffusers_lora
    file = write(tmp_path / "style.safetensors", parts, EVERYWHERE)
    source = bring(directory, loras=(f"{file}@0.5",))
    wanted, ours = fused(directory, tmp_path / "wanted", (file, 0.5)), stored(tmp_path / "out")
    assert ours.keys() == wanted.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], wanted[name], rtol=0, atol=1e-5)
    before = stored(directory)
    changed = sum(not torch.equal(before[name], ours[name]) for name in ours)
    pairs = sum(name.endswith((".lora_A.weight", ".lora_down.weight")) for name in load_file(file))
    assert source["loras"][0]["tensors_changed"] == changed == pairs
    assert source["loras"][0]["scale"] == 0.5


def test_two_at_once_in_any_order(
    bring: Import, sd_dir: Path, sd_parts: dict[str, Any], tmp_path: Path
) -> None:
    one = write_kohya_lora(tmp_path / "one.safetensors", sd_parts, r"attn2\.to_[qkv]", alpha=2.0)
    two = write_diffusers_lora(tmp_path / "two.safetensors", sd_parts, EVERYWHERE, rank=3, seed=1)
    words = (f"{one}@-0.25", str(two))
    bring(sd_dir, "a", loras=words, dtype="fp16")
    bring(sd_dir, "b", loras=words[::-1], dtype="fp16")
    wanted = fused(sd_dir, tmp_path / "wanted", (one, -0.25), (two, 1.0))
    a, b = stored(tmp_path / "a"), stored(tmp_path / "b")
    for name in a:
        assert torch.equal(a[name], b[name])
        torch.testing.assert_close(a[name].float(), wanted[name], rtol=2e-3, atol=2e-3)


def test_older_names(bring: Import, sd_dir: Path, sd_parts: dict[str, Any], tmp_path: Path) -> None:
    file = write_diffusers_lora(tmp_path / "new.safetensors", sd_parts, r"attn[12]\.to_|self_attn")
    renamed = {}
    for name, tensor in load_file(file).items():
        name = (
            name.replace(".lora_A.", "_lora.down.")
            .replace(".lora_B.", "_lora.up.")
            .replace(".to_out.0_", ".to_out_")
        )
        name = name.replace(".attn1.", ".attn1.processor.").replace(".attn2.", ".attn2.processor.")
        for new, old in (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out")):
            name = name.replace(f"{new}_lora", f"{old}_lora")
        renamed[name] = tensor
    save_file(renamed, tmp_path / "old.safetensors")
    bring(sd_dir, "a", loras=(str(file),))
    bring(sd_dir, "b", loras=(str(tmp_path / "old.safetensors"),))
    a, b = stored(tmp_path / "a"), stored(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_alpha_of_pefts_metadata(
    bring: Import, sd_dir: Path, sd_parts: dict[str, Any], tmp_path: Path
) -> None:
    file = write_diffusers_lora(tmp_path / "plain.safetensors", sd_parts, r"attn2\.to_q")
    facts = {"unet.r": 2, "unet.lora_alpha": 1, "unet.use_rslora": False}
    save_file(load_file(file), tmp_path / "half.safetensors", {"lora_adapter_metadata": json.dumps(facts)})
    bring(sd_dir, "a", loras=(f"{file}@0.5",))
    bring(sd_dir, "b", loras=(str(tmp_path / "half.safetensors"),))
    a, b = stored(tmp_path / "a"), stored(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("family", "encoders"), [("sd3", ("te1", "te2", "te3")), ("flux", ("te1", "te3"))])
def test_kohyas_names_of_transformers(
    family: str, encoders: tuple[str, ...], bring: Import, tmp_path: Path
) -> None:
    """By hand, in the original code's own layout: each weight is W + scale * alpha / r * B A."""
    directory = write_tiny_family(tmp_path / "model", family)
    before = original_parts(directory, encoders)
    file: dict[str, torch.Tensor] = {}
    deltas: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for stem, weight in before.items():
        if weight.ndim < 2 or not re.search(
            r"lora_unet|self_attn|SelfAttention_[qkvo]|mlp|DenseReluDense", stem
        ):
            continue
        down, up = low_rank(weight, 2, generator)
        file |= {
            f"{stem}.lora_down.weight": down,
            f"{stem}.lora_up.weight": up,
            f"{stem}.alpha": torch.tensor(1.0),
        }
        deltas[stem] = -0.5 * 1.0 / 2 * (up.flatten(1) @ down.flatten(1)).view(weight.shape)
    save_file(file, tmp_path / "l.safetensors")
    source = bring(directory, loras=(f"{tmp_path / 'l.safetensors'}@-0.5",))
    after = original_parts(tmp_path / "out", encoders)
    for stem, weight in before.items():
        torch.testing.assert_close(after[stem], weight + deltas.get(stem, 0.0), rtol=1e-5, atol=1e-6)
    stacked = sum(stem.endswith("qkv") for stem in deltas), sum(stem.endswith("linear1") for stem in deltas)
    assert source["loras"][0]["tensors_changed"] == len(deltas) + 2 * stacked[0] + 3 * stacked[1]
    assert stacked[0] and (family == "sd3" or stacked[1])


def original_parts(directory: Path, encoders: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """A pipeline's weights by kohya's names, in the layout of the original code."""
    pipeline = DiffusionPipeline.from_pretrained(directory)
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    found = original_transformer(pipeline.transformer, "lora_unet_")
    for name, key in zip(names, encoders, strict=False):
        found |= original_encoder(getattr(pipeline, name), f"lora_{key}_")
    return {
        name.removesuffix(".weight").replace(".", "_"): tensor
        for name, tensor in found.items()
        if name.endswith(".weight")
    }


def test_names_of_comfyui_and_kohya_mean_the_same(bring: Import, tmp_path: Path) -> None:
    directory = write_tiny_family(tmp_path / "model", "flux")
    one = {
        "lora_unet_double_blocks_0_txt_attn_qkv.lora_down.weight": torch.randn(2, 32),
        "lora_unet_double_blocks_0_txt_attn_qkv.lora_up.weight": torch.randn(96, 2),
    }
    other = {
        "diffusion_model.double_blocks.0.txt_attn.qkv.lora_A.weight": one[min(one)],
        "diffusion_model.double_blocks.0.txt_attn.qkv.lora_B.weight": one[max(one)],
    }
    for out, tensors in (("a", one), ("b", other)):
        save_file(tensors, tmp_path / f"{out}.safetensors")
        bring(directory, out, loras=(str(tmp_path / f"{out}.safetensors"),))
    a, b = stored(tmp_path / "a"), stored(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a)
    wanted = fused(directory, tmp_path / "wanted", (tmp_path / "a.safetensors", 1.0))
    assert a.keys() == wanted.keys()
    for name in a:
        torch.testing.assert_close(a[name], wanted[name], rtol=0, atol=1e-5)

    high = {**one, max(one): torch.randn(97, 2)}
    save_file(high, tmp_path / "c.safetensors")
    with pytest.raises(ModelError, match=r"\[97, 2\] × \[2, 32\], and the weight in .* is \[96, 32\]"):
        bring(directory, "c", loras=(str(tmp_path / "c.safetensors"),))
    nothing = {name: tensor * 0 for name, tensor in one.items()}
    save_file(nothing, tmp_path / "d.safetensors")
    with pytest.raises(ModelError, match="changes none of the 3 weights"):
        bring(directory, "d", loras=(str(tmp_path / "d.safetensors"),))


@pytest.mark.parametrize(
    "family",
    [
        "z_image",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("pixart_sigma", "sana", "qwen_image")),
    ],
)
def test_diffusers_names_in_each_family(family: str, bring: Import, tmp_path: Path) -> None:
    directory = write_tiny_family(tmp_path / "model", family)
    before = stored(directory)
    file: dict[str, torch.Tensor] = {}
    expected: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for name, weight in before.items():
        if match := re.fullmatch(r"(transformer\..*\.(to_q|to_out\.0))\.weight", name):
            down, up = low_rank(weight, 2, generator)
            file |= {f"{match[1]}.lora_A.weight": down, f"{match[1]}.lora_B.weight": up}
            expected[name] = weight + up @ down
    save_file(file, tmp_path / "l.safetensors")
    source = bring(directory, loras=(str(tmp_path / "l.safetensors"),))
    assert source["loras"][0]["tensors_changed"] == len(expected) > 1
    for name, weight in stored(tmp_path / "out").items():
        torch.testing.assert_close(weight, expected.get(name, before[name]), rtol=1e-5, atol=1e-6)


def flux_lora(path: Path) -> Path:
    stem = "transformer.single_transformer_blocks.0.attn.to_q"
    save_file({f"{stem}.lora_A.weight": torch.ones(2, 8), f"{stem}.lora_B.weight": torch.ones(8, 2)}, path)
    return path


@pytest.mark.fault(22, "a LoRA of another model is refused, and the error says of which model it seems to be")
def test_a_lora_of_another_model_says_of_which(
    bring: Import,
    sd_dir: Path,
    xl_dir: Path,
    sd_parts: dict[str, Any],
    xl_parts: dict[str, Any],
    tmp_path: Path,
) -> None:
    kohya = write_kohya_lora(tmp_path / "xl.safetensors", xl_parts, ATTENTION)
    plain = write_diffusers_lora(tmp_path / "xl-plain.safetensors", xl_parts, r"attn2\.to_q")
    for file, title in ((kohya, "Stable Diffusion XL"), (flux_lora(tmp_path / "f.safetensors"), "FLUX")):
        with pytest.raises(ModelError, match="have no place in") as refused:
            bring(sd_dir, loras=(str(file),))
        assert f"seems to be for {title}" in refused.value.hint
    with pytest.raises(ModelError, match=r"have no place|the weight in"):
        bring(sd_dir, loras=(str(plain),))
    assert not (tmp_path / "out").exists()


def test_widths_say_which_model(tmp_path: Path, bring: Import, sd_dir: Path) -> None:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    for width, title in (
        (768, "Stable Diffusion 1"),
        (1024, "Stable Diffusion 2"),
        (2048, "Stable Diffusion XL"),
    ):
        tensors = {
            f"{stem}.lora_down.weight": torch.ones(1, width),
            f"{stem}.lora_up.weight": torch.ones(320, 1),
        }
        save_file(tensors, tmp_path / "wide.safetensors")
        with pytest.raises(ModelError, match="the weight in") as refused:
            bring(sd_dir, loras=(str(tmp_path / "wide.safetensors"),))
        assert refused.value.hint.endswith(title)


def test_every_tensor_is_used_and_something_changes(
    bring: Import, sd_dir: Path, sd_parts: dict[str, Any], tmp_path: Path
) -> None:
    good = load_file(write_kohya_lora(tmp_path / "good.safetensors", sd_parts, ATTENTION))
    first = min(name for name in good if name.endswith("lora_down.weight"))
    stem = first.removesuffix(".lora_down.weight")
    cases = (
        ({name: tensor * 0 for name, tensor in good.items()}, "changes none of"),
        (
            {
                **good,
                "lora_unet_nowhere.lora_down.weight": torch.ones(2, 2),
                "lora_unet_nowhere.lora_up.weight": torch.ones(2, 2),
            },
            "1 of .* no place",
        ),
        ({**good, "notes": torch.ones(1)}, "no tensor of a LoRA"),
        ({name: tensor for name, tensor in good.items() if name != first}, "without its counterpart"),
        ({**good, first: torch.full_like(good[first], torch.inf)}, "not finite"),
        ({**good, f"{stem}.alpha": torch.tensor([1.0, 2.0])}, "one finite number"),
        ({**good, f"{stem}.dora_scale": torch.ones(1)}, "DoRA"),
        ({f"{stem}.hada_w1_a": torch.ones(1)}, "LoHa"),
        ({f"{stem}.lokr_w1": torch.ones(1)}, "LoKr"),
    )
    for tensors, message in cases:
        save_file(tensors, tmp_path / "odd.safetensors")
        with pytest.raises(ModelError, match=message):
            bring(sd_dir, loras=(str(tmp_path / "odd.safetensors"),))
        assert not (tmp_path / "out").exists()
    save_file(good, tmp_path / "lcm-lora.safetensors")
    with pytest.raises(ModelError, match="LCM"):
        bring(sd_dir, loras=(str(tmp_path / "lcm-lora.safetensors"),))


def test_scales(tmp_path: Path) -> None:
    (tmp_path / "odd@2.safetensors").touch()
    assert parse(str(tmp_path / "odd@2.safetensors")) == (tmp_path / "odd@2.safetensors", 1.0)
    assert parse("a@b.safetensors@-0.5") == (Path("a@b.safetensors"), -0.5)
    assert parse("a.safetensors") == (Path("a.safetensors"), 1.0)
    for word in ("a.safetensors@", "a.safetensors@nan", "a.safetensors@0", "a.safetensors@much"):
        with pytest.raises(UsageError, match="not a scale"):
            parse(word)
