"""A text-to-image model held in memory, and its diffusers pipeline directory.

A directory is loaded component by component and strictly: safetensors alone, no missing and no
unexpected weights (diffusers would fill them with random numbers without an error).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from origcli.errors import ModelError, UsageError
from origcli.models.checkpoints import quiet_loading
from origcli.runtime.atomic import write_json
from origcli.runtime.context import Runtime
from origcli.runtime.device import memory_format
from origcli.runtime.footprint import PeakMemory
from origcli.runtime.network import no_network
from origcli.weights.hashing import check_pipeline
from origcli.weights.pipelines import Pipeline, pipeline_name

DEFAULT_GUIDANCE = 7.5  # StableDiffusionPipeline's


@dataclass(frozen=True)
class DiffusionModel:
    """A latent diffusion model, frozen and in evaluation mode.

    Attributes:
        name: what the user called it.
        source: where it was loaded from.
        weights_hash: sha256 over the names and bytes of everything that was loaded.
        vae, unet, text_encoder: the modules.
        tokenizer: of the text encoder; `model_max_length` is the padded length of a prompt.
        scheduler: carries the noise schedule; sampling makes its own from `scheduler.config`.
        guidance: the classifier-free guidance scale to draw with where none is asked for.
    """

    name: str
    source: str
    weights_hash: str
    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype
    guidance: float

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a latent."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return (self.unet.config.in_channels, height, width)

    @property
    def resolution(self) -> int:
        """Pixels across a picture."""
        return int(self.latent_shape[1] * 2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def scaling_factor(self) -> float:
        """Latents are the VAE's posterior samples times this."""
        return float(self.vae.config.scaling_factor)

    @property
    def prediction_type(self) -> str:
        """`epsilon` or `v_prediction`: what the UNet predicts."""
        return str(self.scheduler.config.prediction_type)

    @property
    def embedding_width(self) -> int:
        """d: the width of a token embedding."""
        return int(self.text_encoder.get_input_embeddings().weight.shape[1])

    @property
    def max_length(self) -> int:
        """Tokens in a padded prompt."""
        return int(self.tokenizer.model_max_length)

    @cached_property
    def forward_bytes(self) -> int:
        """Bytes that one sample takes on its way through the UNet, weights apart; it is run once to see."""
        latents = torch.zeros(1, *self.latent_shape, device=self.device, dtype=self.dtype)
        width = self.unet.config.cross_attention_dim
        states = torch.zeros(1, self.max_length, width, device=self.device, dtype=self.dtype)
        timestep = torch.zeros(1, device=self.device, dtype=torch.long)
        with torch.no_grad(), PeakMemory() as memory:
            memory.hold(self.unet)
            weights = memory.current
            self.unet(latents, timestep, encoder_hidden_states=states)
        return max(1, memory.peak - weights)


def load_pipeline(
    source: str | Path,
    runtime: Runtime,
    *,
    name: str | None = None,
    variant: str | None = None,
    guidance: float = DEFAULT_GUIDANCE,
    weights_hash: str | None = None,
    remedy: str = "fetch or train the model again",
) -> DiffusionModel:
    """Checks a pipeline directory and loads it onto the runtime's device, in its dtype, frozen.

    No network is asked, whatever the runtime allows: all files are in the directory, or it is an error.

    Args:
        source: a directory with `model_index.json`, as diffusers writes it.
        name: what to call it in reports; by default what `pipeline_name` calls the directory.
        guidance: the model's own guidance scale.
        variant: `fp16` takes `*.fp16.safetensors`.
        weights_hash: what `hash_pipeline` gave when the files were known to be whole.
        remedy: what to do where they have changed.

    Raises:
        ModelError: the directory, or a part of it, is missing, damaged, or not of a supported kind.
    """
    root = Path(source)
    pipeline, found_hash = check_pipeline(root, variant, weights_hash, remedy)
    with no_network(), quiet_loading():
        networks = _load_networks(root, pipeline, runtime.dtype, variant)
        tokenizer, scheduler = _load_tokenizer(root, pipeline), _load_scheduler(root, pipeline)
    _place(networks, runtime)
    return DiffusionModel(
        name=name or pipeline_name(root),
        source=str(root),
        weights_hash=found_hash,
        vae=networks["vae"],
        unet=networks["unet"],
        text_encoder=networks["text_encoder"],
        tokenizer=tokenizer,
        scheduler=scheduler,
        device=runtime.device,
        dtype=runtime.dtype,
        guidance=guidance,
    )


def _load_networks(
    root: Path, pipeline: Pipeline, dtype: torch.dtype, variant: str | None
) -> dict[str, nn.Module]:
    """VAE, UNet and text encoder."""
    import diffusers
    import transformers

    of_diffusers = {"torch_dtype": dtype, "variant": variant}
    vae, unet, encoder = (pipeline.classes[part] for part in ("vae", "unet", "text_encoder"))
    return {
        "vae": _load(getattr(diffusers, vae), root / "vae", of_diffusers),
        "unet": _load(getattr(diffusers, unet), root / "unet", of_diffusers),
        "text_encoder": _load(
            getattr(transformers, encoder), root / "text_encoder", {"dtype": dtype, "variant": variant}
        ),
    }


def _load(kind: Any, directory: Path, options: dict[str, Any]) -> Any:
    """`from_pretrained`, with anything but a complete and exact match an error."""
    try:
        module, info = kind.from_pretrained(
            directory, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    except Exception as error:  # each library raises its own kinds for a damaged file
        raise ModelError(
            f"{directory}: cannot load the weights: {_first_line(error)}", "fetch or train the model again"
        ) from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info.get(problem):
            first = sorted(map(str, info[problem]))[0]
            raise ModelError(f"{directory}: {len(info[problem])} {problem.replace('_', ' ')}, e.g. {first}")
    return module


def _load_tokenizer(root: Path, pipeline: Pipeline) -> Any:
    import transformers

    kind: Any = getattr(transformers, pipeline.classes["tokenizer"])
    try:
        return kind.from_pretrained(root / "tokenizer", local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ModelError(f"{root}: cannot load the tokenizer: {_first_line(error)}") from error


def _load_scheduler(root: Path, pipeline: Pipeline) -> Any:
    import diffusers

    kind: Any = getattr(diffusers, pipeline.classes["scheduler"])
    try:
        return kind.from_pretrained(root / "scheduler", local_files_only=True)
    except Exception as error:
        raise ModelError(f"{root}: cannot load the scheduler: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _place(networks: dict[str, nn.Module], runtime: Runtime) -> None:
    """Freezes the networks and moves them to the device, in the layout of memory that is fast there."""
    for module in networks.values():
        module.requires_grad_(False).eval().to(runtime.device)
    for part in ("vae", "unet"):
        networks[part].to(memory_format=memory_format(runtime.device))
    if runtime.compile:
        networks["unet"].compile()


def save_pipeline(
    directory: Path,
    *,
    vae: nn.Module,
    unet: nn.Module,
    text_encoder: nn.Module,
    tokenizer: Any,
    scheduler: Any,
) -> None:
    """Writes a directory that `DiffusionPipeline.from_pretrained` loads with no code of ours.

    Call it on a directory that nobody reads yet, and rename that: it writes many files.
    """
    from diffusers import StableDiffusionPipeline

    with quiet_loading():
        StableDiffusionPipeline(
            vae=vae,
            unet=unet,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(directory, safe_serialization=True)
    for part in ("vae", "unet"):
        forget_origin(directory / part)
    _load_as_fp32(directory / "text_encoder")


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


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (n, max_length), padded.

    Raises:
        UsageError: a prompt is longer than the text encoder holds; nothing is cut off.
    """
    length = tokenizer.model_max_length
    rows = tokenizer(list(prompts), truncation=False, verbose=False)["input_ids"]
    for prompt, row in zip(prompts, rows, strict=True):
        if len(row) > length:
            raise UsageError(
                f"a prompt of {len(row)} tokens is longer than the text encoder's {length}: {prompt[:80]!r}",
                "use fewer tokens, a shorter prompt or fewer elements a picture",
            )
    batch = tokenizer(list(prompts), padding="max_length", max_length=length, return_tensors="pt")
    return batch["input_ids"], batch["attention_mask"]


def text_states(text_encoder: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """States (n, L, d) that the UNet attends to, as StableDiffusionPipeline computes them.

    The mask counts only where the encoder's configuration sets `use_attention_mask`, in training
    and in drawing alike.
    """
    masked = getattr(text_encoder.config, "use_attention_mask", False)
    device = text_encoder.get_input_embeddings().weight.device
    mask = attention_mask.to(device) if masked else None
    if mask is not None and text_encoder.config.model_type == "bert":
        # In its final form already: from a flat one, transformers asks the device whether it is all ones.
        mask = mask[:, None, None, :].bool()  # (n, 1, 1, L)
    states: Tensor = text_encoder(input_ids.to(device), attention_mask=mask)[0]
    return states


@contextmanager
def embedding_override(text_encoder: Any, ids: Sequence[int] | Tensor, vectors: Tensor) -> Iterator[None]:
    """Input embeddings of some token ids come from `vectors` while the context is open.

    Args:
        text_encoder: CLIP's or BERT's; its vocabulary is neither read at these ids nor changed.
        ids: k distinct token ids, which may lie past the end of the vocabulary.
        vectors: (k, d), which may require a gradient.
    """
    table = text_encoder.get_input_embeddings()
    wanted = torch.as_tensor(ids, device=table.weight.device)
    chosen: list[Tensor] = []

    def hide(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        match = inputs[0].unsqueeze(-1) == wanted  # (n, L, k)
        chosen[:] = [match]
        return (inputs[0].masked_fill(match.any(-1), 0), *inputs[1:])

    def replace(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        match = chosen[0]
        # Looked up, not multiplied: TF32 would round a product, and 0 × NaN would spread a NaN.
        learned = vectors[match.int().argmax(-1)]  # (n, L, d)
        return torch.where(match.any(-1, keepdim=True), learned.to(output.dtype), output)

    handles = (table.register_forward_pre_hook(hide), table.register_forward_hook(replace))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
