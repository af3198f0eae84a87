"""Stable Diffusion 3 and 3.5 (Esser et al. 2024): two CLIPs and T5, which may be missing; flow matching."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from origcli.models.conditioning import Conditioning
from origcli.models.families.family import Drawing, PipelineFamily, Text, flow_of, on_device, pooled_call
from origcli.models.joint_attention import CountedAttention
from origcli.models.noising import Noising


class StableDiffusion3(PipelineFamily):
    """T5's states are zeros where the model is loaded without it: one row of them, which counts for all."""

    title = "Stable Diffusion 3"
    pipeline = "StableDiffusion3Pipeline"
    texts = (
        Text("text_encoder", "tokenizer", "clip_l"),
        Text("text_encoder_2", "tokenizer_2", "clip_g"),
        Text("text_encoder_3", "tokenizer_3", "t5xxl", 256),
    )
    defaults = Drawing(steps=28, guidance=7.0, scheduler="own")

    def __init__(
        self,
        parts: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        resolution: int | None = None,
    ) -> None:
        super().__init__(parts, options, resolution)
        self.rows = self.words.encoders[0].length + 1  # of a text without T5
        self.without_t5 = parts.get("text_encoder_3") is None
        if self.without_t5:
            self.denoiser.set_attn_processor(CountedAttention(self.rows))

    def make_noising(self) -> Noising:
        return flow_of(self.scheduler, (self.latent_shape[1] // self.denoiser.config.patch_size) ** 2)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        states, _, pooled, _ = self.pipe.encode_prompt(
            list(prompts), None, None, device=self.text_device, do_classifier_free_guidance=False
        )
        # Read as a whole, for diffusers decides where zeros stand; all but the first of them say the same.
        return Conditioning(
            {"states": states[:, : self.rows] if self.without_t5 else states, "pooled": pooled}
        )

    def predict(self, noisy: Tensor, times: Tensor, given: Conditioning) -> Tensor:
        predicted: Tensor = self.denoiser(
            hidden_states=noisy.to(self.dtype),
            timestep=on_device(times, noisy) * self.scheduler.config.num_train_timesteps,
            encoder_hidden_states=given.parts["states"].to(self.dtype),
            pooled_projections=given.parts["pooled"].to(self.dtype),
        ).sample
        return predicted

    def call(self, given: Conditioning, empty: Conditioning, drawing: Drawing) -> dict[str, Any]:
        return {**pooled_call(given, empty), "guidance_scale": drawing.guidance}
