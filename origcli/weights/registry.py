"""The models that have a name, and how a name, a directory or a hub id becomes a directory on this disk.

A pipeline directory may carry `registry.json`: what was measured about the model once and would be wrong to
guess (the ends of the scale, limits, a threshold and how it was obtained), and what it is best drawn with.
"""

import difflib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from origcli.errors import InputError, ModelError, UsageError
from origcli.reports.score import Landmarks
from origcli.runtime.atomic import read_json, write_json
from origcli.runtime.paths import from_here, path_text
from origcli.weights import hub
from origcli.weights.pipelines import (
    INDEX,
    PartFiles,
    local_variant,
    part_files,
    pipeline_name,
    read_index,
    refuse_distilled_names,
)
from origcli.weights.repository import HubModel

if TYPE_CHECKING:
    import torch

    from origcli.runtime.context import Runtime

REGISTRY_FILE = "registry.json"
DETECTOR = "detector"
BUNDLED = "shapes"
AUTO = "auto"

_WEIGHT_ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


def _files(model: str, tokenizer: str, *others: str) -> PartFiles:
    """The files of a model and its tokenizer that share a directory."""
    own, words = part_files("", model), part_files("", tokenizer)
    return PartFiles("", (*own.needed, *words.needed, *others), words.either, own.weights)


_RAIL = "CreativeML Open RAIL-M"
_STABILITY = "Stability AI Community License"

# Commits, not branches: what was fetched once is what is fetched again.
HUB_MODELS = {
    model.name: model
    for model in (
        HubModel(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            name="sd15",
            license=_RAIL,
            gigabytes=4.3,
        ),
        HubModel(
            "CompVis/stable-diffusion-v1-4",
            "133a221b8aa7292a167afc5127cb63fb5005638b",
            name="sd14",
            license=_RAIL,
            gigabytes=4.3,
        ),
        HubModel(
            "stabilityai/stable-diffusion-xl-base-1.0",
            "462165984030d82259a11f4367a4eed129e94a7b",
            name="sdxl",
            license="CreativeML Open RAIL++-M",
            gigabytes=13.9,
        ),
        HubModel(
            "stabilityai/stable-diffusion-3.5-medium",
            "b940f670f0eda2d07fbb75229e779da1ad11eb80",
            name="sd35-medium",
            license=_STABILITY,
            gigabytes=16.3,
            gated=True,
        ),
        HubModel(
            "stabilityai/stable-diffusion-3.5-large",
            "ceddf0a7fdf2064ea28e2213e3b84e4afa170a0f",
            name="sd35-large",
            license=_STABILITY,
            gigabytes=27.6,
            gated=True,
        ),
        HubModel(
            "black-forest-labs/FLUX.1-dev",
            "3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
            name="flux-dev",
            license="FLUX.1 [dev] Non-Commercial License",
            gigabytes=33.7,
            gated=True,
        ),
        HubModel(
            "PixArt-alpha/PixArt-XL-2-1024-MS",
            "b89adadeccd9ead2adcb9fa2825d3fabec48d404",
            name="pixart-alpha",
            license="CreativeML Open RAIL++-M",
            gigabytes=21.8,
        ),
        HubModel(
            "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
            "e102b3591cc82e97071b8b4cb90d834d0c487207",
            name="pixart-sigma",
            license="CreativeML Open RAIL++-M",
            gigabytes=21.8,
        ),
        HubModel(
            "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
            "d1b54936033cd7d45410ecadd692c5c502a19a38",
            name="sana",
            license="see its page; its text encoder is under the Gemma Terms of Use",
            gigabytes=12.9,
        ),
        HubModel(
            "Tongyi-MAI/Z-Image",
            "04cc4abb7c5069926f75c9bfde9ef43d49423021",
            name="z-image",
            license="Apache-2.0",
            gigabytes=32.8,
        ),
        HubModel(
            "Qwen/Qwen-Image",
            "75e0b4be04f60ec59a75f475837eced720f823b6",
            name="qwen-image",
            license="Apache-2.0",
            gigabytes=57.7,
        ),
    )
}
COMPANIONS = {
    "bert": HubModel(
        "google-bert/bert-base-uncased",
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        name="bert",
        files=_files("BertModel", "BertTokenizer"),
    ),
}
# Both towers: for the test of editability, and the metric of its name.
CLIP = HubModel(
    "openai/clip-vit-large-patch14",
    "32bd64288804d66eefd0ccbe215aa642df71cc41",
    name="clip",
    files=_files("CLIPModel", "CLIPTokenizer", "preprocessor_config.json"),
)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Calibration(_Record):
    """Constants of one model, metric and way of sampling. They hold for these alone.

    Attributes:
        metric, metric_version: the distance that they are in.
        weights_hash: of the pipeline that they were measured on.
        draw: scheduler, steps, guidance … that they were measured with.
        ceiling: mean distance over all pairs of `ceiling_images` drawn from the empty prompt.
        threshold: at most this far is a redrawing; `None` where none was calibrated.
        threshold_how: the procedure that gave it.
        control_images, control_within: positive control: samples learned, and brought back by one token.
        landmarks: originality of kinds of images that it is known to know well or not.
        learned: number of tokens, prompt and learning budget that the landmarks hold for.
    """

    metric: str
    metric_version: str
    weights_hash: str
    draw: dict[str, JsonValue]
    ceiling: float = Field(gt=0)
    ceiling_images: int = Field(ge=2)
    threshold: float | None = None
    threshold_how: str = ""
    control_images: int | None = None
    control_within: int | None = None
    landmarks: Landmarks | None = None
    learned: dict[str, JsonValue] = Field(default_factory=dict)


class RegistryValues(_Record):
    """What `registry.json` holds.

    Attributes:
        metric: default distance; `None` where the one is that fits models of its kind.
        guidance: default guidance scale; the family's own where there is none.
        resolution: pixels across an image; the pipeline's own where there is none.
        weights_hash: of the pipeline; a model whose files have another is damaged.
        psnr_limit: dB; an image whose VAE round trip is below is out of domain.
        psnr_how: how the limit was obtained.
        scales: one a metric and way of sampling.
    """

    schema_id: Literal["origcli/registry/1"] = Field(default="origcli/registry/1", alias="schema")
    metric: str | None = None
    guidance: float | None = Field(default=None, ge=0)
    resolution: int | None = Field(default=None, ge=8)
    weights_hash: str | None = None
    psnr_limit: float | None = None
    psnr_how: str = ""
    scales: tuple[Calibration, ...] = ()


@dataclass(frozen=True)
class ModelEntry:
    """A model that is on this disk and what is known about it.

    Attributes:
        name: what the user called it, or what `auto` chose.
        source: where it comes from: `package`, `hub:ID@COMMIT` or the directory.
        path: the pipeline directory.
        variant: of its weight files, `fp16` or `None`.
        detector: directory of its detector, for shapes-world models.
        weights_hash: what `hash_pipeline` has to give, where it is known; else the files are damaged.
        note: what has to be told with the results, e.g. what `auto` chose.
    """

    name: str
    source: str
    path: Path
    variant: str | None
    values: RegistryValues
    detector: Path | None
    weights_hash: str | None = None
    note: str = ""

    @property
    def remedy(self) -> str:
        """What to do where its files are not what they were."""
        if self.source == "package":
            return "install origcli again"
        if self.source.startswith("hub:"):
            return f"origcli fetch {self.name}"
        return f"copy or train it again, or remove weights_hash from its {REGISTRY_FILE} if you changed it"

    @property
    def metric(self) -> str | None:
        """The default distance, where one is kept with the model."""
        return self.values.metric

    @property
    def guidance(self) -> float | None:
        """The default guidance scale; `None` is the family's own."""
        return self.values.guidance

    @property
    def psnr_limit(self) -> float | None:
        """dB; an image whose VAE round trip is below is out of domain."""
        return self.values.psnr_limit

    @property
    def scales(self) -> tuple[Calibration, ...]:
        """What was calibrated."""
        return self.values.scales


def bundled_directory() -> Path:
    """The pipeline directory in the package."""
    return Path(str(resources.files("origcli.assets").joinpath(BUNDLED)))


def weights_directory(name: str) -> Path:
    """A directory of weights by its path, or the bundled pipeline's by its name."""
    return bundled_directory() if name == BUNDLED else Path(name)


def name_of(weights: Path) -> str:
    """A directory of weights as reports name it: `shapes`, or its path from the working directory."""
    return BUNDLED if weights == bundled_directory() else path_text(from_here(weights))


def read_registry(directory: Path) -> RegistryValues:
    """The registry values beside a pipeline; where there are none, the defaults.

    Raises:
        ModelError: the file is damaged.
    """
    path = directory / REGISTRY_FILE
    if not path.is_file():
        return RegistryValues()
    try:
        return RegistryValues.model_validate(read_json(path))
    except InputError as error:
        raise ModelError(error.message) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(
            f"{path}: {where}: {first['msg']}", "write it again with origcli calibrate"
        ) from error


def write_registry(directory: Path, values: RegistryValues) -> None:
    """Writes `registry.json` beside a pipeline."""
    write_json(directory / REGISTRY_FILE, values.model_dump(mode="json", by_alias=True))


def resolve(name: str, runtime: "Runtime") -> ModelEntry:
    """Finds a model, and fetches it where that is needed and allowed.

    Args:
        name: `auto`, a registered name, a pipeline directory, or a hub id. A hub id, `sd15` and `sd14` may
            end in `@REVISION`: a commit, tag or branch.

    Raises:
        UsageError: not a name of any kind.
        ModelError: it is not there and cannot be fetched. Never is another model taken instead.
    """
    if name == AUTO:
        return _choose(runtime)
    if name == BUNDLED:
        return _local(BUNDLED, bundled_directory(), "package")
    if name and Path(name).is_dir():
        return _local(pipeline_name(Path(name)), Path(name), name)
    base, _, revision = name.partition("@")
    if looks_like_path(name):
        raise _no_directory(name)
    return _from_hub(name, hub_model(base, revision), runtime)


def looks_like_path(name: str) -> bool:
    """Whether a name is meant as a path: it starts as one, it is a file or ends as one, or its first part is
    a directory here. `OWNER/NAME@REVISION` is always a hub id.
    """
    first, slash, _ = name.partition("/")
    if name.startswith(("/", "./", "~")) or name in (".", ".."):
        return True
    if name.endswith(_WEIGHT_ENDINGS) or (name and Path(name).exists()):
        return True
    return bool(slash and first not in ("", "..")) and "@" not in name and Path(first).is_dir()


def _no_directory(name: str) -> ModelError:
    """The error about a path that is no pipeline directory."""
    if Path(name).is_file() or name.endswith(_WEIGHT_ENDINGS):
        missing = "" if Path(name).exists() else ", and there is none of this name"
        return ModelError(
            f"{name}: a single file is not a pipeline directory{missing}",
            "give a directory with model_index.json, as diffusers writes it",
        )
    remedy = "give a pipeline directory that diffusers wrote"
    if not name.startswith((".", "/", "~")):
        remedy += f", or {name}@main for a model of the hub"
    return ModelError(f"{name}: no such directory", remedy)


def hub_model(name: str, revision: str = "") -> HubModel:
    """The repository that a registered name or a hub id stands for.

    Raises:
        UsageError: it is neither.
    """
    known = HUB_MODELS.get(name)
    if known is None:
        if "/" not in name:
            names = [AUTO, BUNDLED, *HUB_MODELS]
            near = difflib.get_close_matches(name, names, n=1)
            raise UsageError(
                f"unknown model {name!r}",
                f"did you mean {near[0]}?"
                if near
                else f"give one of {', '.join(names)}, a directory or OWNER/NAME",
            )
        hub.check_id(name)
        known = HubModel(name)
    if revision and not _is_revision(revision):
        raise UsageError(f"{revision!r} is not a commit, tag or branch")
    return HubModel(known.id, revision) if revision else known


def _is_revision(text: str) -> bool:
    return (
        all(c.isalnum() or c in "._-/" for c in text) and ".." not in text and not text.startswith(("/", "-"))
    )


def variants(dtype: "torch.dtype") -> tuple[str | None, str | None]:
    """Weight variants, best first: files of half the size serve fp16; other dtypes want the full ones."""
    return ("fp16", None) if str(dtype) == "torch.float16" else (None, "fp16")


def _choose(runtime: "Runtime") -> ModelEntry:
    """`auto`: Stable Diffusion 1.5 where it can be run, else the bundled model."""
    if runtime.device.type in ("cuda", "mps"):
        entry = resolve("sd15", runtime)
        note = f"--model auto chose sd15: there is a {runtime.device.type} device"
    else:
        entry = resolve(BUNDLED, runtime)
        note = f"no GPU found: using the bundled demo model {BUNDLED!r}, which knows colored shapes only"
    # That the demo was measured and not the model that was hoped for is no remark to be quiet about.
    runtime.progress.say(note, always=entry.name == BUNDLED)
    return ModelEntry(**{**vars(entry), "note": note})


def _local(name: str, directory: Path, source: str) -> ModelEntry:
    if source == "package" and not (directory / INDEX).is_file():
        raise ModelError(f"{directory}: this installation is incomplete", "install origcli again")
    pipeline = read_index(str(directory), directory / INDEX)
    refuse_distilled_names(str(directory), name)
    detector = directory / DETECTOR
    values = read_registry(directory)
    return ModelEntry(
        name=name,
        source=source,
        path=directory,
        variant=local_variant(directory, pipeline),
        values=values,
        detector=detector if detector.is_dir() else None,
        weights_hash=values.weights_hash,
    )


def _from_hub(name: str, model: HubModel, runtime: "Runtime") -> ModelEntry:
    snapshot = _snapshot(name, model, variants(runtime.dtype), runtime)
    return ModelEntry(
        name=name,
        source=f"hub:{model.id}@{snapshot.revision}",
        path=snapshot.path,
        variant=snapshot.variant,
        values=read_registry(snapshot.path),
        detector=None,
        weights_hash=snapshot.weights_hash,
    )


def companion_directory(model: HubModel, runtime: "Runtime") -> Path:
    """The directory of a model that has a name and is no pipeline.

    Raises:
        ModelError: not here and cannot be fetched.
    """
    return _snapshot(model.name, model, (None,), runtime).path


def bert_directory(name: str, runtime: "Runtime") -> Path:
    """A BERT and its tokenizer: a directory, a hub id, or `bert`, the supplement's (2.1), at its commit.

    Raises:
        UsageError: not a name of any kind.
        ModelError: not here and cannot be fetched.
    """
    known = COMPANIONS["bert"]
    if name in ("bert", known.id):
        return companion_directory(known, runtime)
    if Path(name).is_dir():
        return Path(name)
    if looks_like_path(name) or "/" not in name:
        raise ModelError(f"{name}: no such directory", "give captions, a BERT's directory or hub id, or bert")
    base, _, revision = name.partition("@")
    model = HubModel(hub_model(base, revision).id, revision or "main", files=known.files)
    return _snapshot(name, model, (None,), runtime).path


def _snapshot(name: str, model: HubModel, order: hub.Variants, runtime: "Runtime") -> hub.Snapshot:
    """The model from this disk, else from the network if that is allowed."""
    snapshot = hub.find(model, order)
    if snapshot is not None:
        return snapshot
    if runtime.offline:
        raise ModelError(
            f"{name}: not downloaded, and offline",
            f"with a network, run: origcli fetch {name}",
        )
    return hub.fetch(model, order, runtime.progress)
