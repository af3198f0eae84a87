"""What a single file is, told from the names and shapes of its tensors.

A file is recognized before anything is loaded. What cannot be imported is refused by its name.
"""

from dataclasses import dataclass

from origcli.errors import ModelError
from origcli.models.importing.header import Header
from origcli.weights.pipelines import refuse_distilled_names

UNET = "model.diffusion_model."
VAE_PREFIXES = ("first_stage_model.", "vae.")
_INPUT = f"{UNET}input_blocks.0.0.weight"

# Models with other parts than those of `KINDS`: a text in the names of their tensors, and what they are.
_OTHERS = (
    ("edm_mean", "Playground 2.5 (EDM noise)"),
    ("edm_vpred.sigma_max", "CosXL (EDM noise)"),
    ("control_model.", "a ControlNet"),
    ("controlnet_cond_embedding.", "a ControlNet"),
    ("lora_controlnet", "a ControlNet as a LoRA"),
    ("controlnet_blocks.", "a ControlNet"),
    ("input_hint_block.", "a ControlNet"),
    ("ip_adapter.", "an IP-Adapter"),
    ("motion_modules.", "an AnimateDiff motion module"),
    ("noise_augmentor.", "Stable unCLIP"),
    ("time_embed.cond_proj", "a latent consistency model (LCM)"),
    ("time_embedding.cond_proj", "a latent consistency model (LCM)"),
    ("clip_txt_mapper.", "Stable Cascade"),
    ("down_blocks.1.0.channelwise.", "Stable Cascade"),
    ("cond_seq_linear.", "AuraFlow"),
    ("distilled_guidance_layer.", "Chroma"),
    ("single_stream_modulation.lin.", "FLUX.2"),
    ("double_stream_blocks.", "HiDream"),
    ("patchify_proj.", "LTX-Video"),
    ("individual_token_refiner.", "HunyuanVideo"),
    ("txt_in.text_norm.", "Qwen-Image"),
    ("txt_norm.weight", "Qwen-Image"),
    ("cap_embedder.0.", "Lumina 2 or Z-Image"),
    ("head.modulation", "Wan"),
    ("attn.qkv_x.", "Mochi"),
    ("cross_attn.kv_linear.", "PixArt or Sana"),
)


@dataclass(frozen=True)
class Kind:
    """A kind of single file that can be imported.

    Attributes:
        title: what people call it.
        configuration: the built-in configuration to start from; empty where there is none.
        pipeline: the class of the pipeline that has to give what a file lacks; empty where files are whole.
        example: a model of that class.
    """

    title: str
    configuration: str = ""
    pipeline: str = ""
    example: str = ""


SD1 = Kind("Stable Diffusion 1", "sd15")
SD2 = Kind("Stable Diffusion 2", "sd21")
SDXL = Kind("Stable Diffusion XL", "sdxl")
SD3 = Kind("Stable Diffusion 3", pipeline="StableDiffusion3Pipeline", example="sd35-medium")
FLUX = Kind("FLUX.1", pipeline="FluxPipeline", example="flux-dev")
_FLUX_INPUTS = {384: "FLUX.1 Fill", 128: "FLUX.1 Canny or Depth"}  # by the width of what is drawn into


def recognize(header: Header, *, vae_given: bool = False) -> Kind:
    """The kind of a single file.

    Args:
        vae_given: the file may lack its VAE, for another is given.

    Raises:
        ModelError: it is no whole model, or of a kind that cannot be imported; says which.
    """
    refuse_distilled(header)
    kind = _mmdit(header)
    if kind is None and (problem := _not_a_model(header, vae_given)):
        raise ModelError(f"{header.path}: not a whole model, but {problem[0]}", problem[1])
    if title := _unsupported(header, kind):
        raise ModelError(
            f"{header.path}: {title} cannot be imported from a single file",
            "supported are Stable Diffusion 1, 2, XL and 3 and FLUX.1 dev; take others as a pipeline "
            "directory or from the Hub",
        )
    if kind is not None:
        _refuse_eight_bits(header)
        return kind
    for prefix, kind in (
        ("cond_stage_model.transformer.", SD1),
        ("cond_stage_model.model.", SD2),
        ("conditioner.embedders.1.model.", SDXL),
    ):
        if header.starting(prefix):
            return kind
    raise ModelError(
        f"{header.path}: its UNet comes without a text encoder ({len(header.shapes)} tensors)",
        "use the full checkpoint",
    )


def refuse_distilled(header: Header) -> None:
    """Refuses models and LoRAs that say in their name or metadata that they draw in few steps.

    Raises:
        ModelError: says which.
    """
    stated = [header.metadata.get(f"modelspec.{key}") for key in ("title", "architecture")]
    refuse_distilled_names(str(header.path), header.path.stem, *stated)


def is_lora(header: Header) -> bool:
    """Whether a file holds changes to a model and no model."""
    marks = (".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".lora.down.", ".lora.up.", "_lora.down.")
    others = (".hada_", ".lokr_", ".oft_", ".lora_linear_layer.", ".diff_b")
    return any(mark in name for name in header.shapes for mark in (*marks, *others))


def _not_a_model(header: Header, vae_given: bool) -> tuple[str, str] | None:
    """What a file is that holds a part of a model, and what to do with it."""
    names = header.shapes.keys()
    whole = "use the full checkpoint, with UNet, text encoder and VAE"
    if is_lora(header):
        return "a LoRA", f"name its model first: origcli import MODEL --lora {header.path.name} --out DIR"
    if names & {"emb_params", "clip_l", "clip_g"} and len(names) < 8:
        return "learned tokens", f"use them with: origcli draw MODEL --embeddings {header.path.name}"
    if header.starting(UNET):
        if not (vae_given or header.starting(*VAE_PREFIXES)):
            return "a denoiser without its VAE", f"{whole}, or give one with --vae"
        return None
    if names & {
        "encoder.conv_in.weight",
        "decoder.conv_in.weight",
        "first_stage_model.encoder.conv_in.weight",
    }:
        return "a VAE", f"name its model first: origcli import MODEL --vae {header.path.name} --out DIR"
    if header.starting("down_blocks.", "input_blocks."):
        return "a UNet alone", whole
    if header.starting("transformer_blocks.", "single_transformer_blocks."):
        return "a transformer alone", "put it in place of the transformer of a pipeline directory"
    return None


def denoiser_prefix(header: Header) -> str:
    """What the names of a denoiser's tensors begin with in a file, which may hold the denoiser alone."""
    return UNET if header.starting(UNET) else ""


def _mmdit(header: Header) -> Kind | None:
    """Stable Diffusion 3 or FLUX.1, which need not be whole; `None` for other files."""
    prefix = denoiser_prefix(header)
    if is_lora(header):
        return None
    if header.starting(f"{prefix}joint_blocks."):
        return SD3
    return FLUX if header.starting(f"{prefix}double_blocks.") else None


def _unsupported_flux(header: Header) -> str:
    """Which FLUX.1 a file holds, where it is not the one that draws from a text alone; else empty."""
    prefix = denoiser_prefix(header)
    if title := _FLUX_INPUTS.get(header.width(f"{prefix}img_in.weight") or 0):
        return title
    stated = " ".join([header.path.stem, header.metadata.get("modelspec.title", "")])
    if "kontext" in stated.lower():
        return "FLUX.1 Kontext"
    if not header.starting(f"{prefix}guidance_in."):
        return "FLUX.1 without guidance (schnell, or a model distilled or trained from it)"
    return ""


def _refuse_eight_bits(header: Header) -> None:
    """Refuses weights in fp8: they are rounded to 3 bits or fewer, and some files keep scales beside."""
    small = [name for name, kind in header.types.items() if kind.startswith("F8")]
    if small:
        raise ModelError(
            f"{header.path}: its weights are quantized to fp8 ({small[0]} is {header.types[small[0]]}), "
            "so its samples are not those of the model",
            "use the file with fp16, bf16 or fp32 weights",
        )


def _unsupported(header: Header, kind: Kind | None) -> str:
    """The name of the model that a file holds, where it is none that can be imported; else empty."""
    for mark, title in _OTHERS:
        if any(mark in name for name in header.shapes):
            return title
    if kind is not None:
        return _unsupported_flux(header) if kind is FLUX else ""
    channels = header.width(_INPUT)
    if channels is None:
        first = min(header.shapes)
        return f"a model of an unknown kind ({len(header.shapes)} tensors, e.g. {first})"
    if channels != 4:
        kinds = {9: "inpainting", 8: "editing (InstructPix2Pix)", 7: "upscaling", 5: "depth"}
        return f"a model for {kinds.get(channels, f'{channels} channels of latents')}"
    if header.starting("conditioner.embedders.0.model."):
        return "the SDXL refiner"
    return ""
