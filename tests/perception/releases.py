"""DreamSim's release files with random weights, laid out as its archives lay them out.

The true architecture has 86 million weights a tower. Here they are windows on one pool of random numbers,
which torch stores once: files of 12 MB that load as quickly as that.
"""

import json
import math
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from origcli.perception.dreamsim_towers import KINDS, WIDTH, Kind
from origcli.weights.dreamsim_release import RELEASES

RANK, ALPHA = 16, 0.5
_LARGEST = 4 * WIDTH * WIDTH


def transformer_state(kind: Kind, positions: int, generator: torch.Generator) -> dict[str, Tensor]:
    """A ViT-B under the names of DINO's architecture."""

    pool = torch.empty(_LARGEST + 500_000).normal_(0, 0.02, generator=generator)

    def weights(*shape: int) -> Tensor:
        start = int(torch.randint(500_000, (), generator=generator))
        return pool[start : start + math.prod(shape)].view(shape)

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + weights(WIDTH), f"{name}.bias": weights(WIDTH)}

    state = {
        "cls_token": weights(1, 1, WIDTH),
        "pos_embed": weights(1, positions, WIDTH),
        "patch_embed.proj.weight": weights(WIDTH, 3, kind.patch, kind.patch),
        "patch_embed.proj.bias": weights(WIDTH),
        **norm("norm"),
    }
    for index in range(12):
        block = f"blocks.{index}"
        state |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        for name, rows, columns in (
            ("attn.qkv", 3 * WIDTH, WIDTH),
            ("attn.proj", WIDTH, WIDTH),
            ("mlp.fc1", 4 * WIDTH, WIDTH),
            ("mlp.fc2", WIDTH, 4 * WIDTH),
        ):
            state |= {f"{block}.{name}.weight": weights(rows, columns), f"{block}.{name}.bias": weights(rows)}
    if kind.clip:
        state |= norm("pos_drop") | {"proj": weights(WIDTH, 512)}
    return state


def write_release(directory: Path, variant: str, seed: int = 0) -> Path:
    """Writes what the release's archive holds, and the backbone beside it, into a directory."""
    generator = torch.Generator().manual_seed(seed)
    release = RELEASES[variant]
    (directory / release.adapter).mkdir(parents=True)
    for name in release.backbones:
        kind = KINDS[name]
        dinov2 = "dinov2" in name
        positions = 1 + 37**2 if dinov2 else 1 + (224 // kind.patch) ** 2
        state = transformer_state(kind, positions, generator)
        if dinov2:
            state["mask_token"] = torch.zeros(1, WIDTH)
            for index in range(12):
                for scale in ("ls1", "ls2"):
                    state[f"blocks.{index}.{scale}.gamma"] = torch.rand(WIDTH, generator=generator)
        table = {kind.prefix + key: value for key, value in state.items()}
        torch.save({kind.container: table} if kind.container else table, directory / name)
    updates = {}
    for tower in range(len(release.backbones)):
        for block in range(12):
            module = f"base_model.model.extractor_list.{tower}.model.blocks.{block}.attn.qkv"
            for side, shape in (("A", (RANK, WIDTH)), ("B", (3 * WIDTH, RANK))):
                values = torch.empty(shape).normal_(0, 0.3, generator=generator)
                updates[f"{module}.lora_{side}.weight"] = values
    save_file(updates, directory / release.adapter / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.3,
        "bias": "none",
        "target_modules": ["qkv"],
        "fan_in_fan_out": False,
        "inference_mode": True,
        "modules_to_save": None,
        "base_model_name_or_path": None,
        "task_type": None,
    }
    (directory / release.adapter / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    return directory


def archive(directory: Path, path: Path, without: str = "") -> Path:
    """The files of a directory as a zip, uncompressed as weights are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for member in sorted(directory.rglob("*")):
            if member.is_file() and member.name != without:
                file.write(member, member.relative_to(directory))
    return path
