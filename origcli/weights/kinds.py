"""The classes of pipelines that can be opened: their parts, and what is refused by their configurations.

To open one more class, add an entry to `KINDS` here and a family to `origcli/models/families`. No torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Configs = Mapping[str, Mapping[str, Any]]  # part -> what its configuration says

_NOISE_SCHEDULES = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
DISTILLED_SCHEDULERS = {"LCMScheduler": "LCM", "TCDScheduler": "TCD"}
_FLOW_SCHEDULES = ("FlowMatchEulerDiscreteScheduler",)
_CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
_T5_TOKENIZERS = ("T5Tokenizer", "T5TokenizerFast")
_QWEN_TOKENIZERS = ("Qwen2Tokenizer", "Qwen2TokenizerFast")


@dataclass(frozen=True)
class Kind:
    """A class of pipelines that can be opened.

    Attributes:
        title: what people call these models.
        parts: the classes that may stand for each part.
        problem: reads the parts' configurations and says why a model of this class cannot be measured all the
            same; empty where it can.
        optional: parts that may be missing.
        options: settings in the index that the pipeline is built with.
    """

    title: str
    parts: Mapping[str, tuple[str, ...]]
    problem: Callable[[Configs], str]
    optional: frozenset[str] = frozenset()
    options: tuple[str, ...] = ()


def _stable_diffusion_problem(configs: Configs) -> str:
    """Why a pipeline of Stable Diffusion's class is not one that draws from a text's states alone."""
    unet, vae, encoder = configs["unet"], configs["vae"], configs["text_encoder"]
    scheduler = configs["scheduler"]
    channels = unet.get("in_channels", 4), unet.get("out_channels", 4)
    latents = vae.get("latent_channels", 4)
    taken = unet.get("encoder_hid_dim") or unet.get("cross_attention_dim", 1280)
    given, most = encoder.get("hidden_size"), encoder.get("max_position_embeddings")
    length = configs["tokenizer"]["model_max_length"]
    extra = unet.get("addition_embed_type") or unet.get("class_embed_type") or unet.get("num_class_embeds")
    if unet.get("time_cond_proj_dim"):
        return "a step-distilled model (LCM): its UNet takes the guidance scale (time_cond_proj_dim)"
    if _is_few_step(scheduler):
        return (
            "a step-distilled model (Turbo, Lightning, LCM): its scheduler is one for a few steps "
            "(_class_name, timestep_spacing)"
        )
    if channels[0] == 2 * latents + 1:
        return f"an inpainting model: its UNet takes {channels[0]} channels"
    if channels != (latents, latents):
        return f"its UNet makes {channels[1]} channels of {channels[0]}, its VAE has {latents}"
    if extra:
        return f"its UNet wants more than a text's states: {extra}"
    if taken != given:
        return f"its UNet attends to states {taken} wide, its text encoder gives {given}"
    if isinstance(most, int) and length > most:
        return f"its tokenizer gives {length} tokens, its text encoder takes {most}"
    return ""


def _is_few_step(scheduler: Mapping[str, Any]) -> bool:
    """Whether a scheduler is set up as those of models distilled to between 1 and 8 steps are."""
    if scheduler.get("_class_name") in DISTILLED_SCHEDULERS:
        return True
    euler = str(scheduler.get("_class_name", "")).startswith("Euler")
    trailing = scheduler.get("timestep_spacing") == "trailing"
    return euler and trailing and not scheduler.get("rescale_betas_zero_snr")


def _sdxl_problem(configs: Configs) -> str:
    """Why a pipeline of Stable Diffusion XL's class is not a base model or kin of one."""
    unet, first, second = configs["unet"], configs["text_encoder"], configs["text_encoder_2"]
    channels, latents = unet.get("in_channels", 4), configs["vae"].get("latent_channels", 4)
    given = first.get("hidden_size", 512) + second.get("hidden_size", 512)
    if unet.get("time_cond_proj_dim"):
        return "a step-distilled model (LCM): its UNet takes the guidance scale (time_cond_proj_dim)"
    if _is_few_step(configs["scheduler"]):
        return (
            "a step-distilled model (Turbo, Lightning, LCM): its scheduler is one for a few steps "
            "(_class_name, timestep_spacing)"
        )
    if channels == 2 * latents + 1:
        return f"an inpainting model: its UNet takes {channels} channels"
    if channels != latents:
        return f"its UNet takes {channels} channels, its VAE has {latents}"
    if unet.get("addition_embed_type") != "text_time":
        return f"its UNet wants {unet.get('addition_embed_type')}, not text and sizes"
    if configs["vae"].get("latents_mean"):
        return "its latents are normalized by mean and deviation, as Playground's are"
    if unet.get("cross_attention_dim") != given:
        return f"its UNet attends to states {unet.get('cross_attention_dim')} wide, its encoders give {given}"
    return ""


def _sd3_problem(configs: Configs) -> str:
    channels, latents = (
        configs["transformer"].get("in_channels", 16),
        configs["vae"].get("latent_channels", 4),
    )
    if channels != latents:
        return f"its transformer takes {channels} channels, its VAE has {latents}"
    if ("text_encoder_3" in configs) != ("tokenizer_3" in configs):
        return "it has T5 or its tokenizer, but not both"
    return ""


def _flux_problem(configs: Configs) -> str:
    transformer, latents = configs["transformer"], configs["vae"].get("latent_channels", 4)
    if not transformer.get("guidance_embeds"):
        return "a step-distilled model (FLUX.1 schnell): its transformer takes no guidance (guidance_embeds)"
    if transformer.get("in_channels", 64) != 4 * latents:
        return (
            f"its transformer takes {transformer.get('in_channels')} channels, which is not 2 × 2 places of "
            f"{latents}: FLUX.1 Fill, Canny and Depth also need an image as input"
        )
    return ""


def _pixart_problem(configs: Configs) -> str:
    transformer, latents = configs["transformer"], configs["vae"].get("latent_channels", 4)
    if transformer.get("in_channels", 4) != latents:
        return f"its transformer takes {transformer.get('in_channels')} channels, its VAE has {latents}"
    given = configs["text_encoder"].get("d_model")
    if transformer.get("caption_channels") != given:
        return f"its transformer reads states {transformer.get('caption_channels')} wide, T5 gives {given}"
    return ""


def _sana_problem(configs: Configs) -> str:
    transformer, scheduler = configs["transformer"], configs["scheduler"]
    latents = configs["vae"].get("latent_channels", 32)
    if transformer.get("guidance_embeds"):
        return "a step-distilled model (Sana Sprint): its transformer takes the guidance scale"
    if transformer.get("in_channels", 32) != latents:
        return (
            f"its transformer takes {transformer.get('in_channels')} channels, its autoencoder has {latents}"
        )
    is_dpm = scheduler.get("_class_name") == "DPMSolverMultistepScheduler"
    if is_dpm and not (
        scheduler.get("use_flow_sigmas") and scheduler.get("prediction_type") == "flow_prediction"
    ):
        return "its scheduler is not one of flow matching"
    return ""


def _packed_problem(configs: Configs) -> str:
    transformer, vae = configs["transformer"], configs["vae"]
    if transformer.get("in_channels", 64) != 4 * vae.get("z_dim", 16):
        return f"its transformer takes {transformer.get('in_channels')} channels, not 2 × 2 of its VAE's"
    if len(vae.get("latents_mean") or ()) != vae.get("z_dim", 16):
        return "its VAE has no mean for each channel"
    return ""


def _z_image_problem(configs: Configs) -> str:
    transformer, latents = configs["transformer"], configs["vae"].get("latent_channels", 4)
    if transformer.get("in_channels", 16) != latents:
        return f"its transformer takes {transformer.get('in_channels')} channels, its VAE has {latents}"
    return ""


_PIXART = {
    "vae": ("AutoencoderKL",),
    "transformer": ("PixArtTransformer2DModel", "Transformer2DModel"),
    "text_encoder": ("T5EncoderModel",),
    "tokenizer": _T5_TOKENIZERS,
    "scheduler": _NOISE_SCHEDULES,
}

KINDS: dict[str, Kind] = {
    "StableDiffusionPipeline": Kind(
        title="Stable Diffusion 1.x and 2.x",
        parts={
            "vae": ("AutoencoderKL",),
            "unet": ("UNet2DConditionModel",),
            "text_encoder": ("CLIPTextModel", "BertModel"),
            "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast", "BertTokenizer", "BertTokenizerFast"),
            "scheduler": _NOISE_SCHEDULES,
        },
        problem=_stable_diffusion_problem,
    ),
    "StableDiffusionXLPipeline": Kind(
        title="Stable Diffusion XL",
        parts={
            "vae": ("AutoencoderKL",),
            "unet": ("UNet2DConditionModel",),
            "text_encoder": ("CLIPTextModel",),
            "text_encoder_2": ("CLIPTextModelWithProjection",),
            "tokenizer": _CLIP_TOKENIZERS,
            "tokenizer_2": _CLIP_TOKENIZERS,
            "scheduler": _NOISE_SCHEDULES,
        },
        problem=_sdxl_problem,
        options=("force_zeros_for_empty_prompt",),
    ),
    "StableDiffusion3Pipeline": Kind(
        title="Stable Diffusion 3 and 3.5",
        parts={
            "vae": ("AutoencoderKL",),
            "transformer": ("SD3Transformer2DModel",),
            "text_encoder": ("CLIPTextModelWithProjection",),
            "text_encoder_2": ("CLIPTextModelWithProjection",),
            "text_encoder_3": ("T5EncoderModel",),
            "tokenizer": _CLIP_TOKENIZERS,
            "tokenizer_2": _CLIP_TOKENIZERS,
            "tokenizer_3": _T5_TOKENIZERS,
            "scheduler": _FLOW_SCHEDULES,
        },
        problem=_sd3_problem,
        optional=frozenset({"text_encoder_3", "tokenizer_3"}),
    ),
    "FluxPipeline": Kind(
        title="FLUX.1 dev",
        parts={
            "vae": ("AutoencoderKL",),
            "transformer": ("FluxTransformer2DModel",),
            "text_encoder": ("CLIPTextModel",),
            "text_encoder_2": ("T5EncoderModel",),
            "tokenizer": _CLIP_TOKENIZERS,
            "tokenizer_2": _T5_TOKENIZERS,
            "scheduler": _FLOW_SCHEDULES,
        },
        problem=_flux_problem,
    ),
    "PixArtAlphaPipeline": Kind(title="PixArt-α", parts=_PIXART, problem=_pixart_problem),
    "PixArtSigmaPipeline": Kind(title="PixArt-Σ", parts=_PIXART, problem=_pixart_problem),
    "SanaPipeline": Kind(
        title="Sana",
        parts={
            "vae": ("AutoencoderDC",),
            "transformer": ("SanaTransformer2DModel",),
            "text_encoder": ("Gemma2Model",),
            "tokenizer": ("GemmaTokenizer", "GemmaTokenizerFast"),
            "scheduler": ("DPMSolverMultistepScheduler", *_FLOW_SCHEDULES),
        },
        problem=_sana_problem,
    ),
    "ZImagePipeline": Kind(
        title="Z-Image",
        parts={
            "vae": ("AutoencoderKL",),
            "transformer": ("ZImageTransformer2DModel",),
            "text_encoder": ("Qwen3Model", "Qwen3ForCausalLM"),
            "tokenizer": _QWEN_TOKENIZERS,
            "scheduler": _FLOW_SCHEDULES,
        },
        problem=_z_image_problem,
    ),
    "QwenImagePipeline": Kind(
        title="Qwen-Image",
        parts={
            "vae": ("AutoencoderKLQwenImage",),
            "transformer": ("QwenImageTransformer2DModel",),
            "text_encoder": ("Qwen2_5_VLForConditionalGeneration",),
            "tokenizer": _QWEN_TOKENIZERS,
            "scheduler": _FLOW_SCHEDULES,
        },
        problem=_packed_problem,
    ),
}
