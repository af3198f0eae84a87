"""FLUX.1 dev: CLIP's pooled vector, T5's states, guidance as an embedding; flow on packed latents."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from origcli.errors import ModelError
from origcli.models.conditioning import Conditioning
from origcli.models.families.family import (
    Drawing,
    PipelineFamily,
    Text,
    flow_of,
    on_device,
    pack_patches,
    unpack_patches,
)
from origcli.models.noising import Noising


class Flux(PipelineFamily):
    """One pass a step: the denoiser receives the guidance, in learning the pipeline's default."""

    title = "FLUX.1"
    pipeline = "FluxPipeline"
    texts = (
        Text("text_encoder", "tokenizer", "clip_l"),
        Text("text_encoder_2", "tokenizer_2", "t5xxl", 512),
    )
    defaults = Drawing(steps=28, guidance=3.5, scheduler="own")
    unguided = None

    def make_noising(self) -> Noising:
        if not self.denoiser.config.guidance_embeds:
            raise ModelError(
                "FLUX.1 schnell is distilled to a few steps and has no training loss to learn tokens with",
                "use FLUX.1 dev",
            )
        return flow_of(self.scheduler, (self.latent_shape[1] // 2) ** 2)

    def latent_channels(self) -> int:
        return int(self.denoiser.config.in_channels) // 4

    def native_resolution(self) -> int:
        return int(self.vae.config.sample_size)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        states, pooled, _ = self.pipe.encode_prompt(list(prompts), device=self.text_device)
        return Conditioning({"states": states, "pooled": pooled})

    def predict(self, noisy: Tensor, times: Tensor, given: Conditioning) -> Tensor:
        states = given.parts["states"].to(self.dtype)
        side = self.latent_shape[1] // 2
        places = self.pipe._prepare_latent_image_ids(len(noisy), side, side, noisy.device, self.dtype)
        predicted = self.denoiser(
            hidden_states=pack_patches(noisy.to(self.dtype)),
            timestep=on_device(times, noisy),
            guidance=torch.full((len(noisy),), self.defaults.guidance, device=noisy.device),
            pooled_projections=given.parts["pooled"].to(self.dtype),
            encoder_hidden_states=states,
            txt_ids=torch.zeros(states.shape[1], 3, device=noisy.device, dtype=self.dtype),
            img_ids=places,
        ).sample
        return unpack_patches(predicted, self.latent_shape)

    def pack(self, latents: Tensor) -> Tensor:
        return pack_patches(latents)

    def unpack(self, latents: Tensor) -> Tensor:
        return unpack_patches(latents, self.latent_shape)

    def call(self, given: Conditioning, empty: Conditioning, drawing: Drawing) -> dict[str, Any]:
        return {
            "prompt_embeds": given.parts["states"],
            "pooled_prompt_embeds": given.parts["pooled"],
            "guidance_scale": drawing.guidance,
        }
