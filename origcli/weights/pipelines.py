"""Which pipelines of diffusers can be opened, which files each must hold, and what is refused by name.

All of it is read from JSON and from names, before a weight is fetched, hashed or loaded; no torch. Libraries
fill what is missing with defaults of their own, so every part's files are required here by name.

Which classes can be opened is in `kinds.py`.
"""

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from origcli.errors import ModelError
from origcli.weights.kinds import DISTILLED_SCHEDULERS, KINDS, Kind

INDEX = "model_index.json"

# What a class of tokenizer reads its vocabulary from: all files of one of the groups.
VOCABULARIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "CLIPTokenizer": (("tokenizer.json",), ("vocab.json", "merges.txt")),
    "BertTokenizer": (("tokenizer.json",), ("vocab.txt",)),
    "T5Tokenizer": (("tokenizer.json",), ("spiece.model",)),
    "GemmaTokenizer": (("tokenizer.json",), ("tokenizer.model",)),
    "Qwen2Tokenizer": (("tokenizer.json",), ("vocab.json", "merges.txt")),
}
_PADDED = ("CLIPTokenizer", "BertTokenizer")  # to the length that they say themselves

_MAX_CONFIG_BYTES = 1 << 20
_MAX_PROMPT = 1 << 12  # tokens
_MAX_VOCABULARY_BYTES = 1 << 26  # Gemma's is 34 MB

# The largest numbers that a configuration may ask memory or time for; published models stay far below.
BOUNDS: dict[str, int] = {
    "attention_head_dim": 1 << 12,
    "block_out_channels": 1 << 14,
    "cross_attention_dim": 1 << 16,
    "hidden_size": 1 << 16,
    "in_channels": 1 << 10,
    "intermediate_size": 1 << 18,
    "latent_channels": 1 << 10,
    "layers_per_block": 64,
    "max_position_embeddings": 1 << 20,
    "num_attention_heads": 1 << 10,
    "num_hidden_layers": 512,
    "num_layers": 512,
    "num_train_timesteps": 10_000,
    "out_channels": 1 << 10,
    "sample_size": 1 << 13,
    "transformer_layers_per_block": 64,
    "vocab_size": 1 << 21,
}

_DISTILLED_WORDS = {
    "lcm": "LCM",
    "turbo": "Turbo",
    "lightning": "Lightning",
    "schnell": "schnell",
}
_OTHER_KINDS = (  # words in a class's name, the most telling first
    ("LatentConsistency", "a step-distilled model (LCM)"),
    ("Inpaint", "an inpainting model"),
    ("Upscale", "an upscaling model"),
    ("ControlNet", "a ControlNet, which needs more than a text as input"),
    ("Img2Img", "a pipeline that edits images"),
    ("Video", "a video model"),
    ("Kandinsky", "Kandinsky, whose denoiser never sees the text"),
    ("Cascade", "Stable Cascade"),
    ("Wuerstchen", "Würstchen"),
)


@dataclass(frozen=True)
class PartFiles:
    """The files of one part of a pipeline.

    Attributes:
        folder: below the pipeline's directory; empty for a model that is alone in its directory.
        needed: files that must be there.
        either: groups of files of which one must be there as a whole; empty where there is no choice.
        weights: name of the safetensors without its ending; empty where a part has none.
        padded: a tokenizer whose own `model_max_length` is the length that prompts are padded to.
    """

    folder: str
    needed: tuple[str, ...]
    either: tuple[tuple[str, ...], ...] = ()
    weights: str = ""
    padded: bool = False

    def patterns(self, variant: str | None) -> list[str]:
        """Globs of what is fetched: configurations, vocabularies, and the safetensors of one variant."""
        names = ["*.json", *(["*.txt", "*.model"] if self.folder else _flat(self.either))]
        if self.weights:
            tail = f".{variant}" if variant else ""
            names += [f"{self.weights}{tail}{shard}.safetensors" for shard in ("", "-?????-of-?????")]
            names += [f"{self.weights}.safetensors.index{tail}.json"]
        return [self._path(name) for name in names]

    def missing(self, names: Iterable[str], variant: str | None) -> str:
        """The first file that must be there and is not among `names`; empty where all are."""
        there = set(names)
        for name in self.needed:
            if self._path(name) not in there:
                return self._path(name)
        if self.either and not any(all(self._path(name) in there for name in group) for group in self.either):
            return self._path(self.either[0][0])
        return self._missing_weights(there, variant) if self.weights else ""

    def _missing_weights(self, there: set[str], variant: str | None) -> str:
        tail = f".{variant}" if variant else ""
        whole = self._path(f"{self.weights}{tail}.safetensors")
        index = self._path(f"{self.weights}.safetensors.index{tail}.json")
        shards = fnmatch.filter(there, self._path(f"{self.weights}{tail}-?????-of-?????.safetensors"))
        if whole in there or not shards:
            return "" if whole in there else whole
        if index not in there:
            return index
        count = shards[0].removesuffix(".safetensors")[-5:]
        number = int(count) if count.isdigit() else 0
        for k in range(1, number + 1):
            shard = self._path(f"{self.weights}{tail}-{k:05d}-of-{count}.safetensors")
            if shard not in there:
                return shard
        return "" if number else whole

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True)
class Pipeline:
    """A pipeline whose class is supported: the class and what each part is.

    Attributes:
        class_name: `_class_name` of its model_index.json.
        kind: what is known of the class.
        classes: part -> class.
        files: of each part.
        options: settings of the pipeline itself, from its index.
    """

    class_name: str
    kind: Kind
    classes: Mapping[str, str]
    files: tuple[PartFiles, ...]
    options: Mapping[str, bool]

    def patterns(self, variant: str | None) -> list[str]:
        """Globs of the files to fetch: no safety checker, no other formats."""
        return [INDEX, *(pattern for part in self.files for pattern in part.patterns(variant))]

    def missing(self, names: Sequence[str], variant: str | None) -> str:
        """The first file that must be there and is not; empty where all are."""
        return next(filter(None, (part.missing(names, variant) for part in self.files)), "")


def supported() -> str:
    """What can be opened, for the remedy of an error."""
    return f"supported are {', '.join(kind.title for kind in KINDS.values())}"


def read_index(where: str, path: Path) -> Pipeline:
    """What a model_index.json describes.

    Args:
        where: what to call the model in errors: its directory, or its id on the hub.
        path: the file.

    Raises:
        ModelError: it is missing, damaged, or not of a kind that can be opened; names the kind.
    """
    if not path.is_file():
        raise ModelError(
            f"{where}: not a pipeline directory: it has no {INDEX}", "give one that diffusers wrote"
        )
    index = _read_json(path)
    class_name = index.get("_class_name")
    if not isinstance(class_name, str):
        raise ModelError(
            f"{where}: {INDEX} names no class of pipeline", "give a directory that diffusers wrote"
        )
    kind = KINDS.get(class_name)
    if kind is None:
        what = next(
            (what for word, what in _OTHER_KINDS if word in class_name), "not a kind that is measured here"
        )
        raise ModelError(f"{where}: {class_name}: {what}", supported())
    absent = {part for part in kind.optional if index.get(part) in (None, [None, None])}
    classes = {
        part: _class_of(where, index, part, allowed)
        for part, allowed in kind.parts.items()
        if part not in absent
    }
    refuse_distilled_names(where, where, index.get("_name_or_path"))
    files = tuple(part_files(*item) for item in classes.items())
    options = {name: index[name] for name in kind.options if isinstance(index.get(name), bool)}
    return Pipeline(class_name, kind, classes, files, options)


def pipeline_name(directory: Path) -> str:
    """What a pipeline directory is called: its own name, or its parent's where that is `pipeline`.

    Trainings write `NAME/pipeline`, and reports of several models could not tell these apart.
    """
    whole = directory.resolve()
    return whole.parent.name if whole.name == "pipeline" and whole.parent.name else whole.name


def part_files(folder: str, class_name: str) -> PartFiles:
    """The files that a part of a class must have."""
    if class_name.endswith("Scheduler"):
        return PartFiles(folder, ("scheduler_config.json",))
    plain = class_name.removesuffix("Fast")
    if plain in VOCABULARIES:
        return PartFiles(folder, ("tokenizer_config.json",), VOCABULARIES[plain], padded=plain in _PADDED)
    of_diffusers = class_name.startswith("Autoencoder") or class_name.endswith(("ConditionModel", "2DModel"))
    return PartFiles(folder, ("config.json",), weights="diffusion_pytorch_model" if of_diffusers else "model")


def check_files(where: str, root: Path, pipeline: Pipeline, variant: str | None) -> None:
    """Makes sure that a directory holds every file that its parts are made of, and that these are usable.

    Reads configurations, lists of shards and the headers of weight files; no weights.

    Raises:
        ModelError: names the file that is missing or cut short, or what its configuration asks for.
    """
    for part in pipeline.files:
        check_part(root, part, variant)
    check_configs(where, root, pipeline)
    for part in pipeline.files:
        for path in _weight_files(root / part.folder, part, variant):
            _check_header(path)


def check_part(root: Path, part: PartFiles, variant: str | None = None) -> None:
    """Makes sure that the files of a part are there, that they lead to no others, and how large they are.

    Args:
        root: the directory that the part's folder is in.

    Raises:
        ModelError: says which file, and what is wrong with it.
    """
    directory = root / part.folder
    names = [path.relative_to(root).as_posix() for path in directory.glob("*") if path.is_file()]
    if missing := part.missing(names, variant):
        raise ModelError(
            f"{root / missing}: missing", "download or copy the model again; every part needs its files"
        )
    if (directory / "adapter_config.json").exists():
        raise ModelError(
            f"{directory}: holds an adapter (adapter_config.json), whose weights lie elsewhere",
            "merge the adapter into the model and save that",
        )
    if part.weights:
        _check_shards(directory, part.weights, variant)
    _read_config(directory, part)


def local_variant(root: Path, pipeline: Pipeline) -> str | None:
    """`fp16` where a directory has no other weights."""
    folders = [root / part.folder for part in pipeline.files]
    names = [path.relative_to(root).as_posix() for folder in folders for path in folder.glob("*")]
    return "fp16" if pipeline.missing(names, None) and not pipeline.missing(names, "fp16") else None


def check_configs(where: str, root: Path, pipeline: Pipeline) -> None:
    """Refuses models by what their parts' configurations say.

    Raises:
        ModelError: a configuration is damaged, asks for memory without bound, or is of another kind of model.
    """
    configs = {part.folder: _read_config(root / part.folder, part) for part in pipeline.files}
    for part in pipeline.files:
        config = configs[part.folder]
        refuse_distilled_names(where, config.get("_name_or_path"))
        if part.padded:
            _check_length(root / part.folder / part.needed[0], config.get("model_max_length"))
    if problem := pipeline.kind.problem(configs):
        raise ModelError(f"{where}: {problem}", supported())


def _check_length(path: Path, length: Any) -> None:
    """Whether a tokenizer says a length that prompts can be padded to."""
    if not isinstance(length, int):
        raise ModelError(f"{path}: says no model_max_length", "it is the length that prompts are padded to")
    if not 0 < length <= _MAX_PROMPT:
        raise ModelError(f"{path}: model_max_length is {length:.4g}; at most {_MAX_PROMPT:,} is read here")


def refuse_distilled_names(where: str, *names: object) -> None:
    """Refuses models that are distilled to few steps and say so in a name of theirs.

    Such a model has no training loss that tokens could be learned with, and its name may be all that tells.

    Raises:
        ModelError: says which.
    """
    for name in names:
        words = re.split(r"[^a-z]+", PurePosixPath(name).name.lower()) if isinstance(name, str) else []
        for word in words:
            if word in _DISTILLED_WORDS:
                raise ModelError(
                    f"{where}: a step-distilled model ({_DISTILLED_WORDS[word]}), by its name {name!r}",
                    f"{supported()}; if it is not distilled, give it in a directory of another name",
                )


def _class_of(where: str, index: Mapping[str, Any], part: str, allowed: Sequence[str]) -> str:
    entry = index.get(part)
    if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(name, str) for name in entry)):
        raise ModelError(f"{where}: {INDEX} names no {part}", "download or copy the model again")
    kind = str(entry[1])
    if kind in DISTILLED_SCHEDULERS:
        raise ModelError(
            f"{where}: a step-distilled model ({DISTILLED_SCHEDULERS[kind]}): {kind}", supported()
        )
    if kind not in allowed:
        raise ModelError(
            f"{where}: its {part.replace('_', ' ')} is a {kind}", f"supported are {', '.join(allowed)}"
        )
    return kind


def _check_shards(directory: Path, stem: str, variant: str | None) -> None:
    """The list of a sharded weight file may name files beside it alone: the model's hash holds no others."""
    tail = f".{variant}" if variant else ""
    path = directory / f"{stem}.safetensors.index{tail}.json"
    if not path.is_file():
        return
    listed = _read_json(path, _MAX_VOCABULARY_BYTES).get("weight_map")
    names = set(listed.values()) if isinstance(listed, dict) and _are_texts(listed.values()) else set()
    wanted = f"{stem}{tail}-?????-of-?????.safetensors"
    for name in sorted(names):
        if not fnmatch.fnmatchcase(name, wanted) or "/" in name or not (directory / name).is_file():
            raise ModelError(
                f"{path}: names {name!r}, which is not one of this part's files", "download the model again"
            )
    if not names:
        raise ModelError(f"{path}: lists no weights", "download the model again")


def _weight_files(directory: Path, part: PartFiles, variant: str | None) -> list[Path]:
    tail = f".{variant}" if variant else ""
    whole = directory / f"{part.weights}{tail}.safetensors"
    if not part.weights or whole.is_file():
        return [whole] if part.weights else []
    return sorted(directory.glob(f"{part.weights}{tail}-?????-of-?????.safetensors"))


def _check_header(path: Path) -> None:
    """Whether a safetensors file is as long as its header says: one that is cut short is found at once."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: damaged: {error}", "download or copy the model again") from error


def read_config(path: Path) -> dict[str, Any]:
    """A part's configuration, in which no number asks for memory without bound.

    Raises:
        ModelError: it is damaged, or one does.
    """
    config = _read_json(path)
    for key, bound in BOUNDS.items():
        for value in _items(config.get(key)):
            if not isinstance(value, int | float | None):
                raise ModelError(f"{path}: {key} is {str(value)[:80]!r}, which is no number")
            if value is not None and not -bound <= value <= bound:
                raise ModelError(f"{path}: {key} is {value:.4g}; at most {bound:,} is read here")
    return config


def _read_config(directory: Path, part: PartFiles) -> dict[str, Any]:
    path = directory / part.needed[0]
    config = read_config(path)
    for group in part.either:
        for name in group:
            if (directory / name).is_file() and (directory / name).stat().st_size > _MAX_VOCABULARY_BYTES:
                raise ModelError(f"{directory / name}: too large for a vocabulary")
    return config


def _read_json(path: Path, most: int = _MAX_CONFIG_BYTES) -> dict[str, Any]:
    try:
        if path.stat().st_size > most:
            raise ModelError(f"{path}: too large to be a configuration")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}", "download or copy the model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: not a JSON object", "download or copy the model again")
    return value


def _items(value: Any) -> list[Any]:
    """The value, or all that is in a list of lists."""
    return [item for part in value for item in _items(part)] if isinstance(value, list) else [value]


def _flat(groups: Iterable[Sequence[str]]) -> list[str]:
    return [name for group in groups for name in group]


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)
