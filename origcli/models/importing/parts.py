"""The parts of a pipeline directory: their classes, and their networks without and with weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from origcli.errors import InputError, ModelError
from origcli.models.importing.header import read_header
from origcli.models.loading import first_line, load_network, quiet_loading
from origcli.runtime.atomic import read_json
from origcli.weights.pipelines import INDEX, read_config

_LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")  # they change no sample


@dataclass(frozen=True)
class Index:
    """`model_index.json` of a pipeline.

    Attributes:
        kind: the name of the pipeline's class.
        networks: parts with weights, with the library and class of each.
        others: tokenizers and schedulers, likewise.
        flags: what else the pipeline is made with.
    """

    kind: str
    networks: dict[str, tuple[str, str]]
    others: dict[str, tuple[str, str]]
    flags: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As diffusers writes it, without the parts that are left out."""
        import diffusers

        flags = {**self.flags, "_class_name": self.kind, "_diffusers_version": diffusers.__version__}
        if self.kind == "StableDiffusionPipeline":
            flags |= {**{part: [None, None] for part in _LEFT_OUT}, "requires_safety_checker": False}
        return flags | {name: list(value) for name, value in {**self.networks, **self.others}.items()}


def read_index(directory: Path) -> Index:
    """Reads which parts a pipeline has. Only classes of diffusers and transformers are taken.

    Raises:
        ModelError: there is no index, it is damaged, or names a class of another library.
    """
    path = directory / INDEX
    if not path.is_file():
        raise ModelError(f"{directory}: not a pipeline directory: it has no {INDEX}")
    try:
        values = read_json(path)
    except InputError as error:
        raise ModelError(error.message) from error
    if not isinstance(values, dict) or not isinstance(values.get("_class_name"), str):
        raise ModelError(f"{path}: names no pipeline")
    networks: dict[str, tuple[str, str]] = {}
    others: dict[str, tuple[str, str]] = {}
    flags: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith("_") or name in _LEFT_OUT or value in (None, [None, None]):
            continue
        if not isinstance(value, list):
            flags[name] = value
            continue
        if len(value) != 2 or not all(isinstance(word, str) for word in value) or not name.isidentifier():
            raise ModelError(f"{path}: {name!r} names no class")
        kind = part_class(path, *value)
        (networks if issubclass(kind, nn.Module) else others)[name] = (value[0], value[1])
    if not networks or "scheduler" not in others:
        raise ModelError(f"{path}: names no {'scheduler' if networks else 'networks'}")
    return Index(values["_class_name"], networks, others, flags)


def part_class(where: Path, library: str, name: str) -> Any:
    """The class of a part.

    Raises:
        ModelError: it is no class for parts that diffusers or transformers has.
    """
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    kind = getattr(libraries.get(library), name, None)
    parts = (
        diffusers.ModelMixin,
        diffusers.SchedulerMixin,
        transformers.PreTrainedModel,
        transformers.PreTrainedTokenizerBase,
    )
    if not (isinstance(kind, type) and issubclass(kind, parts)):
        raise ModelError(f"{where}: names {library}.{name}, which is not a part of the installed libraries")
    return kind


def frame(directory: Path, part: str, library: str, name: str) -> nn.Module:
    """A part's network without weights, on the meta device, from its `config.json`.

    Raises:
        ModelError: the configuration is missing or damaged.
    """
    kind = part_class(directory, library, name)
    read_config(directory / part / "config.json")
    try:
        with quiet_loading(), torch.device("meta"):
            if library == "transformers":
                config = kind.config_class.from_pretrained(directory / part, local_files_only=True)
                network = kind(config)
            else:
                network = kind.from_config(kind.load_config(directory / part, local_files_only=True))
    except Exception as error:  # each library raises its own kinds for a damaged file
        raise ModelError(f"{directory / part}: cannot read the configuration: {first_line(error)}") from error
    return network.requires_grad_(False).eval()


def weight_files(directory: Path, variant: str | None) -> list[Path]:
    """The safetensors files of a part, of one variant."""
    tail = f".{variant}" if variant else ""
    names = ("diffusion_pytorch_model", "model")
    files = [path for name in names for path in directory.glob(f"{name}{tail}.safetensors")]
    return files or [path for name in names for path in sorted(directory.glob(f"{name}{tail}-*.safetensors"))]


def load(
    directory: Path, part: str, library: str, name: str, variant: str | None, dtype: torch.dtype | None
) -> nn.Module:
    """A part's network with its weights, which must fit exactly.

    Args:
        variant: `fp16` takes `*.fp16.safetensors`.
        dtype: of the weights; `None` keeps the stored type.

    Raises:
        ModelError: weights are missing, too many, damaged, or of another shape.
    """
    root = directory / part
    files = weight_files(root, variant)
    if not files:
        raise ModelError(f"{root}: has no safetensors weights")
    dtype = dtype or read_header(files[0]).dtype()
    kind = part_class(directory, library, name)
    network: nn.Module = load_network(kind, root, variant=variant, dtype=dtype)
    return network
