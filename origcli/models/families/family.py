"""The contract of a model family: everything that learning and sampling need to know of a pipeline.

A family wraps the parts of one pipeline. It goes through diffusers' own code where there is some
(`encode_prompt`, `__call__`), so that guidance, shifts and packing are the pipeline's. It adds what a
pipeline lacks, because nobody trains with it: latents of an image, and one prediction of the denoiser.
"""

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from origcli.errors import UsageError
from origcli.models.conditioning import Conditioning
from origcli.models.noising import Flow, Noising, diffusion_of
from origcli.models.words import Encoder, Words
from origcli.runtime.seeding import generator
from origcli.settings import DrawSettings

OWN = "own"  # the scheduler that the model was published with
QUICK = "quick"  # fewer steps of a better solver, where the family has such a way
SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "pndm": "PNDMScheduler",
}


@dataclass(frozen=True)
class Text:
    """A text encoder of a pipeline.

    Attributes:
        part, tokenizer: what the pipeline calls them.
        key: what its vectors are called.
        length: tokens of a padded prompt; `None` is the tokenizer's own maximum.
    """

    part: str
    tokenizer: str
    key: str
    length: int | None = None


@dataclass(frozen=True)
class Drawing:
    """How to draw, every number known.

    Attributes:
        scheduler: one of `SCHEDULERS`, or `own`.
    """

    steps: int
    guidance: float
    scheduler: str


class Family(ABC):
    """A pipeline's parts, and how they work together.

    Class attributes:
        title: the family, for people.
        pipeline: the class in model_index.json.
        denoiser_part: which part denoises.
        texts: its text encoders; those that are missing in the parts are left out.
        defaults: how the pipeline draws where nobody says how.
        quick: how it draws the same in less time; `None` where no such way was tried.
        unguided: the guidance scale that means none, at half the work; `None` where there is no such scale.
        blank: the prompt that guidance leads away from; `None` where it is no prompt.
    """

    title: ClassVar[str]
    pipeline: ClassVar[str]
    denoiser_part: ClassVar[str] = "transformer"
    texts: ClassVar[tuple[Text, ...]]
    defaults: ClassVar[Drawing]
    quick: ClassVar[Drawing | None] = None
    unguided: ClassVar[float | None] = 1.0
    blank: ClassVar[str | None] = ""

    def __init__(
        self,
        parts: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        resolution: int | None = None,
    ) -> None:
        """Wraps loaded parts.

        Args:
            parts: by their names in the pipeline; optional ones may be missing or `None`.
            options: settings of the pipeline in model_index.json, e.g. `force_zeros_for_empty_prompt`.
            resolution: pixels across an image; the model's own where none is given.
        """
        self.parts = dict(parts)
        self.options = dict(options or {})
        self.vae = parts["vae"]
        self.denoiser = parts[self.denoiser_part]
        self.scheduler = parts["scheduler"]
        self.words = Words([self._encoder(text) for text in self.texts if parts.get(text.part) is not None])
        self.resolution = resolution or self.native_resolution()
        self.noising = self.make_noising()

    def _encoder(self, text: Text) -> Encoder:
        tokenizer = self.parts[text.tokenizer]
        length = text.length or int(tokenizer.model_max_length)
        return Encoder(self.key(text), self.parts[text.part], tokenizer, length, self.wrap)

    # What a family is

    @property
    def dtype(self) -> torch.dtype:
        """Of the denoiser's weights."""
        dtype: torch.dtype = self.denoiser.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        device: torch.device = self.denoiser.device
        return device

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The networks, by part."""
        return {name: part for name, part in self.parts.items() if isinstance(part, nn.Module)}

    @classmethod
    def settled(cls, settings: DrawSettings) -> DrawSettings:
        """Settings with the family's steps and scheduler where they leave them open."""
        own = (cls.quick if settings.scheduler == QUICK else None) or cls.defaults
        steps = own.steps if settings.steps == "auto" else settings.steps
        scheduler = own.scheduler if settings.scheduler in ("auto", QUICK) else settings.scheduler
        return settings.model_copy(update={"steps": steps, "scheduler": scheduler})

    def shadow(self, *parts: str) -> Self:
        """The family with some networks built again from their configurations, in the context that is open.

        For counting: on tensors without data.
        """
        shadow = copy.copy(self)
        shadow.parts = dict(self.parts)
        for name in parts:
            network = self.parts[name]
            shadow.parts[name] = type(network).from_config(network.config).requires_grad_(False).eval()
        shadow.vae, shadow.denoiser = shadow.parts["vae"], shadow.parts[self.denoiser_part]
        return shadow

    @property
    def scale(self) -> int:
        """Pixels across one place of a latent."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a latent."""
        side = self.resolution // self.scale
        return (self.latent_channels(), side, side)

    def key(self, text: Text) -> str:
        """What an encoder's vectors are called."""
        return text.key

    def wrap(self, prompt: str) -> str:
        """What the pipeline makes of a prompt before its tokenizers read it."""
        return prompt

    def latent_channels(self) -> int:
        """Channels of a latent."""
        return int(self.denoiser.config.in_channels)

    def native_resolution(self) -> int:
        """Pixels across an image, where nothing else is said."""
        size = self.denoiser.config.sample_size
        return int(size if isinstance(size, int) else size[0]) * self.scale

    def make_noising(self) -> Noising:
        """What the denoiser was trained to undo.

        Raises:
            ModelError: something that is not known here.
        """
        return diffusion_of(self.scheduler)

    # Memory

    def compute_again(self) -> bool:
        """Has the denoiser keep less for its way back and compute the rest again, with equal numbers.

        Returns:
            Whether that is new, and possible.
        """
        if not getattr(self.denoiser, "_supports_gradient_checkpointing", False):
            return False
        if self.denoiser.is_gradient_checkpointing:
            return False
        self.denoiser.enable_gradient_checkpointing()
        return True

    @contextmanager
    def text_encoders_on(self, device: torch.device) -> Iterator[None]:
        """While the context is open the text encoders wait elsewhere: no prompt can be read there."""
        before = {encoder.key: encoder.device for encoder in self.words.encoders}
        for encoder in self.words.encoders:
            encoder.module.to(device)
        try:
            yield
        finally:
            for encoder in self.words.encoders:
                encoder.module.to(before[encoder.key])

    # Text

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> Conditioning:
        """The conditioning of prompts; gradients reach the vectors of `words` that are open."""

    @torch.no_grad()
    def unconditional(self) -> Conditioning:
        """What guidance leads away from, of one prompt."""
        assert self.blank is not None
        return self.condition([self.blank])

    # Latents

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (n, c, h, w) of the posterior of pixels (n, 3, h, w) in [-1, 1].

        They are in the VAE's own scale: `to_denoiser` takes samples on from there.
        """
        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        return posterior.mean, posterior.std

    def to_denoiser(self, latents: Tensor) -> Tensor:
        """Latents in the denoiser's scale, of latents in the VAE's."""
        config = self.vae.config
        return (latents - float(config.get("shift_factor") or 0)) * float(config.scaling_factor)

    def to_vae(self, latents: Tensor) -> Tensor:
        """The way back."""
        config = self.vae.config
        return latents / config.scaling_factor + float(config.get("shift_factor") or 0)

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (n, 3, h, w), not clipped, of latents (n, c, h, w) in the denoiser's scale."""
        pixels: Tensor = self.vae.decode(self.to_vae(latents.to(self.vae.dtype))).sample
        return pixels

    @abstractmethod
    def predict(self, noisy: Tensor, times: Tensor, given: Conditioning) -> Tensor:
        """What the denoiser predicts, in the terms of `noising`, (n, c, h, w).

        Args:
            noisy: (n, c, h, w), in the denoiser's scale.
            times: (n,), as `noising` gives them.
            given: of n prompts.
        """

    # Sampling

    def passes(self, drawing: Drawing) -> int:
        """How often a sample goes through the denoiser in one step."""
        return 1 if self.unguided is None or drawing.guidance <= self.unguided else 2

    def undirected(self, drawing: Drawing) -> Drawing:
        """How to draw from the empty prompt: unguided, for guidance leads from that prompt to itself."""
        if self.blank != "" or self.unguided is None:
            return drawing
        return replace(drawing, guidance=self.unguided)

    def sampler(self, drawing: Drawing) -> Any:
        """A scheduler of the model's noise schedule. It holds state: one per batch."""
        import diffusers

        kind = (
            type(self.scheduler)
            if drawing.scheduler == OWN
            else getattr(diffusers, SCHEDULERS[drawing.scheduler])
        )
        return kind.from_config(self.scheduler.config)

    def check_drawing(self, drawing: Drawing) -> None:
        """Makes sure that the family can draw so.

        Raises:
            UsageError: a flow model keeps its scheduler.
        """
        if isinstance(self.noising, Flow) and drawing.scheduler != OWN:
            raise UsageError(
                f"{self.title} keeps its own scheduler ({type(self.scheduler).__name__}), "
                f"and {drawing.scheduler} was asked for",
                "leave --scheduler out: other schedulers are for models that predict ε or v",
            )

    @abstractmethod
    def draw(
        self,
        given: Conditioning,
        empty: Conditioning,
        noise: Tensor,
        drawing: Drawing,
        on_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Latents (n, c, h, w) in the denoiser's scale, of n prompts.

        Args:
            empty: `unconditional`; read where there is guidance.
            noise: (n, c, h, w), standard normal, fp32.
            on_step: called after every step.
        """


class PipelineFamily(Family):
    """A family whose pipeline encodes prompts and draws."""

    def __init__(
        self,
        parts: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        resolution: int | None = None,
    ) -> None:
        super().__init__(parts, options, resolution)
        import diffusers

        extended = {encoder.tokenizer: encoder.extended for encoder in self.words.encoders}
        given = {
            name: extended.get(part, part) if name.startswith("tokenizer") else part
            for name, part in self.parts.items()
        }
        absent = {part: None for text in self.texts for part in (text.part, text.tokenizer)}
        self.pipe = getattr(diffusers, self.pipeline)(**{**absent, **given}, **self.options)
        self.pipe.set_progress_bar_config(disable=True)

    @property
    def text_device(self) -> torch.device:
        """Where the text encoders are."""
        return self.words.encoders[0].device

    @abstractmethod
    def call(self, given: Conditioning, empty: Conditioning, drawing: Drawing) -> dict[str, Any]:
        """Arguments of the pipeline's `__call__` for the conditioning and guidance."""

    def pack(self, latents: Tensor) -> Tensor:
        """Latents (n, c, h, w) as the pipeline's loop holds them."""
        return latents

    def unpack(self, latents: Tensor) -> Tensor:
        """The way back."""
        return latents

    def stepping(self, on_step: Callable[[], None]) -> dict[str, Any]:
        """Arguments of `__call__` that report steps."""

        def after(pipe: Any, step: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
            on_step()
            return values

        return {"callback_on_step_end": after}

    def draw(
        self,
        given: Conditioning,
        empty: Conditioning,
        noise: Tensor,
        drawing: Drawing,
        on_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        self.check_drawing(drawing)
        self.pipe.scheduler = self.sampler(drawing)
        with self._without_encoders():
            latents = self.pipe(
                **self.call(
                    given.to(self.device, self.dtype),
                    empty.expanded(len(given)).to(self.device, self.dtype),
                    drawing,
                ),
                **self.stepping(on_step),
                latents=self.pack(noise.to(self.device, self.dtype)),
                generator=[_generator_of(sample) for sample in noise],
                num_inference_steps=drawing.steps,
                height=self.resolution,
                width=self.resolution,
                output_type="latent",
                return_dict=False,
            )[0]
        return self.unpack(latents)

    @contextmanager
    def _without_encoders(self) -> Iterator[None]:
        """The pipeline takes its device from its parts, and text encoders may be elsewhere."""
        held = {text.part: getattr(self.pipe, text.part) for text in self.texts}
        for part in held:
            setattr(self.pipe, part, None)
        try:
            yield
        finally:
            for part, module in held.items():
                setattr(self.pipe, part, module)


def pooled_call(given: Conditioning, empty: Conditioning) -> dict[str, Any]:
    """Arguments of a pipeline that takes states and pooled vectors."""
    return {
        "prompt_embeds": given.parts["states"],
        "pooled_prompt_embeds": given.parts["pooled"],
        "negative_prompt_embeds": empty.parts["states"],
        "negative_pooled_prompt_embeds": empty.parts["pooled"],
    }


def masked_call(given: Conditioning, empty: Conditioning) -> dict[str, Any]:
    """Arguments of a pipeline that takes states and their mask, and knows sizes that it is best at."""
    return {
        "negative_prompt": None,
        "prompt_embeds": given.parts["states"],
        "prompt_attention_mask": given.parts["mask"],
        "negative_prompt_embeds": empty.parts["states"],
        "negative_prompt_attention_mask": empty.parts["mask"],
        "use_resolution_binning": False,
    }


def first_half(predicted: Tensor, channels: int) -> Tensor:
    """The prediction alone, where a denoiser gives its variance behind it."""
    return predicted.chunk(2, 1)[0] if predicted.shape[1] == 2 * channels else predicted


def _generator_of(noise: Tensor) -> torch.Generator:
    """The random numbers of a sample's steps, which some schedulers ask for; its starting noise decides them.

    So they are a sample's own, in any batch.
    """
    return generator("steps", hashlib.sha256(noise.cpu().contiguous().numpy().tobytes()).hexdigest())


def flow_of(scheduler: Any, places: int) -> Flow:
    """The flow of a scheduler's configuration, shifted as it shifts its own steps.

    Args:
        places: how many tokens the denoiser makes of a latent; some schedulers shift by them.
    """
    config = scheduler.config
    if config.get("use_dynamic_shifting"):
        low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        mu = least + (most - least) * (places - low) / (high - low)
        return Flow(float(torch.tensor(mu).exp()))
    return Flow(float(config.get("flow_shift") or config.get("shift") or 1.0))


def pack_patches(latents: Tensor) -> Tensor:
    """(n, h/2 · w/2, 4 c) of latents (n, c, h, w): two by two places are one token."""
    n, c, h, w = latents.shape
    patches = latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(n, h // 2 * (w // 2), 4 * c)


def unpack_patches(tokens: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The way back to latents (n, c, h, w)."""
    c, h, w = shape
    patches = tokens.view(len(tokens), h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(len(tokens), c, h, w)


def on_device(times: Tensor, like: Tensor) -> Tensor:
    """Times (n,) where latents are, in fp32."""
    return times.to(like.device, torch.float32)
