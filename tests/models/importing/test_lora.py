"""LoRAs: merged as diffusers merges them, all of them or none."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from origcli.errors import ModelError, UsageError
from origcli.models.importing.lora import parse
from tests.models.importing.conftest import Import
from tests.single_files import stored, write_diffusers_lora, write_kohya_lora

EVERYWHERE = r"attn|ff\.net|proj_in|conv1|_proj|fc|conv_in|conv_out|sampl|time_emb|add_emb|shortcut"
ATTENTION = r"attn2\.to_[qkv]|attn1\.to_out|self_attn\.[qv]_proj"


def fused(directory: Path, out: Path, *loras: tuple[Path, float]) -> dict[str, torch.Tensor]:
    """What diffusers and PEFT make of a model and LoRAs."""
    pipeline = DiffusionPipeline.from_pretrained(directory)
    for number, (file, _) in enumerate(loras):
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=f"n{number}")
    pipeline.set_adapters([f"n{number}" for number in range(len(loras))], [scale for _, scale in loras])
    parts = [part for part in ("unet", "text_encoder", "text_encoder_2") if hasattr(pipeline, part)]
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
