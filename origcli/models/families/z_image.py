"""Z-Image: the states of Qwen3's last layer but one, without padding; flow matching with its sign turned."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from origcli.models.conditioning import Conditioning, padded
from origcli.models.families.family import Drawing, PipelineFamily, Text, flow_of, on_device
from origcli.models.noising import Noising


class ZImage(PipelineFamily):
    """The pipeline holds prompts as a list of rows; here they are padded, with a mask beside them."""

    title = "Z-Image"
    pipeline = "ZImagePipeline"
    texts = (Text("text_encoder", "tokenizer", "qwen3", 512),)
    defaults = Drawing(steps=50, guidance=5.0, scheduler="own")
    unguided = 0.0

    def make_noising(self) -> Noising:
        return flow_of(self.scheduler, (self.latent_shape[1] // 2) ** 2)

    def native_resolution(self) -> int:
        return int(self.vae.config.sample_size)

    def wrap(self, prompt: str) -> str:
        chat = [{"role": "user", "content": prompt}]
        text: str = self.parts["tokenizer"].apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        return text

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        rows, _ = self.pipe.encode_prompt(
            list(prompts), device=self.text_device, do_classifier_free_guidance=False
        )
        longest = max(len(row) for row in rows)
        states = torch.cat([padded(row[None], longest) for row in rows])
        lengths = torch.tensor([len(row) for row in rows], device=states.device)
        return Conditioning(
            {"states": states, "mask": torch.arange(longest, device=states.device) < lengths[:, None]}
        )

    def predict(self, noisy: Tensor, times: Tensor, given: Conditioning) -> Tensor:
        predicted = self.denoiser(
            list(noisy.to(self.dtype).unsqueeze(2).unbind(0)),  # an image is a video of one frame
            1 - on_device(times, noisy),
            _rows(given.to(self.device, self.dtype)),
        ).sample
        return -torch.stack(list(predicted)).squeeze(2)

    def call(self, given: Conditioning, empty: Conditioning, drawing: Drawing) -> dict[str, Any]:
        return {
            "prompt_embeds": _rows(given),
            "negative_prompt_embeds": _rows(empty),
            "guidance_scale": drawing.guidance,
        }

    def pack(self, latents: Tensor) -> Tensor:
        return latents.float()  # the pipeline's loop is in fp32


def _rows(given: Conditioning) -> list[Tensor]:
    """The states of each prompt, (its length, d); all of them where tensors have no data to say which."""
    if given.parts["mask"].is_meta or is_fake(given.parts["mask"]):
        return list(given.parts["states"].unbind(0))
    return [
        states[mask] for states, mask in zip(given.parts["states"], given.parts["mask"].bool(), strict=True)
    ]
