"""Qwen-Image: the last states of Qwen2.5-VL behind a chat template; flow matching on packed latents."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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


class QwenImage(PipelineFamily):
    """Its autoencoder is one of videos; an image is one frame."""

    title = "Qwen-Image"
    pipeline = "QwenImagePipeline"
    texts = (Text("text_encoder", "tokenizer", "qwen25_vl", 1058),)
    defaults = Drawing(steps=50, guidance=4.0, scheduler="own")
    blank = " "  # the pipeline's own advice

    def wrap(self, prompt: str) -> str:
        text: str = self.pipe.prompt_template_encode.format(prompt)
        return text

    @property
    def scale(self) -> int:
        return int(2 ** len(self.vae.temperal_downsample))

    def latent_channels(self) -> int:
        return int(self.denoiser.config.in_channels) // 4

    def native_resolution(self) -> int:
        return 1024  # the pipeline's; nothing in its parts says so

    def make_noising(self) -> Noising:
        return flow_of(self.scheduler, (self.latent_shape[1] // 2) ** 2)

    def _moments(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, (c, 1, 1)."""
        config = self.vae.config
        mean, std = (torch.tensor(values) for values in (config.latents_mean, config.latents_std))
        return mean.view(-1, 1, 1).to(like), std.view(-1, 1, 1).to(like)

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.vae.encode(pixels.to(self.vae.dtype).unsqueeze(2)).latent_dist
        return posterior.mean.squeeze(2), posterior.std.squeeze(2)

    def to_denoiser(self, latents: Tensor) -> Tensor:
        mean, std = self._moments(latents)
        return (latents - mean) / std

    def to_vae(self, latents: Tensor) -> Tensor:
        mean, std = self._moments(latents)
        return latents * std + mean

    def decode(self, latents: Tensor) -> Tensor:
        frames: Tensor = self.vae.decode(self.to_vae(latents.to(self.vae.dtype)).unsqueeze(2)).sample
        return frames.squeeze(2)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        states, mask = self.pipe.encode_prompt(list(prompts), device=self.text_device)
        if mask is None:
            mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        return Conditioning({"states": states, "mask": mask})

    def predict(self, noisy: Tensor, times: Tensor, given: Conditioning) -> Tensor:
        side = self.latent_shape[1] // 2
        predicted = self.denoiser(
            hidden_states=pack_patches(noisy.to(self.dtype)),
            timestep=on_device(times, noisy),
            encoder_hidden_states=given.parts["states"].to(self.dtype),
            encoder_hidden_states_mask=given.parts["mask"],
            img_shapes=[[(1, side, side)]] * len(noisy),
        ).sample
        return unpack_patches(predicted, self.latent_shape)

    def pack(self, latents: Tensor) -> Tensor:
        return pack_patches(latents)

    def unpack(self, latents: Tensor) -> Tensor:
        return unpack_patches(latents, self.latent_shape)

    def call(self, given: Conditioning, empty: Conditioning, drawing: Drawing) -> dict[str, Any]:
        return {
            "prompt_embeds": given.parts["states"],
            "prompt_embeds_mask": given.parts["mask"],
            "negative_prompt_embeds": empty.parts["states"],
            "negative_prompt_embeds_mask": empty.parts["mask"],
            "true_cfg_scale": drawing.guidance,
        }
