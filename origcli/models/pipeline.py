"""A text-to-image model held in memory, and its diffusers pipeline directory.

A directory is loaded component by component and strictly: safetensors alone, no missing and no
unexpected weights (diffusers would fill them with random numbers without an error).
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from origcli.errors import ModelError, OrigError
from origcli.models.conditioning import Conditioning
from origcli.models.families.family import Drawing, Family
from origcli.models.families.known import FAMILIES
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.loading import first_line, load_network, quiet_loading
from origcli.models.noising import Noising
from origcli.models.words import Words
from origcli.runtime.atomic import write_json
from origcli.runtime.context import Runtime
from origcli.runtime.device import memory_format
from origcli.runtime.footprint import PeakMemory
from origcli.runtime.network import no_network
from origcli.settings import DrawSettings
from origcli.weights.hashing import check_pipeline
from origcli.weights.pipelines import Pipeline, pipeline_name

REMEDY = "download or train the model again"


@dataclass(frozen=True)
class DiffusionModel:
    """A latent diffusion model, frozen and in evaluation mode.

    Attributes:
        name: what the user called it.
        source: where it was loaded from.
        weights_hash: sha256 over the names and bytes of everything that was loaded.
        family: its parts, and how they work together.
        guidance: the guidance scale to draw with where none is asked for.
    """

    name: str
    source: str
    weights_hash: str
    family: Family
    device: torch.device
    dtype: torch.dtype
    guidance: float

    @property
    def title(self) -> str:
        """The model for people: its name, and its family where that is not Stable Diffusion."""
        own = isinstance(self.family, StableDiffusion)
        return self.name if own else f"{self.name} ({self.family.title})"

    @property
    def vae(self) -> Any:
        """The autoencoder."""
        return self.family.vae

    @property
    def denoiser(self) -> Any:
        """The UNet or transformer."""
        return self.family.denoiser

    @property
    def scheduler(self) -> Any:
        """Carries the noise schedule; sampling makes its own from `scheduler.config`."""
        return self.family.scheduler

    @property
    def words(self) -> Words:
        """The text encoders, and the placeholder tokens in their prompts."""
        return self.family.words

    @property
    def noising(self) -> Noising:
        """What the denoiser was trained to undo."""
        return self.family.noising

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a latent."""
        return self.family.latent_shape

    @property
    def resolution(self) -> int:
        """Pixels across an image."""
        return self.family.resolution

    @cached_property
    def unconditional(self) -> Conditioning:
        """What guidance leads away from, of one prompt."""
        # Kept, and so no tensor of inference mode, which could be in no graph later.
        with torch.inference_mode(False), torch.no_grad():
            return self.family.unconditional()

    def drawing(self, settings: DrawSettings) -> Drawing:
        """How to draw: as the settings ask, and where they do not, as the model is best drawn with.

        Raises:
            UsageError: the model cannot draw so.
        """
        settled = self.family.settled(settings)
        assert settled.steps != "auto"
        drawing = Drawing(
            steps=settled.steps,
            guidance=self.guidance if settings.guidance is None else settings.guidance,
            scheduler=settled.scheduler,
        )
        self.family.check_drawing(drawing)
        return drawing

    @cached_property
    def forward_bytes(self) -> int:
        """Bytes that one sample takes on its way through the denoiser, beside the weights."""
        latents = torch.zeros(1, *self.latent_shape, device=self.device, dtype=self.dtype)
        given = self.unconditional.to(self.device, self.dtype)
        times = self.noising.times(torch.zeros(1))
        with torch.no_grad(), PeakMemory() as memory:
            memory.hold(self.denoiser)
            weights = memory.current
            self.family.predict(latents, times, given)
        return max(1, memory.peak - weights)


def load_pipeline(
    source: str | Path,
    runtime: Runtime,
    *,
    name: str | None = None,
    variant: str | None = None,
    guidance: float | None = None,
    resolution: int | None = None,
    weights_hash: str | None = None,
    remedy: str = REMEDY,
) -> DiffusionModel:
    """Checks a pipeline directory and loads it onto the runtime's device, in its dtype, frozen.

    No network is asked, whatever the runtime allows: all files are in the directory, or it is an error.

    Args:
        source: a directory with `model_index.json`, as diffusers writes it.
        name: what to call it in reports; by default what `pipeline_name` calls the directory.
        guidance: the model's own guidance scale; its family's where none is given.
        resolution: pixels across an image; the pipeline's own where none is given.
        variant: `fp16` takes `*.fp16.safetensors`.
        weights_hash: what `hash_pipeline` gave when the files were known to be whole.
        remedy: what to do where they have changed.

    Raises:
        ModelError: the directory, or a part of it, is missing, damaged, or not of a supported kind.
    """
    root = Path(source)
    pipeline, found_hash = check_pipeline(root, variant, weights_hash, remedy)
    with no_network(), quiet_loading():
        parts = {part: _load_part(root, pipeline, part, runtime.dtype, variant) for part in pipeline.classes}
        _place({name: part for name, part in parts.items() if isinstance(part, nn.Module)}, runtime)
        try:
            family = FAMILIES[pipeline.class_name](parts, pipeline.options, resolution)
        except OrigError as problem:
            raise ModelError(f"{root}: {problem.message}", problem.hint) from problem
    return DiffusionModel(
        name=name or pipeline_name(root),
        source=str(root),
        weights_hash=found_hash,
        family=family,
        device=runtime.device,
        dtype=runtime.dtype,
        guidance=family.defaults.guidance if guidance is None else guidance,
    )


def _load_part(root: Path, pipeline: Pipeline, part: str, dtype: torch.dtype, variant: str | None) -> Any:
    """A network, a tokenizer or the scheduler."""
    import diffusers
    import transformers

    name = pipeline.classes[part]
    if part.startswith("tokenizer"):
        return _load_words(getattr(transformers, name), root / part)
    if part == "scheduler":
        return _load_scheduler(getattr(diffusers, name), root / part)
    kind = getattr(transformers if part.startswith("text_encoder") else diffusers, name)
    return load_network(kind, root / part, variant=variant, dtype=dtype, remedy=REMEDY)


def _load_words(kind: Any, directory: Path) -> Any:
    try:
        return kind.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"{directory.parent}: cannot load the {directory.name}: {first_line(error)}"
        ) from error


def _load_scheduler(kind: Any, directory: Path) -> Any:
    try:
        return kind.from_pretrained(directory, local_files_only=True)
    except Exception as error:
        raise ModelError(f"{directory.parent}: cannot load the scheduler: {first_line(error)}") from error


def _place(networks: dict[str, nn.Module], runtime: Runtime) -> None:
    """Freezes the networks and moves them to the device, convolutions in the layout that is fast there."""
    for module in networks.values():
        module.requires_grad_(False).eval().to(runtime.device)
    for part in ("vae", "unet"):
        if part in networks:
            networks[part].to(memory_format=_layout(networks[part], runtime.device))
    if runtime.compile:
        networks["unet" if "unet" in networks else "transformer"].compile()


def _layout(module: nn.Module, device: torch.device) -> torch.memory_format:
    """Only images have a layout of channels last: the weights of videos have an axis more."""
    flat = all(parameter.ndim <= 4 for parameter in module.parameters())
    return memory_format(device) if flat else torch.contiguous_format


def save_pipeline(directory: Path, **parts: Any) -> None:
    """Writes a directory that diffusers loads with no code of ours.

    Call it on a directory that nobody reads yet, and rename that: it writes many files.

    Args:
        parts: of a Stable Diffusion pipeline, without its checker, or of a Stable Diffusion 3 pipeline, with
            T5 or without.
    """
    import diffusers

    if "unet" in parts:
        kind = diffusers.StableDiffusionPipeline
        absent = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    else:
        kind = diffusers.StableDiffusion3Pipeline
        absent = {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = kind(**{**absent, **parts})
    with quiet_loading():
        pipeline.save_pretrained(directory, safe_serialization=True)
    for part, module in parts.items():
        if part.startswith("text_encoder"):
            _load_as_fp32(directory / part)
        elif isinstance(module, nn.Module):
            forget_origin(directory / part)


def _load_as_fp32(directory: Path) -> None:
    """Says in a text encoder's configuration that it is loaded as fp32, however its weights are stored.

    diffusers loads the other parts so, and transformers the dtype that it finds here: the two must agree.
    """
    path = directory / "config.json"
    write_json(path, {**json.loads(path.read_bytes()), "dtype": "float32"})


def forget_origin(directory: Path) -> None:
    """Takes out of a part's configuration where its weights were loaded from.

    That is no part of the model, and would change its hash.
    """
    path = directory / "config.json"
    config = json.loads(path.read_bytes())
    config.pop("_name_or_path", None)
    write_json(path, config)
