"""Single files: from the names of the original code to the names of diffusers.

The renaming is diffusers' own. It is checked on the header first: every tensor of the file has to go into the
model or be one that models are known to do without, and every tensor of the model has to come from the file.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from origcli.errors import ModelError
from origcli.models.importing.header import Header
from origcli.models.importing.kinds import UNET, VAE_PREFIXES, denoiser_prefix
from origcli.models.importing.lineage import trace
from origcli.models.importing.mmdit import from_original
from origcli.models.loading import quiet_loading

# Tensors that lie in many files and are no part of the model: averages of training, the noise schedule,
# losses, counters, and what the original text encoders hold beside the states that the denoiser attends to.
_KNOWN_SURPLUS = re.compile(
    r"model_ema\..*|[a-z_]*(alphas|betas|posterior|lvlb|logvar|scale_factor|global_step)[a-z_0-9]*|denoiser\..*"
    r"|first_stage_model\.(loss|model_ema)\..*|edm_.*|v_pred|ztsnr|num_batches_tracked"
    r"|(cond_stage_model|conditioner|text_encoders)\..*\.(position_ids|logit_scale|attn_mask|text_projection(\.weight)?)"
    r"|cond_stage_model\.model\.transformer\.resblocks\.23\..*"
)
_MODEL_PREFIXES = (UNET, *VAE_PREFIXES, "cond_stage_model.", "conditioner.", "text_encoders.")
_TEXT_PREFIXES = (  # of the files, with the width-independent reader of each
    ("cond_stage_model.transformer.", "clip"),
    ("conditioner.embedders.0.transformer.", "clip"),
    ("cond_stage_model.model.", "open_clip"),
    ("conditioner.embedders.1.model.", "open_clip"),
)
_ENCODER_PREFIXES = {  # of the files of Stable Diffusion 3 and FLUX, whose encoders have transformers' names
    "clip_l": "text_encoders.clip_l.transformer.",
    "clip_g": "text_encoders.clip_g.transformer.",
    "t5": "text_encoders.t5xxl.transformer.",
}
_T5_SHARED, _T5_OWN = "shared.weight", "encoder.embed_tokens.weight"  # one tensor, which files hold once
_PROJECTION = "text_projection.weight"
_OLD_TEXT = re.compile(r"^(cond_stage_model\.transformer\.)(embeddings|encoder|final_layer_norm)\.")

Convert = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Statement:
    """What a file says of itself.

    Attributes:
        prediction: `epsilon` or `v_prediction`, where it says so.
        zero_terminal_snr: its last timestep is noise alone.
    """

    prediction: str | None = None
    zero_terminal_snr: bool = False


def stated(header: Header) -> Statement:
    """What a file says of its noise: in marker tensors, or in its metadata (ModelSpec)."""
    words = {"v": "v_prediction", "epsilon": "epsilon"}
    prediction = words.get(header.metadata.get("modelspec.prediction_type", "").lower())
    if "v_pred" in header.shapes:
        prediction = "v_prediction"
    return Statement(prediction, "ztsnr" in header.shapes)


def readers(header: Header, networks: Mapping[str, nn.Module]) -> dict[str, Convert]:
    """For each part that a file holds, what makes the part's tensors of the file's.

    Args:
        networks: the parts without weights, by name.

    Raises:
        ModelError: the file does not hold a part.
    """
    converters: dict[str, Convert] = {}
    texts = [(prefix, kind) for prefix, kind in _TEXT_PREFIXES if header.starting(prefix)]
    for name, network in sorted(networks.items()):  # text_encoder before text_encoder_2
        if type(network).__name__.startswith("CLIPText"):
            if not texts:
                raise ModelError(f"{header.path}: has no weights for {name}")
            prefix, kind = texts.pop(0)
            converters[name] = partial(_text, network, prefix, kind)
        else:
            prefixes = VAE_PREFIXES if name == "vae" else (UNET,)
            if not header.starting(*prefixes):
                raise ModelError(f"{header.path}: has no weights for {name}")
            converters[name] = partial(_network, network, prefixes)
    return converters


def partial_readers(header: Header, networks: Mapping[str, nn.Module]) -> dict[str, Convert]:
    """The same for a file of Stable Diffusion 3 or FLUX, of the parts that it holds.

    Args:
        networks: the parts without weights, by name, of a pipeline that gives the others.
    """
    found: dict[str, Convert] = {}
    for name, network in networks.items():
        if name == "transformer":
            found[name] = partial(from_original, network, denoiser_prefix(header))
        elif name == "vae" and header.starting(*VAE_PREFIXES):
            found[name] = partial(_network, network, VAE_PREFIXES)
        elif name.startswith("text_encoder"):
            is_t5 = type(network).__name__.startswith("T5")
            key = "t5" if is_t5 else "clip_l" if name == "text_encoder" else "clip_g"
            if header.starting(_ENCODER_PREFIXES[key]):
                found[name] = partial(_encoder, network, _ENCODER_PREFIXES[key])
    return found


def check_fit(header: Header, networks: Mapping[str, nn.Module], parts: Mapping[str, Convert]) -> list[str]:
    """Makes sure that a file and the parts of a model fit each other tensor by tensor; reads no weights.

    Args:
        networks: the parts without weights, by name.
        parts: of those that the file holds, what makes their tensors of the file's.

    Returns:
        Names of tensors that are not used, of which none belongs to the model.

    Raises:
        ModelError: tensors are missing, left over, or of another shape.
    """
    tensors = header.frames()
    used: set[str] = set()
    for name, convert in parts.items():
        try:
            with quiet_loading():
                made, went = trace(tensors, convert)
        except Exception as error:  # a file of another layout breaks diffusers' conversion anywhere
            raise ModelError(
                f"{header.path}: its {name} is not laid out as the configuration says: "
                f"{type(error).__name__}: {error}",
                "give the configuration of this model with --config",
            ) from error
        _check_part(header.path, name, made, networks[name])
        used |= went
    replaced = () if "vae" in parts else VAE_PREFIXES  # another autoencoder takes the place of the file's
    left = sorted(name for name in header.shapes.keys() - used if not name.startswith(replaced))
    surplus = [name for name in left if not _KNOWN_SURPLUS.fullmatch(name)]
    model = _MODEL_PREFIXES if "transformer" not in parts or denoiser_prefix(header) else ("",)
    strange = [name for name in surplus if name.startswith(model)]
    if strange:
        raise ModelError(
            f"{header.path}: {len(strange)} tensors have no place in the model, e.g. {strange[0]}",
            "give the configuration of this model with --config",
        )
    return left


def remarkable(left: list[str]) -> list[str]:
    """Of unused tensors those that are not known to lie in many files."""
    return [name for name in left if not _KNOWN_SURPLUS.fullmatch(name)]


def fill(network: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> nn.Module:
    """Gives a network without weights its tensors, all of them.

    Raises:
        ModelError: they do not fit.
    """
    try:
        network.load_state_dict(dict(tensors), strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(f"{where}: the weights do not fit: {str(error).splitlines()[-1].strip()}") from error
    if empty := [name for name, tensor in network.state_dict().items() if tensor.is_meta]:
        raise ModelError(f"{where}: {len(empty)} tensors got no weights, e.g. {empty[0]}")
    return network


def bare_vae(header: Header, network: nn.Module) -> Convert:
    """What makes an autoencoder's tensors of a file that holds it alone, in either naming."""
    if header.starting(*VAE_PREFIXES):
        return partial(_network, network, VAE_PREFIXES)
    if "encoder.down_blocks.0.resnets.0.conv1.weight" in header.shapes:
        return dict
    return partial(_network, network, ("",))


def _check_part(path: Path, part: str, made: Mapping[str, Tensor], network: nn.Module) -> None:
    wanted = network.state_dict()
    for problem, names in (("missing", wanted.keys() - made), ("too many", made.keys() - wanted.keys())):
        if names:
            raise ModelError(
                f"{path}: {part}: {len(names)} tensors {problem}, e.g. {min(names)}",
                "give the configuration of this model with --config",
            )
    for name in sorted(wanted):
        if made[name].shape != wanted[name].shape:
            raise ModelError(
                f"{path}: {part}: {name} is {list(made[name].shape)}, expected {list(wanted[name].shape)}",
                "give the configuration of this model with --config",
            )


def _network(network: nn.Module, prefixes: tuple[str, ...], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A UNet's or autoencoder's tensors of a file's."""
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    kind: Any = SINGLE_FILE_LOADABLE_CLASSES.get(type(network).__name__)
    if kind is None:
        raise ModelError(f"a {type(network).__name__} cannot be read from a single file")
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}
    config: Any = network.config
    return dict(kind["checkpoint_mapping_fn"](checkpoint=own, config=dict(config)))


def _text(network: nn.Module, prefix: str, kind: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A CLIP text encoder's tensors of a file's."""
    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, convert_open_clip_checkpoint

    own = {
        _OLD_TEXT.sub(r"\1text_model.\2.", name): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    if kind == "clip":
        made = convert_ldm_clip_checkpoint(own)
        surplus = re.compile(r".*position_ids|text_projection\.weight|logit_scale")
    else:
        made = convert_open_clip_checkpoint(network, own, prefix=prefix)
        surplus = re.compile(r".*position_ids|logit_scale")
    wrapped = hasattr(network, "text_model")
    wanted = network.state_dict()
    named = {name if wrapped else name.removeprefix("text_model."): value for name, value in made.items()}
    return {name: value for name, value in named.items() if name in wanted or not surplus.fullmatch(name)}


def _encoder(network: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a text encoder that a file has under the names of transformers."""
    wanted, made = network.state_dict(), {}
    for name, tensor in tensors.items():
        own = name.removeprefix(prefix)
        own = own if own in wanted else own.removeprefix("text_model.")
        if name.startswith(prefix) and own in wanted:
            made[own] = tensor
    if _T5_OWN in wanted and _T5_SHARED in made:
        made.setdefault(_T5_OWN, made[_T5_SHARED])
    if prefix == _ENCODER_PREFIXES["clip_l"] and made.keys() ^ wanted.keys() == {_PROJECTION}:
        like = next(iter(made.values()))  # files leave out this projection, which changes nothing
        made[_PROJECTION] = torch.eye(*wanted[_PROJECTION].shape, dtype=like.dtype, device=like.device)
    return made
