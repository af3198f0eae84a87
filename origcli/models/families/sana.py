"""Sana (Xie et al. 2024): Gemma's states and mask, an autoencoder without a posterior; flow matching."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from origcli.models.conditioning import Conditioning
from origcli.models.families.family import (
    Drawing,
    PipelineFamily,
    Text,
    first_half,
    flow_of,
    masked_call,
    on_device,
)
from origcli.models.noising import Noising


class Sana(PipelineFamily):
    """Prompts are read as they are: the long instruction that `__call__` puts before them is left out."""

    title = "Sana"
    pipeline = "SanaPipeline"
    texts = (Text("text_encoder", "tokenizer", "gemma", 300),)
    defaults = Drawing(steps=20, guidance=4.5, scheduler="own")

    @property
    def scale(self) -> int:
        return int(2 ** (len(self.vae.config.encoder_block_out_channels) - 1))

    def make_noising(self) -> Noising:
        return flow_of(self.scheduler, self.latent_shape[1] ** 2)

    def wrap(self, prompt: str) -> str:
        return prompt.lower().strip()

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.vae.encode(pixels.to(self.vae.dtype)).latent
        return latents, torch.zeros_like(latents)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        states, mask, _, _ = self.pipe.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, device=self.text_device
        )
        return Conditioning({"states": states, "mask": mask})

    def predict(self, noisy: Tensor, times: Tensor, given: Conditioning) -> Tensor:
        config = self.denoiser.config
        steps = self.scheduler.config.num_train_timesteps
        predicted: Tensor = self.denoiser(
            noisy.to(self.dtype),
            encoder_hidden_states=given.parts["states"].to(self.dtype),
            encoder_attention_mask=given.parts["mask"],
            timestep=on_device(times, noisy) * steps * config.timestep_scale,
        ).sample
        return first_half(predicted, noisy.shape[1])

    def call(self, given: Conditioning, empty: Conditioning, drawing: Drawing) -> dict[str, Any]:
        return {**masked_call(given, empty), "guidance_scale": drawing.guidance}
