"""Puts a pipeline directory together: a single file or a model, LoRAs, another VAE. `origcli import`.

Every part is read, changed, checked and written before the next one, so one part at a time is in memory.
`source.json` beside the parts says what went in.
"""

import shutil
import tempfile
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from origcli.errors import ModelError, UsageError, nearest
from origcli.models.importing import checkpoint, lora
from origcli.models.importing.configurations import CONFIGURATIONS, prediction_scheduler, write_configuration
from origcli.models.importing.header import REFUSED, SUFFIX, Header, read_header, read_tensors
from origcli.models.importing.kinds import SD2, Kind, recognize
from origcli.models.importing.parts import Index, frame, load, read_index, weight_files
from origcli.models.importing.prediction import correlation_with_noise, predicts_noise
from origcli.models.loading import quiet_loading
from origcli.models.pipeline import forget_origin
from origcli.runtime import interrupts
from origcli.runtime.atomic import atomic_directory, make_directory, storage_error, write_json
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.network import no_network
from origcli.runtime.progress import Progress
from origcli.runtime.provenance import hash_file, package_versions
from origcli.settings import RuntimeSettings
from origcli.weights import hub
from origcli.weights.hashing import hash_pipeline
from origcli.weights.kinds import KINDS
from origcli.weights.pipelines import INDEX, pipeline_name
from origcli.weights.registry import hub_model, resolve

SOURCE = "source.json"
DTYPES: dict[str, torch.dtype | None] = {
    "stored": None,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
}
_TEXTS = (".json", ".txt", ".model")  # configurations and vocabularies
PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class Request:
    """What to put together.

    Attributes:
        base: a single file, a pipeline directory, a known model or a hub id.
        out: the directory to write.
        loras: `FILE` or `FILE@SCALE` each.
        vae: a file or directory with another autoencoder.
        config: of a single file: a built-in configuration, a pipeline directory or a hub id; of one of Stable
            Diffusion 3 or FLUX, the model that gives what the file lacks.
        dtype: of the weights that are written.
        prediction: what the UNet predicts, where the file does not say it right.
        force: replace an `out` that an earlier import wrote.
    """

    base: str
    out: Path
    loras: Sequence[str] = ()
    vae: str | None = None
    config: str | None = None
    dtype: str = "stored"
    prediction: str | None = None
    force: bool = False


@dataclass(frozen=True)
class _Base:
    """The model to start from.

    Attributes:
        title: what it is called in errors.
        directory: its configurations.
        index: its parts.
        networks: the parts without weights.
        read: gives a part with its weights.
        facts: what went in.
        prediction, zero_terminal_snr: what it says of its noise.
    """

    title: str
    directory: Path
    index: Index
    networks: Mapping[str, nn.Module]
    read: Callable[[str], nn.Module]
    facts: dict[str, Any]
    prediction: str | None = None
    zero_terminal_snr: bool = False


@dataclass(frozen=True)
class _Model:
    """A model on this disk.

    Attributes:
        name: what it is called.
        directory: where it is.
        index: its parts.
        variant: which of its weight files are read.
        source: where it came from.
    """

    name: str
    directory: Path
    index: Index
    variant: str | None
    source: str

    def networks(self) -> dict[str, nn.Module]:
        """Its parts without weights."""
        return {part: frame(self.directory, part, *names) for part, names in self.index.networks.items()}

    def read(self, part: str, dtype: torch.dtype | None) -> nn.Module:
        """A part with its weights."""
        return load(self.directory, part, *self.index.networks[part], self.variant, dtype)

    def facts(self, without: Container[str] = ()) -> dict[str, Any]:
        """Its name, and the hashes of its files, but for the weights of some parts."""
        files = [self.directory / INDEX]
        for part in (*self.index.networks, *self.index.others):
            files += [file for file in (self.directory / part).glob("*") if file.suffix in _TEXTS]
            if part not in without:
                files += weight_files(self.directory / part, self.variant)
        return {
            "model": self.name,
            "source": self.source,
            "files": {file.relative_to(self.directory).as_posix(): hash_file(file) for file in sorted(files)},
        }


def build(request: Request, settings: RuntimeSettings, progress: Progress) -> dict[str, Any]:
    """Writes the pipeline directory on the CPU; `run` says the rest."""
    on_cpu = settings.model_copy(update={"device": "cpu"})
    with open_runtime(on_cpu, None, progress) as runtime:
        return run(request, runtime)


def run(request: Request, runtime: Runtime) -> dict[str, Any]:
    """Writes the pipeline directory, whole or not at all.

    Returns:
        What `source.json` holds.

    Raises:
        UsageError: `out` is not empty, or an option does not fit.
        ModelError: a file is missing, damaged, refused, or does not fit.
        StorageError: the disk is full or the directory cannot be written.
    """
    _check(request)
    scales = [lora.parse(word) for word in request.loras]
    with tempfile.TemporaryDirectory(prefix="origcli-import-") as scratch:
        base = _open(request, Path(scratch), runtime)
        vae_facts = None
        if request.vae is not None:
            base, vae_facts = _with_vae(base, Path(request.vae))
        loras = [lora.fit(path, scale, base.networks, base.title) for path, scale in scales]
        make_directory(request.out.absolute().parent)
        with no_network(), atomic_directory(request.out.absolute()) as partial:
            changed = _write(base, loras, request, partial, runtime)
            source = {
                "schema": "origcli/source/1",
                "base": base.facts,
                "vae": vae_facts,
                "loras": [
                    {**_file_facts(added.path), "scale": added.scale, "tensors_changed": count}
                    for added, count in zip(loras, changed, strict=True)
                ],
                "dtype": request.dtype,
                "weights_hash": hash_pipeline(partial) if base.index.kind in KINDS else None,
                "versions": package_versions(),
            }
            write_json(partial / SOURCE, source)
    return source


def _check(request: Request) -> None:
    """Refuses what can be refused before anything is read."""
    for name, value, known in (
        ("--dtype", request.dtype, tuple(DTYPES)),
        ("--prediction", request.prediction, PREDICTIONS),
    ):
        if value is not None and value not in known:
            raise UsageError(f"unknown {name} {value!r}", nearest(value, known))
    out = request.out
    try:
        entries = list(out.iterdir()) if out.is_dir() else [out] if out.exists() else []
    except OSError as error:
        raise storage_error(out, error) from error
    if not entries:
        return
    if not (out / SOURCE).is_file():
        raise UsageError(f"{out}: not empty, and no import wrote it", "choose another --out")
    if not request.force:
        raise UsageError(f"{out}: not empty", "--force overwrites it")
    if Path(request.base).exists() and Path(request.base).resolve().is_relative_to(out.resolve()):
        raise UsageError(f"{out}: --force would remove what is imported", "choose another --out")


def _open(request: Request, scratch: Path, runtime: Runtime) -> _Base:
    path = Path(request.base)
    if path.suffix.lower() in (SUFFIX, *REFUSED) and not path.is_dir():
        return _open_file(request, scratch, runtime)
    if request.config is not None:
        raise UsageError(
            f"{request.base}: is no single file, and has its configuration already", "leave out --config"
        )
    return _open_model(request, runtime)


def _open_file(request: Request, scratch: Path, runtime: Runtime) -> _Base:
    header = read_header(Path(request.base))
    kind = recognize(header, vae_given=request.vae is not None)
    if kind.pipeline:
        return _open_transformer(header, kind, request, runtime)
    statement = checkpoint.stated(header)
    prediction = request.prediction or statement.prediction
    name = request.config or kind.configuration
    directory = _configuration(name, scratch / "configuration", runtime)
    base = _read_file(header, kind.title, directory, request)
    measured = None
    if request.config is None and kind is SD2 and prediction is None:
        measured = correlation_with_noise(base.read("unet"))
        name = "sd21-base" if predicts_noise(measured) else "sd21"
        runtime.progress.say(
            f"{header.path.name}: measured as {name}: its answer to noise has a correlation of {measured:.2f}"
            " with the noise (--config or --prediction overrides)"
        )
        base = _read_file(header, kind.title, _configuration(name, scratch / "measured", runtime), request)
    facts = {
        **_file_facts(header.path),
        "kind": kind.title,
        "configuration": name if name in CONFIGURATIONS else Path(name).name,
        "prediction": prediction,
        "correlation_with_noise": None if measured is None else round(measured, 3),
        "zero_terminal_snr": statement.zero_terminal_snr,
        **base.facts,
        "unused": _remarkable(header, base.facts["unused"], runtime),
    }
    return replace(base, facts=facts, prediction=prediction, zero_terminal_snr=statement.zero_terminal_snr)


def _open_transformer(header: Header, kind: Kind, request: Request, runtime: Runtime) -> _Base:
    """A file of Stable Diffusion 3 or FLUX: what it holds, and the rest from the model of --config."""
    if request.config is None or request.config in CONFIGURATIONS:
        raise UsageError(
            f"{header.path}: a file of {kind.title} lacks its configuration, and mostly its text encoders"
            + (f"; {request.config} is none of its kind" if request.config else ""),
            f"name the model that the rest is taken from, e.g. --config {kind.example}",
        )
    whole = _model(request.config, runtime)
    if whole.index.kind != kind.pipeline:
        raise UsageError(
            f"--config {request.config}: a {whole.index.kind}, and {header.path.name} is {kind.title}",
            f"name the model that the rest is taken from, e.g. --config {kind.example}",
        )
    networks = whole.networks()
    in_file = {part: network for part, network in networks.items() if part != "vae" or request.vae is None}
    parts = checkpoint.partial_readers(header, in_file)
    unused = checkpoint.check_fit(header, {part: networks[part] for part in parts}, parts)

    def read(part: str) -> nn.Module:
        if part in parts:
            return _from_file(header, whole.directory, part, whole.index.networks[part], parts[part])
        return whole.read(part, DTYPES[request.dtype])

    facts = {
        **_file_facts(header.path),
        "kind": kind.title,
        "configuration": whole.name,
        "parts": sorted(parts),
        "unused": _remarkable(header, unused, runtime),
        "left_out": len(unused),
        "rest": whole.facts(without=parts),
    }
    return _Base(kind.title, whole.directory, whole.index, networks, read, facts, request.prediction)


def _from_file(
    header: Header, directory: Path, part: str, names: tuple[str, str], convert: checkpoint.Convert
) -> nn.Module:
    """A part with the weights that a single file has for it."""
    network = frame(directory, part, *names)
    with quiet_loading():
        tensors = convert(read_tensors(header))
    return checkpoint.fill(network, tensors, header.path)


def _remarkable(header: Header, unused: list[str], runtime: Runtime) -> list[str]:
    """Of the unused tensors those that do not lie in many files, which are said."""
    if strange := checkpoint.remarkable(unused):
        runtime.progress.say(f"{header.path.name}: {len(strange)} tensors not used, e.g. {strange[0]}")
    return strange


def _read_file(header: Header, title: str, directory: Path, request: Request) -> _Base:
    """A single file and a configuration, which have to fit each other."""
    index = read_index(directory)
    networks = {part: frame(directory, part, *names) for part, names in index.networks.items()}
    in_file = {part: network for part, network in networks.items() if part != "vae" or request.vae is None}
    parts = checkpoint.readers(header, in_file)
    unused = checkpoint.check_fit(header, in_file, parts)

    def read(part: str) -> nn.Module:
        return _from_file(header, directory, part, index.networks[part], parts[part])

    facts = {"unused": unused, "left_out": len(unused)}
    return _Base(title, directory, index, networks, read, facts)


def _open_model(request: Request, runtime: Runtime) -> _Base:
    model = _model(request.base, runtime)

    def read(part: str) -> nn.Module:
        return model.read(part, DTYPES[request.dtype])

    return _Base(
        model.name, model.directory, model.index, model.networks(), read, model.facts(), request.prediction
    )


def _model(name: str, runtime: Runtime) -> _Model:
    """A pipeline directory, a known model or a hub id, with its weights on this disk."""
    path = Path(name)
    if name and path.is_dir():  # also of families that no other command opens
        variant, source = None, "directory"
        name = pipeline_name(path)
    else:
        entry = resolve(name, runtime)
        name, path, variant, source = entry.name, entry.path, entry.variant, entry.source
    index = read_index(path)
    if source == "directory" and not all(weight_files(path / part, None) for part in index.networks):
        variant = "fp16"
    return _Model(name, path, index, variant, source)


def _configuration(name: str, directory: Path, runtime: Runtime) -> Path:
    """The directory of a configuration: built in, on this disk, or of the hub."""
    if name in CONFIGURATIONS:
        return write_configuration(name, directory)
    if Path(name).is_dir():
        return Path(name)
    if "/" not in name:
        raise UsageError(f"unknown configuration {name!r}", nearest(name, CONFIGURATIONS))
    base, _, revision = name.partition("@")
    return hub.configurations(hub_model(base, revision), runtime.offline, runtime.progress)


def _with_vae(base: _Base, path: Path) -> tuple[_Base, dict[str, Any]]:
    """A model with another autoencoder, whose latents have to mean the same to the denoiser."""
    if "vae" not in base.networks:
        raise UsageError(f"{base.title}: has no autoencoder that --vae could replace")
    read_vae, facts = _vae_directory(base, path) if path.is_dir() else _vae_file(base, path)
    read = base.read
    return replace(base, read=lambda part: read_vae() if part == "vae" else read(part)), facts


def _vae_file(base: _Base, path: Path) -> tuple[Callable[[], nn.Module], dict[str, Any]]:
    header = read_header(path)
    convert = checkpoint.bare_vae(header, base.networks["vae"])
    checkpoint.check_fit(header, {"vae": base.networks["vae"]}, {"vae": convert})

    def read() -> nn.Module:
        network = frame(base.directory, "vae", *base.index.networks["vae"])
        return checkpoint.fill(network, convert(read_tensors(header)), path)

    return read, _file_facts(path)


def _vae_directory(base: _Base, path: Path) -> tuple[Callable[[], nn.Module], dict[str, Any]]:
    names = base.index.networks["vae"]
    directory = path / "vae" if (path / "vae").is_dir() else path.resolve()
    _check_latents(base, frame(directory.parent, directory.name, *names), path)
    files = [directory / "config.json", *weight_files(directory, None)]

    def read() -> nn.Module:
        return load(directory.parent, directory.name, *names, None, None)

    return read, {"files": {file.name: hash_file(file) for file in files}}


def _check_latents(base: _Base, other: Any, path: Path) -> None:
    own: Any = base.networks["vae"]
    for name in ("latent_channels", "scaling_factor", "shift_factor", "latents_mean", "latents_std"):
        had, has = own.config.get(name), other.config.get(name)
        if had != has:
            raise ModelError(
                f"{path}: its {name} is {has}, that of {base.title} is {had}",
                "give an autoencoder of the same family",
            )


def _write(
    base: _Base, loras: Sequence[lora.Lora], request: Request, directory: Path, runtime: Runtime
) -> list[int]:
    """Writes all parts; for each LoRA, how many tensors it changed."""
    changed = [0] * len(loras)
    with runtime.progress.task("import", len(base.index.networks)) as task:
        for part in base.index.networks:
            interrupts.check()
            network = base.read(part)
            tensors = {
                name: _typed(value, DTYPES[request.dtype]) for name, value in network.state_dict().items()
            }
            counts = lora.merge(part, tensors, loras)
            changed = [total + count for total, count in zip(changed, counts, strict=True)]
            _check_finite(base.title, part, tensors)
            checkpoint.fill(network, tensors, directory / part)
            _save(network, directory / part)
            task.advance(part=part)
    for added, count in zip(loras, changed, strict=True):
        lora.check_changed(added, count)
    for part in base.index.others:
        shutil.copytree(base.directory / part, directory / part, ignore=_all_but_texts)
    write_json(directory / INDEX, base.index.to_json())
    prediction_scheduler(directory, base.prediction, base.zero_terminal_snr)
    return changed


def _all_but_texts(directory: str, names: list[str]) -> list[str]:
    """What is not copied of a tokenizer or scheduler: all that is no configuration or vocabulary."""
    return [name for name in names if Path(name).suffix not in _TEXTS]


def _typed(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor in the type to write; types that nothing computes with become fp16."""
    if not tensor.is_floating_point():
        return tensor
    if dtype is None:
        usable = tensor.dtype in (torch.float32, torch.float16, torch.bfloat16)
        dtype = tensor.dtype if usable else torch.float32 if tensor.dtype == torch.float64 else torch.float16
    return tensor.to(dtype)


def _check_finite(title: str, part: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"{title}: {part}.{name} is not finite as {str(tensor.dtype).removeprefix('torch.')}",
                "try --dtype fp32; if that fails too, the file is damaged",
            )


def _save(network: Any, directory: Path) -> None:
    """Writes a part in one file of safetensors."""
    with quiet_loading():
        try:
            network.save_pretrained(directory, safe_serialization=True, max_shard_size="100GB")
        except OSError as error:
            raise storage_error(directory, error) from error
    forget_origin(directory)


def _file_facts(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": hash_file(path)}
