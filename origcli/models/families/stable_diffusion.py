"""Stable Diffusion 1 and 2 (Rombach et al. 2022), and the bundled model: the last states of one encoder."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from origcli.models.conditioning import Conditioning
from origcli.models.families.family import Drawing, Family, Text
from origcli.models.text_encoder import text_states, tokenize
from origcli.runtime.device import autocast, memory_format

_REMEMBERED = 4096  # prompts whose token ids stay on the device


class StableDiffusion(Family):
    """Draws with a loop of its own, so that no number changes with the releases of diffusers' pipeline."""

    title = "Stable Diffusion"
    pipeline = "StableDiffusionPipeline"
    denoiser_part = "unet"
    texts = (Text("text_encoder", "tokenizer", "clip"),)
    defaults = Drawing(steps=50, guidance=7.5, scheduler="ddim")
    quick = Drawing(steps=20, guidance=7.5, scheduler="dpm")  # DPM-Solver++ 2M (Lu et al. 2022)

    def __init__(
        self,
        parts: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        resolution: int | None = None,
    ) -> None:
        super().__init__(parts, options, resolution)
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    def key(self, text: Text) -> str:
        return "bert" if self.parts[text.part].config.model_type == "bert" else text.key

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        encoder = self.words.encoders[0]
        ids, mask = self._ids(prompts)
        return Conditioning({"states": text_states(encoder.module, ids, mask)})

    def _ids(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask (n, L), tokenized once: a step of learning waits for no tokenizer."""
        encoder = self.words.encoders[0]
        known = self._known
        if len(known) > _REMEMBERED:
            known.clear()
        if new := [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]:
            rows = tokenize(encoder.extended, new)
            known |= dict(
                zip(new, zip(*(part.to(encoder.device) for part in rows), strict=True), strict=True)
            )
        ids, mask = zip(*(known[prompt] for prompt in prompts), strict=True)
        return torch.stack(ids), torch.stack(mask)

    def predict(self, noisy: Tensor, times: Tensor, given: Conditioning) -> Tensor:
        states = given.parts["states"].to(self.dtype)
        predicted: Tensor = self.denoiser(noisy.to(self.dtype), times.to(noisy.device), states).sample
        return predicted

    def draw(
        self,
        given: Conditioning,
        empty: Conditioning,
        noise: Tensor,
        drawing: Drawing,
        on_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Guided as Ho and Salimans 2022 do."""
        sampler = self.sampler(drawing)
        # On the CPU: a sampler looks its place up in them, and would wait for a GPU to tell it.
        sampler.set_timesteps(drawing.steps, device="cpu")
        latents = noise.to(self.device, self.dtype) * sampler.init_noise_sigma
        latents = latents.contiguous(memory_format=memory_format(self.device))
        context = given.parts["states"].to(self.device, self.dtype)
        guided = drawing.guidance != 1
        if guided:
            free = empty.parts["states"].to(self.device, self.dtype).expand_as(context)
            context = torch.cat([free, context])  # (2n, L, d)
        with autocast(self.device, self.dtype):
            for timestep in sampler.timesteps:
                sample = torch.cat([latents, latents]) if guided else latents
                sample = sampler.scale_model_input(sample, timestep)
                predicted = self.denoiser(sample, timestep, encoder_hidden_states=context).sample
                if guided:
                    without, conditioned = predicted.chunk(2)
                    predicted = without + drawing.guidance * (conditioned - without)
                latents = sampler.step(predicted, timestep, latents).prev_sample
                on_step()
        return latents

    def passes(self, drawing: Drawing) -> int:
        return 1 if drawing.guidance == 1 else 2
