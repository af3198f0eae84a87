"""The configurations of Stable Diffusion 1.5, 2.1 and XL, as published with their weights.

Sources: `config.json` and `scheduler_config.json` of the published repositories; the text encoders of
OpenCLIP also from open_clip's `model_configs`. Values that equal the defaults of diffusers and transformers
are left out.
"""

import json
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from origcli.errors import ModelError, UsageError, nearest
from origcli.models.importing.vocabulary import LENGTH, clip_tokenizer
from origcli.models.loading import quiet_loading
from origcli.runtime.atomic import write_json

_NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_DDIM = {**_NOISE, "clip_sample": False, "set_alpha_to_one": False}
_PNDM = {**_NOISE, "skip_prk_steps": True, "set_alpha_to_one": False}
_EULER = {**_NOISE, "timestep_spacing": "leading", "interpolation_type": "linear"}

_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
}
_UNET_1 = {**_UNET, "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
_UNET_2 = {
    **_UNET,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
_UNET_XL = {
    **_UNET,
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
_TEXT = {
    "vocab_size": 49408,
    "max_position_embeddings": LENGTH,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
_CLIP_L = {
    **_TEXT,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
_CLIP_H = {
    **_TEXT,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,  # of 24: the model attends to the states before the last layer
    "num_attention_heads": 16,
    "projection_dim": 512,
    "hidden_act": "gelu",
}
_CLIP_G = {
    **_TEXT,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
_OPEN_CLIP_PAD = "!"

_SD = "StableDiffusionPipeline"
_V = {"prediction_type": "v_prediction"}

# Pipeline class -> its parts: class, and what it is configured with.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "sd15": {
        "_class_name": _SD,
        "vae": ("AutoencoderKL", _VAE),
        "unet": ("UNet2DConditionModel", _UNET_1),
        "text_encoder": ("CLIPTextModel", _CLIP_L),
        "tokenizer": ("CLIPTokenizer", {}),
        "scheduler": ("PNDMScheduler", _PNDM),
    },
    "sd21": {
        "_class_name": _SD,
        "vae": ("AutoencoderKL", {**_VAE, "sample_size": 768}),
        "unet": ("UNet2DConditionModel", {**_UNET_2, "sample_size": 96, "upcast_attention": True}),
        "text_encoder": ("CLIPTextModel", _CLIP_H),
        "tokenizer": ("CLIPTokenizer", {"pad": _OPEN_CLIP_PAD}),
        "scheduler": ("DDIMScheduler", {**_DDIM, **_V}),
    },
    "sd21-base": {
        "_class_name": _SD,
        "vae": ("AutoencoderKL", {**_VAE, "sample_size": 768}),
        "unet": ("UNet2DConditionModel", {**_UNET_2, "sample_size": 64}),
        "text_encoder": ("CLIPTextModel", _CLIP_H),
        "tokenizer": ("CLIPTokenizer", {"pad": _OPEN_CLIP_PAD}),
        "scheduler": ("PNDMScheduler", _PNDM),
    },
    "sdxl": {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "vae": (
            "AutoencoderKL",
            {**_VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
        ),
        "unet": ("UNet2DConditionModel", _UNET_XL),
        "text_encoder": ("CLIPTextModel", _CLIP_L),
        "text_encoder_2": ("CLIPTextModelWithProjection", _CLIP_G),
        "tokenizer": ("CLIPTokenizer", {}),
        "tokenizer_2": ("CLIPTokenizer", {"pad": _OPEN_CLIP_PAD}),
        "scheduler": ("EulerDiscreteScheduler", _EULER),
    },
}


def check_configuration(name: str) -> None:
    """Makes sure that a configuration has this name.

    Raises:
        UsageError: none has.
    """
    if name not in CONFIGURATIONS:
        raise UsageError(f"unknown configuration {name!r}", nearest(name, CONFIGURATIONS))


def write_configuration(name: str, directory: Path) -> Path:
    """Writes a pipeline directory without weights: configurations, scheduler and vocabularies.

    Args:
        name: a key of `CONFIGURATIONS`.

    Raises:
        UsageError: no configuration has this name.
        ModelError: CLIP's vocabulary is not installed.
    """
    import diffusers

    check_configuration(name)
    index: dict[str, Any] = {"_diffusers_version": diffusers.__version__}
    for part, value in CONFIGURATIONS[name].items():
        if not isinstance(value, tuple):
            index[part] = value
            continue
        kind, values = value
        index[part] = [_write_part(kind, values, directory / part), kind]
    write_json(directory / "model_index.json", index)
    return directory


def _write_part(kind: str, values: Mapping[str, Any], directory: Path) -> str:
    """Writes one part's configuration; the library of its class."""
    import diffusers
    import transformers

    with quiet_loading():
        if kind == "CLIPTokenizer":
            clip_tokenizer(**values).save_pretrained(directory)
            return "transformers"
        if kind.startswith("CLIPText"):
            config = transformers.CLIPTextConfig(**values)
            config.architectures = [kind]
            config.save_pretrained(directory)
            return "transformers"
        directory.mkdir(parents=True, exist_ok=True)
        if kind.endswith("Scheduler"):
            getattr(diffusers, kind)(**values).save_pretrained(directory)
        else:
            write_json(directory / "config.json", {"_class_name": kind, **values})
    return "diffusers"


def prediction_scheduler(directory: Path, prediction: str | None, zero_terminal_snr: bool) -> None:
    """Makes a pipeline's scheduler follow what a file says of itself.

    Args:
        prediction: `epsilon` or `v_prediction`; `None` keeps the configuration's.
        zero_terminal_snr: the last timestep is noise alone. A scheduler that cannot do that becomes DDIM.

    Raises:
        ModelError: the scheduler is of another kind of noise.
    """
    import diffusers

    if prediction is None and not zero_terminal_snr:
        return
    path, index_path = directory / "scheduler" / "scheduler_config.json", directory / "model_index.json"
    try:
        values, index = json.loads(path.read_bytes()), json.loads(index_path.read_bytes())
        kind = getattr(diffusers, index["scheduler"][1])
        if "prediction_type" not in kind.from_config(values).config:
            raise ModelError(f"{path}: a {kind.__name__} has no prediction type", "leave out --prediction")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: cannot read the scheduler: {error}") from error
    if prediction is not None:
        values["prediction_type"] = prediction
    if zero_terminal_snr:
        values |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        if "rescale_betas_zero_snr" not in signature(kind).parameters:
            kind = diffusers.DDIMScheduler
            values |= {"clip_sample": False}
    values["_class_name"] = kind.__name__
    index["scheduler"] = ["diffusers", kind.__name__]
    write_json(path, values)
    write_json(index_path, index)
