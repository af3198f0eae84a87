"""LoRA files: low-rank changes to the weights of a model, by the names of diffusers and of kohya's scripts.

A changed weight is W + scale · α / r · B A, with W of shape (out, in), A of shape (r, in) and B (out, r). All
changes to a weight are added up in fp64 and rounded once, so their order does not count.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from origcli.errors import ModelError, UsageError
from origcli.models.importing.header import Header, read_header
from origcli.models.importing.kinds import refuse_distilled
from origcli.models.importing.mmdit import Place, original_places
from origcli.models.importing.names import original_unet_name

DENOISERS = ("unet", "transformer")
_DOWN, _UP, _ALPHA = "down", "up", "alpha"
_ROLES = (
    (re.compile(r"\.lora_A(\.[a-z0-9_-]+)?\.weight$|[._]lora(_linear_layer)?[._]down\.weight$"), _DOWN),
    (re.compile(r"\.lora_B(\.[a-z0-9_-]+)?\.weight$|[._]lora(_linear_layer)?[._]up\.weight$"), _UP),
    (re.compile(r"\.alpha$"), _ALPHA),
)
_OTHER_METHODS = {
    ".hada_": "LoHa",
    ".lokr_": "LoKr",
    ".oft_": "OFT",
    ".boft_": "BOFT",
    ".ia3_": "IA3",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    ".lora_mid.": "LoCon with a Tucker core",
    ".diff": "full differences",
    ".bias": "LoRA with biases",
}
_TO = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


@dataclass(frozen=True)
class Change:
    """A low-rank change to one weight.

    Attributes:
        down, up: the names of its two tensors.
        factor: what their product is scaled by.
        place: which rows of the product, where the file changes several weights as one.
    """

    down: str
    up: str
    factor: float
    place: Place | None = None


@dataclass(frozen=True)
class Lora:
    """A LoRA that fits a model.

    Attributes:
        path: its file.
        scale: as asked for.
        changes: (part, name of the weight) -> change.
    """

    path: Path
    scale: float
    changes: Mapping[tuple[str, str], Change]


def parse(word: str) -> tuple[Path, float]:
    """`FILE` or `FILE@SCALE` as file and scale; a file of just this name goes first.

    Raises:
        UsageError: the scale is not a finite number, or zero.
    """
    path, separator, text = word.rpartition("@")
    if not separator or Path(word).is_file():
        return Path(word), 1.0
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale) or scale == 0:
        raise UsageError(
            f"--lora {word}: {text!r} is not a scale", "give FILE@SCALE, e.g. style.safetensors@0.8"
        )
    return Path(path), scale


def fit(path: Path, scale: float, networks: Mapping[str, nn.Module], title: str) -> Lora:
    """Finds the weight that each tensor of a LoRA file belongs to; reads only small numbers.

    Args:
        networks: the parts of the model, which may lie on the meta device.
        title: what the model is called in errors.

    Raises:
        ModelError: the file is damaged, holds another method than LoRA, or does not fit the model in every
            tensor; says which model it seems to be for.
    """
    header = read_header(path)
    refuse_distilled(header)
    for mark, method in _OTHER_METHODS.items():
        if marked := [name for name in header.shapes if mark in name]:
            raise ModelError(f"{path}: holds {method} ({marked[0]})", "supported are LoRA and LoCon")
    grouped = _grouped(header)
    weights = _weights(networks)
    places = {stem: grouped[stem] for stem in grouped if stem in weights}
    if len(places) < len(grouped):
        strange = min(grouped.keys() - places)
        raise ModelError(
            f"{path}: {len(grouped) - len(places)} of {len(grouped)} changes have no place in {title}, "
            f"e.g. {strange}",
            _seems(header),
        )
    alphas = _alphas(header, places)
    changes: dict[tuple[str, str], Change] = {}
    for stem, roles in places.items():
        for (part, module), place in weights[stem].items():
            name = f"{module}.weight"
            if (part, name) in changes:
                raise ModelError(f"{path}: changes {part}.{name} twice, e.g. by {stem}")
            height, *rest = networks[part].get_parameter(name).shape
            rank = _rank(header, stem, roles, (place.height if place else height, *rest), title)
            factor = scale * _factor(header, part, module, rank, alphas.get(stem))
            changes[part, name] = Change(roles[_DOWN], roles[_UP], factor, place)
    return Lora(path, scale, changes)


def merge(part: str, tensors: dict[str, Tensor], loras: Sequence[Lora]) -> list[int]:
    """Adds LoRAs to a part's weights, in place of the old values.

    Args:
        tensors: the part's, by name.

    Returns:
        For each LoRA, how many weights it changes.

    Raises:
        ModelError: a LoRA holds numbers that are not finite.
    """
    counts = [0] * len(loras)
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(lora.path, "pt")) for lora in loras]
        for name, old in tensors.items():
            total = rounded = None
            for number, (lora, file) in enumerate(zip(loras, files, strict=True)):
                change = lora.changes.get((part, name))
                if change is None:
                    continue
                delta = _delta(lora, file, change).view(old.shape)
                total = (old.double() if total is None else total) + delta
                before, rounded = old if rounded is None else rounded, total.to(old.dtype)
                counts[number] += not torch.equal(before, rounded)
            if rounded is not None:
                tensors[name] = rounded
    return counts


def _delta(lora: Lora, file: Any, change: Change) -> Tensor:
    """scale · α / r · B A in fp32, (out, in)."""
    down, up = file.get_tensor(change.down).float(), file.get_tensor(change.up).float()
    up = change.place.cut(up) if change.place else up
    delta: Tensor = change.factor * (up.flatten(1) @ down.flatten(1))
    if not bool(torch.isfinite(delta).all()):
        raise ModelError(f"{lora.path}: {change.up} is not finite")
    return delta


def check_changed(lora: Lora, changed: int) -> None:
    """Makes sure that a LoRA changed something.

    Raises:
        ModelError: it did not.
    """
    if not changed:
        raise ModelError(
            f"{lora.path}: changes none of the {len(lora.changes)} weights that it names",
            "its values are zero, or too small for the type of the weights; was its training finished?",
        )


def seems_for(header: Header) -> str:
    """Which model a LoRA seems to be for, told from the names and shapes of its tensors; empty if unknown."""
    names = " ".join(header.shapes)
    marks = (
        (r"double_blocks|single_transformer_blocks|single_blocks", "FLUX"),
        (r"joint_blocks|attn\.add_q_proj", "Stable Diffusion 3"),
        (r"caption_projection|linear_attn|adaln_single", "PixArt or Sana"),
        (r"txt_mlp|img_mlp", "Qwen-Image"),
        (r"blocks[._]\d+[._](self_attn|cross_attn)", "Wan"),
        (r"lora_te2_|text_encoder_2|label_emb", "Stable Diffusion XL"),
    )
    for pattern, title in marks:
        if re.search(pattern, names):
            return title
    widths = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
    for name, shape in header.shapes.items():
        if re.search(r"attn2[._](processor\.)?to_k", name) and len(shape) > 1 and _role(name)[1] == _DOWN:
            return widths.get(shape[1], "")
    return ""


def _seems(header: Header) -> str:
    title = seems_for(header)
    return f"the LoRA seems to be for {title}" if title else "use the model that the LoRA was trained on"


def _role(name: str) -> tuple[str, str]:
    """A tensor's stem, which names a weight, and what it is of the change to that weight."""
    for pattern, role in _ROLES:
        if match := pattern.search(name):
            return name[: match.start()], role
    return name, ""


def _grouped(header: Header) -> dict[str, dict[str, str]]:
    """Stem -> role -> name of the tensor.

    Raises:
        ModelError: a tensor is of no known role, or one of a pair is missing.
    """
    groups: dict[str, dict[str, str]] = {}
    for name in sorted(header.shapes):
        stem, role = _role(name)
        if not role:
            raise ModelError(f"{header.path}: {name} is no tensor of a LoRA", _seems(header))
        if role in groups.setdefault(stem, {}):
            raise ModelError(
                f"{header.path}: {stem} has two tensors for {role}: {groups[stem][role]}, {name}"
            )
        groups[stem][role] = name
    for stem, roles in groups.items():
        if not {_DOWN, _UP} <= roles.keys():
            raise ModelError(f"{header.path}: {stem} has {', '.join(roles)} without its counterpart")
    return groups


def _weights(networks: Mapping[str, nn.Module]) -> dict[str, dict[tuple[str, str], Place | None]]:
    """Every stem that can name weights: (part, module) -> its place, where the stem is an original name."""
    found: dict[str, dict[tuple[str, str], Place | None]] = {}
    for part, network in networks.items():
        places = original_places(network)
        for module, child in network.named_modules():
            if not isinstance(child, nn.Linear | nn.Conv2d):
                continue
            for stem in _stems(part, module, network):
                found.setdefault(stem, {})[part, module] = None
            if place := places.get(module):
                for stem in (
                    f"lora_unet_{place.module.replace('.', '_')}",
                    f"diffusion_model.{place.module}",
                ):
                    found.setdefault(stem, {})[part, module] = place
    return found


def _stems(part: str, module: str, network: Any) -> Iterator[str]:
    """The names that files give to a module of a part."""
    if part in DENOISERS:
        yield module  # files with a denoiser alone
        yield f"{part}.{module}"
        flat = [module]
        if part == "unet":
            flat.append(original_unet_name(module, network))
        for name in dict.fromkeys(flat):
            yield f"lora_unet_{name.replace('.', '_')}"
        yield f"lora_transformer_{module.replace('.', '_')}"
        if match := re.fullmatch(r"(.*\.attn\d)\.(to_[qkv]|to_out)(\.0)?", module):
            for owner in ("", f"{part}."):
                yield f"{owner}{match[1]}.processor.{match[2]}"
        return
    if type(network).__name__.startswith("T5"):
        yield f"{part}.{module}"
        yield f"lora_te3_{module.replace('.', '_')}"
        return
    bare = module.removeprefix("text_model.")
    inner = bare if bare == "text_projection" else f"text_model.{bare}"
    for name in dict.fromkeys((module, bare, inner)):
        yield f"{part}.{name}"
        if name.rpartition(".")[2] in _TO:
            owner, _, last = name.rpartition(".")
            yield f"{part}.{owner}.{_TO[last]}"
    for prefix in {"text_encoder": ("lora_te_", "lora_te1_"), "text_encoder_2": ("lora_te2_",)}.get(part, ()):
        yield prefix + inner.replace(".", "_")


def _rank(header: Header, stem: str, roles: Mapping[str, str], shape: Iterable[int], title: str) -> int:
    """The rank r of a change, which has to fit a weight of some shape."""
    down, up = header.shapes[roles[_DOWN]], header.shapes[roles[_UP]]
    out, *rest = shape
    inner = math.prod(rest)
    if not (len(down) > 1 and len(up) > 1 and down[0] and (math.prod(down[1:]), up[0]) == (inner, out)):
        fits = False
    else:
        fits = math.prod(up[1:]) == down[0]
    if not fits:
        raise ModelError(
            f"{header.path}: {stem} is {list(up)} × {list(down)}, and the weight in {title} is {list(shape)}",
            _seems(header),
        )
    return down[0]


def _alphas(header: Header, places: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """The α of the changes that have one as a tensor."""
    alphas = {}
    with safe_open(header.path, "pt") as file:
        for stem, roles in places.items():
            if _ALPHA not in roles:
                continue
            value = file.get_tensor(roles[_ALPHA])
            if value.numel() != 1 or not math.isfinite(alpha := float(value)):
                raise ModelError(f"{header.path}: {roles[_ALPHA]} is not one finite number")
            alphas[stem] = alpha
    return alphas


def _factor(header: Header, part: str, module: str, rank: int, alpha: float | None) -> float:
    """α / r, with α from the file's tensors, from PEFT's metadata, or equal to r."""
    if alpha is not None:
        return alpha / rank
    try:
        facts = json.loads(header.metadata.get("lora_adapter_metadata", "{}"))
        own = {key.removeprefix(f"{part}."): facts[key] for key in facts if key.startswith(f"{part}.")}
        if own.get("use_dora"):
            raise ModelError(f"{header.path}: holds DoRA", "supported are LoRA and LoCon")
        alpha = float(own.get("lora_alpha", rank))
        for key, value in own.get("alpha_pattern", {}).items():
            if module == key or module.endswith(f".{key}"):
                alpha = float(value)
        factor = alpha / (math.sqrt(rank) if own.get("use_rslora") else rank)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{header.path}: cannot read its metadata: {error}") from error
    if not math.isfinite(factor):
        raise ModelError(f"{header.path}: its metadata names an α that is not finite")
    return factor
