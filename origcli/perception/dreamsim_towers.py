"""DreamSim's vision transformers, built from plain weight files.

Each file is read as tensors alone. LoRA's updates are added into the matrices that they belong to, so that a
tower is an ordinary ViT-B without PEFT: W + α/r · B A, equal to the original up to rounding.
"""

import importlib.machinery
import importlib.util
import json
import math
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from origcli.errors import ModelError

SIDE = 224
WIDTH = 768

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_LORA = re.compile(
    r"(?:base_model\.model\.)*extractor_list\.(?P<tower>\d+)\.model\.(?P<module>.+)"
    r"\.lora_(?P<side>[AB])(?:\.default)?\.weight"
)
State = dict[str, Tensor]


@dataclass(frozen=True)
class Kind:
    """How a family of weights is stored and preprocessed.

    Attributes:
        patch: side of a patch in pixels.
        container: key of the state dict in the file, if it is not the file itself.
        prefix: what the keys start with.
        clip: a layer norm before the blocks, ε = 1e-5, the class token normed and projected.
        quick_gelu: x · σ(1.702 x), which OpenAI's CLIP was trained with.
    """

    patch: int
    container: str = ""
    prefix: str = ""
    clip: bool = False
    quick_gelu: bool = False
    mean_and_std: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET


KINDS = {
    "dino_vitbase16_pretrain.pth": Kind(16),
    "dinov2_vitb14_pretrain.pth": Kind(14),
    "synclr_vit_b_16.pth": Kind(16, "model", "module.visual."),
    "clip_vitb16_pretrain.pth.tar": Kind(16, "state_dict", "", True, True, _CLIP),
    "clip_vitb32_pretrain.pth.tar": Kind(32, "state_dict", "", True, True, _CLIP),
    "open_clip_vitb16_pretrain.pth.tar": Kind(16, "state_dict", "", True, False, _CLIP),
    "open_clip_vitb32_pretrain.pth.tar": Kind(32, "state_dict", "", True, False, _CLIP),
}


class QuickGELU(nn.Module):
    """x · σ(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Tower(nn.Module):
    """One ViT-B and what DreamSim takes from it."""

    mean: Tensor
    std: Tensor
    projection: Tensor | None

    def __init__(self, transformer: Any, projection: Tensor | None, kind: Kind) -> None:
        super().__init__()
        self.transformer = transformer
        mean, std = kind.mean_and_std
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.register_buffer("projection", projection)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 224, 224) in [0, 1] -> all tokens (n, t, 768), or the projected class token (n, 1, 512)."""
        x = self.transformer.prepare_tokens((pixels - self.mean) / self.std)  # (n, 1 + patches, 768)
        for block in self.transformer.blocks:
            x = block(x)
        if self.projection is None:
            return x  # not normed: DreamSim takes what the last block gives
        return self.transformer.norm(x)[:, :1] @ self.projection


def load_towers(backbones: Sequence[Path], adapter: Path, adapter_config: Path) -> nn.ModuleList:
    """Towers for weight files (named as in `KINDS`), with their LoRA updates added.

    Raises:
        ModelError: a file is damaged, or its weights do not fit the architecture exactly.
    """
    updates = _lora_updates(adapter, adapter_config, len(backbones))
    towers = []
    for path, update in zip(backbones, updates, strict=True):
        kind = KINDS[path.name]
        state = _state(path, kind)
        for module, change in update.items():
            if state.get(f"{module}.weight", torch.empty(0)).shape != change.shape:
                raise ModelError(f"{adapter}: has an update for {module}, which {path.name} does not fit")
            state[f"{module}.weight"] += change
        towers.append(_tower(path, kind, state))
    return nn.ModuleList(towers).eval().requires_grad_(False)


def _state(path: Path, kind: Kind) -> State:
    """fp32 copies of a file's weights under the architecture's names."""
    content = read_tensors(path)
    try:
        table = content[kind.container] if kind.container else content
        return {name.removeprefix(kind.prefix): value.float().clone() for name, value in table.items()}
    except (KeyError, AttributeError) as error:
        raise ModelError(f"{path}: not laid out as DreamSim's release is: {error}") from error


def read_tensors(path: Path) -> Any:
    """A weight file's content: safetensors, or torch's format with nothing in it but tensors.

    Raises:
        ModelError: unreadable, or it holds objects that only unpickling could make.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: cannot be read as plain weights: {str(error).splitlines()[0]}") from error


def _lora_updates(adapter: Path, config_path: Path, count: int) -> list[State]:
    """For each tower, module name -> α/r · B A."""
    try:
        config = json.loads(config_path.read_bytes())
        rank = int(config["r"])
        scale = float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)
        assert not config.get("fan_in_fan_out") and config.get("bias", "none") == "none"
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise ModelError(f"{config_path}: not a LoRA configuration that is known here: {error!r}") from error
    sides: dict[tuple[int, str], State] = {}
    for key, value in read_tensors(adapter).items():
        match = _LORA.fullmatch(key)
        if match is None or int(match["tower"]) >= count:
            raise ModelError(f"{adapter}: unexpected weight {key}")
        sides.setdefault((int(match["tower"]), match["module"]), {})[match["side"]] = value.float()
    updates: list[State] = [{} for _ in range(count)]
    for (tower, module), pair in sides.items():
        if pair.keys() != {"A", "B"} or pair["A"].shape[0] != rank or pair["B"].shape[1] != rank:
            raise ModelError(f"{adapter}: the update of {module} is incomplete or not of rank {rank}")
        updates[tower][module] = scale * (pair["B"] @ pair["A"])  # (out, in)
    if not all(updates):
        raise ModelError(f"{adapter}: has no update for one of {count} towers")
    return updates


def _tower(path: Path, kind: Kind, state: State) -> Tower:
    transformer = _architecture().vit_base(patch_size=kind.patch)
    projection = None
    if kind.clip:
        transformer.pos_drop = nn.LayerNorm(WIDTH)  # CLIP's norm before the blocks
        projection = state.pop("proj", None)
        for module in transformer.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-5
        if kind.quick_gelu:
            for block in transformer.blocks:
                block.mlp.act = QuickGELU()
    if "mask_token" in state:
        state = _without_layer_scale(state, kind.patch)
    try:
        transformer.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(f"{path}: {' '.join(str(error).split())[:300]}") from error
    if kind.clip and projection is None:
        raise ModelError(f"{path}: has no projection")
    return Tower(transformer, projection, kind)


def _without_layer_scale(state: State, patch: int) -> State:
    """DINOv2's weights for a plain ViT: γ · (W x + b) = (γ W) x + γ b, and positions for 224 pixels."""
    folded = {name: value for name, value in state.items() if name != "mask_token"}
    for name in [name for name in folded if name.endswith(".gamma")]:
        gamma = folded.pop(name)
        layer = name.replace("ls1.gamma", "attn.proj").replace("ls2.gamma", "mlp.fc2")
        folded[f"{layer}.weight"] = gamma[:, None] * folded[f"{layer}.weight"]
        folded[f"{layer}.bias"] = gamma * folded[f"{layer}.bias"]
    folded["pos_embed"] = resize_positions(folded["pos_embed"], SIDE // patch)
    return folded


def resize_positions(table: Tensor, side: int) -> Tensor:
    """DINOv2's own interpolation of (1, 1 + p², d) to (1, 1 + side², d), its added tenth included."""
    before = math.isqrt(table.shape[1] - 1)
    if before == side:
        return table
    grid = table[:, 1:].reshape(1, before, before, -1).permute(0, 3, 1, 2)  # (1, d, p, p)
    scale = (side + 0.1) / before
    grid = functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


@cache
def _architecture() -> Any:
    """The `dreamsim` package's module of the transformer, alone.

    Importing it by name would run the package's `__init__`, which loads PEFT, open_clip and timm for
    several seconds; nothing of them is used.
    """
    package = importlib.machinery.PathFinder.find_spec("dreamsim")
    if package is None or not package.submodule_search_locations:
        raise ModelError("the dreamsim package is not installed", "pip install dreamsim")
    path = Path(package.submodule_search_locations[0]) / "feature_extraction" / "vision_transformer.py"
    spec = importlib.util.spec_from_file_location("origcli_dreamsim_architecture", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
