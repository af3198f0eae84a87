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
from origcli.runtime.context import Runtime
from origcli.runtime.device import memory_format
from origcli.runtime.footprint import PeakMemory
from origcli.runtime.run_directory import write_json
from origcli.weights.hashing import COMPONENTS, hash_pipeline

DEFAULT_GUIDANCE = 7.5  # StableDiffusionPipeline's
TEXT_ENCODERS = ("CLIPTextModel", "BertModel")
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "BertTokenizer", "BertTokenizerFast")


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
) -> DiffusionModel:
    """Loads a pipeline directory onto the runtime's device, in its dtype, frozen.

    Args:
        source: a directory with `model_index.json`, as diffusers writes it.
        name: what to call it in reports; the directory's name by default.
        guidance: the model's own guidance scale.
        variant: `fp16` takes `*.fp16.safetensors`.
        weights_hash: what `hash_pipeline` gave when the files were known to be whole.

    Raises:
        ModelError: the directory, or a part of it, is missing, damaged, or not of a supported kind.
    """
    import diffusers
    import transformers

    root = Path(source)
    index = _read_index(root)
    found_hash = hash_pipeline(root, variant)
    if weights_hash not in (None, found_hash):
        raise ModelError(
            f"{root}: damaged: its files are not those that were fetched or published",
            "fetch the model again, or remove weights_hash from its registry.json if you changed it",
        )
    encoder_class = index["text_encoder"][1]
    for part, supported in (("text_encoder", TEXT_ENCODERS), ("tokenizer", TOKENIZERS)):
        if index[part][1] not in supported:
            raise ModelError(
                f"{root}: the {part.replace('_', ' ')} is a {index[part][1]}",
                f"supported are {', '.join(supported)}",
            )
    if not index["scheduler"][1].endswith("Scheduler"):
        raise ModelError(f"{root}: the scheduler is a {index['scheduler'][1]}")
    options = {"torch_dtype": runtime.dtype, "variant": variant}
    with quiet_loading():
        vae = _load(diffusers.AutoencoderKL, root / "vae", options)
        unet = _load(diffusers.UNet2DConditionModel, root / "unet", options)
        encoder = _load(
            getattr(transformers, encoder_class),
            root / "text_encoder",
            {"dtype": runtime.dtype, "variant": variant},
        )
        try:
            tokenizer = getattr(transformers, index["tokenizer"][1]).from_pretrained(
                root / "tokenizer", local_files_only=True, trust_remote_code=False
            )
            scheduler = getattr(diffusers, index["scheduler"][1]).from_pretrained(root / "scheduler")
        except Exception as error:  # each library raises its own kinds for a damaged file
            raise ModelError(f"{root}: cannot load the tokenizer or scheduler: {error}") from error
    _check_kind(root, vae, unet, encoder, scheduler)
    for module in (vae, unet, encoder):
        module.requires_grad_(False).eval().to(runtime.device)
    for module in (vae, unet):
        module.to(memory_format=memory_format(runtime.device))
    if runtime.compile:
        unet.compile()
    return DiffusionModel(
        name=name or root.name,
        source=str(root),
        weights_hash=found_hash,
        vae=vae,
        unet=unet,
        text_encoder=encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        device=runtime.device,
        dtype=runtime.dtype,
        guidance=guidance,
    )


def _read_index(root: Path) -> dict[str, Any]:
    path = root / "model_index.json"
    if not path.is_file():
        raise ModelError(f"{root}: not a pipeline directory: it has no model_index.json")
    try:
        index = json.loads(path.read_bytes())
        missing = [part for part in COMPONENTS if not _is_named(index.get(part))]
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from error
    if missing:
        raise ModelError(f"{root}: model_index.json names no {', '.join(missing)}")
    return dict(index)


def _is_named(entry: Any) -> bool:
    """Whether an entry of the index is [library, class]."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(name, str) for name in entry)


def _load(kind: Any, directory: Path, options: dict[str, Any]) -> Any:
    """`from_pretrained`, with anything but a complete and exact match an error."""
    if not directory.is_dir():
        raise ModelError(f"{directory}: missing")
    try:
        module, info = kind.from_pretrained(
            directory, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    except Exception as error:  # each library raises its own kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{directory}: cannot load the weights: {reason}", "fetch or train the model again"
        ) from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info.get(problem):
            first = sorted(map(str, info[problem]))[0]
            raise ModelError(f"{directory}: {len(info[problem])} {problem.replace('_', ' ')}, e.g. {first}")
    return module


def _check_kind(root: Path, vae: Any, unet: Any, encoder: Any, scheduler: Any) -> None:
    """Refuses parts that load, but are not of a model that draws from a text's states alone.

    Raises:
        ModelError: says which.
    """
    config, latents = unet.config, vae.config.latent_channels
    taken, given = config.encoder_hid_dim or config.cross_attention_dim, encoder.config.hidden_size
    problem = ""
    if (config.in_channels, config.out_channels) != (latents, latents):
        problem = (
            f"its UNet makes {config.out_channels} channels of {config.in_channels}, its VAE has {latents}"
        )
    elif extra := config.addition_embed_type or config.class_embed_type:
        problem = f"its UNet wants more than a text's states: {extra}"
    elif taken != given:
        problem = f"its UNet attends to states {taken} wide, its text encoder gives {given}"
    elif "prediction_type" not in scheduler.config:
        problem = f"its scheduler is a {type(scheduler).__name__}"
    if problem:
        raise ModelError(
            f"{root}: not a model of Stable Diffusion's shape: {problem}",
            "supported are Stable Diffusion 1.x, 2.x and their kin; not XL, inpainting, upscaling or flow",
        )


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
