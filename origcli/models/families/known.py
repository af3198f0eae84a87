"""Which family a pipeline belongs to, by the class that its model_index.json names."""

from origcli.models.families.family import Family
from origcli.models.families.flux import Flux
from origcli.models.families.pixart import PixArtAlpha, PixArtSigma
from origcli.models.families.qwen_image import QwenImage
from origcli.models.families.sana import Sana
from origcli.models.families.sdxl import StableDiffusionXL
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.families.stable_diffusion_3 import StableDiffusion3
from origcli.models.families.z_image import ZImage

FAMILIES: dict[str, type[Family]] = {
    family.pipeline: family
    for family in (
        StableDiffusion,
        StableDiffusionXL,
        StableDiffusion3,
        Flux,
        PixArtAlpha,
        PixArtSigma,
        Sana,
        ZImage,
        QwenImage,
    )
}
