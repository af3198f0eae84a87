"""PixArt-α and PixArt-Σ (Chen et al. 2023, 2024): T5's states and mask; half of the output is variance."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from origcli.errors import UsageError
from origcli.models.conditioning import Conditioning
from origcli.models.families.family import Drawing, PipelineFamily, Text, first_half, masked_call


class PixArtAlpha(PipelineFamily):
    """At 1024 pixels the denoiser receives resolution and aspect ratio, too."""

    title = "PixArt-α"
    pipeline = "PixArtAlphaPipeline"
    texts = (Text("text_encoder", "tokenizer", "t5xxl", 120),)
    defaults = Drawing(steps=20, guidance=4.5, scheduler="own")

    def wrap(self, prompt: str) -> str:
        return prompt.lower().strip()

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        states, mask, _, _ = self.pipe.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            device=self.text_device,
            max_sequence_length=self.words.encoders[0].length,
        )
        return Conditioning({"states": states, "mask": mask})

    def micro_conditions(self, count: int, device: torch.device) -> dict[str, Tensor | None]:
        """What the denoiser receives beside the text."""
        if self.denoiser.config.sample_size != 128:
            return {"resolution": None, "aspect_ratio": None}
        size = float(self.resolution)
        return {
            "resolution": torch.tensor([size, size], dtype=self.dtype, device=device).repeat(count, 1),
            "aspect_ratio": torch.ones(count, 1, dtype=self.dtype, device=device),
        }

    def predict(self, noisy: Tensor, times: Tensor, given: Conditioning) -> Tensor:
        predicted: Tensor = self.denoiser(
            noisy.to(self.dtype),
            encoder_hidden_states=given.parts["states"].to(self.dtype),
            encoder_attention_mask=given.parts["mask"],
            timestep=times.to(noisy.device),
            added_cond_kwargs=self.micro_conditions(len(noisy), noisy.device),
        ).sample
        return first_half(predicted, noisy.shape[1])

    def check_drawing(self, drawing: Drawing) -> None:
        super().check_drawing(drawing)
        if drawing.steps < 2:  # the pipeline takes one step to mean a model distilled to it
            raise UsageError(
                f"{self.title} needs 2 denoising steps or more", "use --denoising-steps 20, its default"
            )

    def stepping(self, on_step: Callable[[], None]) -> dict[str, Any]:
        return {"callback": lambda step, time, latents: on_step(), "callback_steps": 1}

    def call(self, given: Conditioning, empty: Conditioning, drawing: Drawing) -> dict[str, Any]:
        return {**masked_call(given, empty), "guidance_scale": drawing.guidance}


class PixArtSigma(PixArtAlpha):
    """The same with longer prompts, and nothing but the text."""

    title = "PixArt-Σ"
    pipeline = "PixArtSigmaPipeline"
    texts = (Text("text_encoder", "tokenizer", "t5xxl", 300),)

    def micro_conditions(self, count: int, device: torch.device) -> dict[str, Tensor | None]:
        return {"resolution": None, "aspect_ratio": None}
