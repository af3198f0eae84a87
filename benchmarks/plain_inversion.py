"""Textual inversion as the public example of diffusers does it: what `origcli invert` is held against.

One token count at a time. Each step opens, resizes and tokenises the picture once a sample, encodes the
batch with the VAE, runs every prompt through the text encoder, takes the gradient of the whole embedding
table, steps AdamW over it, copies the old vocabulary back, and reads the loss. Dropout is off, as ours is,
and there is no accelerator, tracker or data loader around it, which only helps it.
"""

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from origcli.inversion.templates import fill
from origcli.models.pipeline import DiffusionModel


class PlainInversion:
    """The plain loop for one picture at one m.

    Args:
        path: the picture's file.
        m: how many tokens.
        templates: with a slot for the tokens.
    """

    def __init__(
        self,
        model: DiffusionModel,
        path: Path,
        m: int,
        templates: tuple[str, ...],
        batch_size: int,
        rate: float,
    ) -> None:
        self.model, self.path, self.templates, self.batch_size = model, path, templates, batch_size
        self.tokens = [f"<plain-{i}>" for i in range(m)]
        self.tokenizer = copy.deepcopy(model.words.encoders[0].tokenizer)
        self.tokenizer.add_tokens(self.tokens)
        self.encoder: Any = copy.deepcopy(model.words.encoders[0].module).requires_grad_(False)
        self.encoder.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        self.table = self.encoder.get_input_embeddings().weight.requires_grad_()
        self.kept = torch.ones(len(self.table), dtype=torch.bool)
        self.kept[len(self.table) - m :] = False
        with torch.no_grad():
            self.table[~self.kept] = self.table[self.kept].mean(0)
        self.original = self.table.detach().clone()
        self.optimizer = torch.optim.AdamW([self.table], lr=rate)
        self.schedule = DDPMScheduler.from_config(model.scheduler.config)
        self.random = random.Random(0)

    def _item(self) -> tuple[Tensor, Tensor]:
        """Pixels (3, h, w) and token ids (L,) of one sample."""
        image = (
            Image.open(self.path)
            .convert("RGB")
            .resize((self.model.resolution,) * 2, Image.Resampling.BICUBIC)
        )
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)
        prompt = fill(self.random.choice(self.templates), " ".join(self.tokens))
        ids = self.tokenizer(
            prompt,
            padding="max_length",
            max_length=self.model.words.encoders[0].length,
            truncation=True,
            return_tensors="pt",
        ).input_ids[0]
        return pixels, ids

    def step(self) -> float:
        """One step; the loss."""
        items = [self._item() for _ in range(self.batch_size)]
        pixels, ids = (torch.stack(parts) for parts in zip(*items, strict=True))
        with torch.no_grad():
            latents = (
                self.model.vae.encode(pixels).latent_dist.sample() * self.model.vae.config.scaling_factor
            )
        noise = torch.randn_like(latents)
        timesteps = torch.randint(self.schedule.config.num_train_timesteps, (self.batch_size,))
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        predicted = self.model.denoiser(noisy, timesteps, self.encoder(ids)[0]).sample
        epsilon = self.model.noising.prediction == "epsilon"
        target = noise if epsilon else self.schedule.get_velocity(latents, noise, timesteps)
        loss = F.mse_loss(predicted.float(), target.float())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            self.table[self.kept] = self.original[self.kept]
        return loss.item()
