"""What a file is, told from its header; files of other formats."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from origcli.errors import ModelError
from origcli.models.importing.header import Header, read_header
from origcli.models.importing.kinds import FLUX, SD1, SD2, SD3, SDXL, recognize

Shapes = dict[str, tuple[int, ...]]

UNET: Shapes = {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}
VAE: Shapes = {"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3)}
CLIP: Shapes = {"cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768)}
OPEN_CLIP: Shapes = {"cond_stage_model.model.positional_embedding": (77, 1024)}
XL: Shapes = {
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    "conditioner.embedders.1.model.positional_embedding": (77, 1280),
}
REFINER: Shapes = {"conditioner.embedders.0.model.positional_embedding": (77, 1280)}

MMDIT: Shapes = {"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536)}
FLUX_DEV: Shapes = {
    "double_blocks.0.img_attn.proj.weight": (3072, 3072),
    "guidance_in.in_layer.weight": (3072, 256),
    "img_in.weight": (3072, 64),
}


def header(*parts: Shapes, name: str = "m", **metadata: str) -> Header:
    shapes = {key: shape for part in parts for key, shape in part.items()}
    return Header(Path(f"{name}.safetensors"), shapes, metadata=metadata)


def channels(count: int) -> Shapes:
    return {"model.diffusion_model.input_blocks.0.0.weight": (320, count, 3, 3)}


def has(name: str, *shape: int) -> Shapes:
    return {name: shape or (2,)}


def test_what_can_be_imported() -> None:
    assert recognize(header(UNET, VAE, CLIP)) is SD1
    assert recognize(header(UNET, VAE, OPEN_CLIP)) is SD2
    assert recognize(header(UNET, VAE, XL)) is SDXL
    assert recognize(header(UNET, XL), vae_given=True) is SDXL
    assert recognize(header(MMDIT)) is recognize(header(MMDIT, VAE)) is SD3
    assert recognize(header(FLUX_DEV)) is FLUX
    prefixed = {f"model.diffusion_model.{name}": shape for name, shape in FLUX_DEV.items()}
    assert recognize(header(prefixed, VAE)) is FLUX


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (header(UNET, VAE, REFINER), "the SDXL refiner"),
        (header(channels(9), VAE, CLIP), "inpainting"),
        (header(channels(8), VAE, CLIP), "InstructPix2Pix"),
        (header(channels(7), VAE, OPEN_CLIP), "upscaling"),
        (header(channels(5), VAE, OPEN_CLIP), "depth"),
        (header(UNET, VAE, XL, has("edm_mean")), "Playground"),
        (header(UNET, VAE, XL, has("edm_vpred.sigma_max")), "CosXL"),
        (header(UNET, VAE, CLIP, has("model.diffusion_model.time_embed.cond_proj.weight")), "LCM"),
        (header(UNET, VAE, CLIP, has("control_model.time_embed.0.weight")), "ControlNet"),
        (header(has("double_blocks.0.img_attn.proj.weight")), "without guidance"),
        (header(FLUX_DEV, has("img_in.weight", 3072, 384)), "FLUX.1 Fill"),
        (header(FLUX_DEV, has("img_in.weight", 3072, 128)), "Canny or Depth"),
        (header(FLUX_DEV, name="flux1-Kontext-dev"), "Kontext"),
        (header(FLUX_DEV, name="flux1-schnell"), "schnell"),
        (header(FLUX_DEV, has("controlnet_blocks.0.weight")), "ControlNet"),
        (header(FLUX_DEV, has("distilled_guidance_layer.in_proj.weight")), "Chroma"),
        (header(FLUX_DEV, has("single_stream_modulation.lin.weight")), r"FLUX\.2"),
        (header(MMDIT, name="sd3.5_large_turbo"), "Turbo"),
        (header(has("transformer_blocks.0.attn.to_q.weight")), "a transformer alone"),
        (header(has("double_blocks.0.img_attn.proj.lora_A.weight")), "a LoRA"),
        (header(UNET, CLIP), "without its VAE"),
        (header(UNET, VAE), "without a text encoder"),
        (header(has("down_blocks.0.resnets.0.conv1.weight")), "a UNet alone"),
        (header(has("encoder.conv_in.weight")), "a VAE"),
        (header(VAE), "a VAE"),
        (header(has("lora_unet_mid.lora_down.weight")), "a LoRA"),
        (header(has("emb_params", 3, 768)), "learned tokens"),
        (header(has("clip_l", 3, 768), has("clip_g", 3, 1280)), "learned tokens"),
        (header(has("anything")), "unknown kind"),
        (header(UNET, VAE, XL, name="sdxl-lightning-4step"), "Lightning"),
        (header(UNET, VAE, XL, **{"modelspec.title": "SDXL Turbo"}), "Turbo"),
    ],
)
@pytest.mark.fault(40, "a single file is recognized from its header and refused by its name")
def test_what_cannot_is_refused_by_name(file: Header, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        recognize(file)
    assert refused.value.hint


@pytest.mark.parametrize("suffix", ["ckpt", "pt", "pth", "bin", "gguf", "onnx", "txt"])
@pytest.mark.fault(18, "a checkpoint or LoRA that is a pickle is refused by its ending, unread")
def test_other_formats_are_refused_by_name(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"model.{suffix}").write_bytes(b"not even read")
    with pytest.raises(ModelError, match=rf"\.{suffix} file|not a .safetensors file") as refused:
        read_header(tmp_path / f"model.{suffix}")
    assert "docs/models.md" in refused.value.hint


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    for name in ("a.weight", "a.qweight"):
        save_file({name: torch.ones(2, 2, dtype=torch.int8)}, tmp_path / "q.safetensors")
        with pytest.raises(ModelError, match=rf"quantized \({name} is I8\)"):
            read_header(tmp_path / "q.safetensors")


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(20, 20)}, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-10])
    for name in ("cut", "missing"):
        with pytest.raises(ModelError, match=r"cannot read|no such file"):
            read_header(tmp_path / f"{name}.safetensors")
