"""Stable Diffusion XL (Podell et al. 2023): two CLIPs, the second pooled, sizes as conditions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from origcli.errors import ModelError
from origcli.models.conditioning import Conditioning
from origcli.models.families.family import Drawing, PipelineFamily, Text, pooled_call
from origcli.models.noising import Noising


class StableDiffusionXL(PipelineFamily):
    """Base models and derivatives that predict ε or v. Every sample says that it was never cropped."""

    title = "Stable Diffusion XL"
    pipeline = "StableDiffusionXLPipeline"
    denoiser_part = "unet"
    texts = (
        Text("text_encoder", "tokenizer", "clip_l"),
        Text("text_encoder_2", "tokenizer_2", "clip_g"),
    )
    defaults = Drawing(steps=50, guidance=5.0, scheduler="own")
    blank = None  # zeros, unless the pipeline is set otherwise

    def __init__(self, parts: Any, options: Any = None, resolution: int | None = None) -> None:
        super().__init__(parts, {**(options or {}), "add_watermarker": False}, resolution)
        if self.vae.config.force_upcast and self.vae.dtype == torch.float16:
            self.vae.to(torch.float32)  # its activations overflow in fp16

    def make_noising(self) -> Noising:
        kind = type(self.scheduler).__name__
        if kind.startswith("EDM") or getattr(self.vae.config, "latents_mean", None) is not None:
            raise ModelError(
                f"its latents are scaled as {kind} wants them, which is not supported",
                "supported are models of Stable Diffusion XL's own noise schedule",
            )
        return super().make_noising()

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        states, _, pooled, _ = self.pipe.encode_prompt(
            list(prompts), device=self.text_device, do_classifier_free_guidance=False
        )
        return Conditioning({"states": states, "pooled": pooled})

    def unconditional(self) -> Conditioning:
        with torch.no_grad():
            _, states, _, pooled = self.pipe.encode_prompt([""], device=self.text_device)
        return Conditioning({"states": states, "pooled": pooled})

    def predict(self, noisy: Tensor, times: Tensor, given: Conditioning) -> Tensor:
        size = self.resolution
        sizes = torch.tensor([size, size, 0, 0, size, size], dtype=self.dtype, device=noisy.device)
        predicted: Tensor = self.denoiser(
            noisy.to(self.dtype),
            times.to(noisy.device),
            encoder_hidden_states=given.parts["states"].to(self.dtype),
            added_cond_kwargs={
                "text_embeds": given.parts["pooled"].to(self.dtype),
                "time_ids": sizes.expand(len(noisy), -1),
            },
        ).sample
        return predicted

    def call(self, given: Conditioning, empty: Conditioning, drawing: Drawing) -> dict[str, Any]:
        return {**pooled_call(given, empty), "guidance_scale": drawing.guidance}
