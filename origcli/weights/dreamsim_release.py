"""The files of DreamSim's releases: fetched once, hashed, and read only while their hashes hold.

Layout in the cache, one directory a variant: the release archive as it unpacks, the backbone that the
original code would get through torch.hub, and `manifest.json` with what everything was fetched from and
the sha256 of each file. A directory without a manifest is unfinished.
"""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from origcli.errors import InputError, ModelError, UsageError
from origcli.runtime.atomic import make_directory, read_json, write_json
from origcli.runtime.cache import cache_path
from origcli.runtime.locks import locked
from origcli.runtime.progress import Progress
from origcli.runtime.provenance import hash_file, hash_value
from origcli.weights.archives import unpack
from origcli.weights.downloads import RemoteFile, announced_size, download

MANIFEST = "manifest.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")

_RELEASES = "https://github.com/ssundaram21/dreamsim/releases/download"
_BACKBONES = "https://dl.fbaipublicfiles.com"
_DINO = RemoteFile(f"{_BACKBONES}/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth")
_DINOV2 = RemoteFile(f"{_BACKBONES}/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth")


@dataclass(frozen=True)
class Release:
    """What one variant of DreamSim is made of.

    Attributes:
        archive: the release's zip.
        backbones: weight file of each tower, in order; relative to the variant's directory.
        adapter: directory of the LoRA weights in the archive.
        extra: a backbone that the archive lacks.
    """

    archive: RemoteFile
    backbones: tuple[str, ...]
    adapter: str
    extra: RemoteFile | None = None

    @property
    def downloads(self) -> tuple[RemoteFile, ...]:
        """All that is fetched for it."""
        return (self.archive,) if self.extra is None else (self.archive, self.extra)


def _release(version: str, variant: str, *files: str, extra: RemoteFile | None = None) -> Release:
    """A release by its naming scheme."""
    url = f"{_RELEASES}/{version}-checkpoints/dreamsim_{variant}_checkpoint.zip"
    plain = variant == "ensemble" or variant.endswith("_patch")
    backbones = (extra.name, *files) if extra else files
    return Release(RemoteFile(url), backbones, f"{variant}{'' if plain else '_single'}_lora", extra)


ENSEMBLE = "ensemble"
_CLIP = ("clip_vitb16_pretrain.pth.tar", "open_clip_vitb16_pretrain.pth.tar")
RELEASES = {
    "ensemble": _release("v0.2.0", "ensemble", *_CLIP, extra=_DINO),
    "dino_vitb16": _release("v0.2.0", "dino_vitb16", extra=_DINO),
    "clip_vitb32": _release("v0.2.0", "clip_vitb32", "clip_vitb32_pretrain.pth.tar"),
    "open_clip_vitb32": _release("v0.2.0", "open_clip_vitb32", "open_clip_vitb32_pretrain.pth.tar"),
    "dinov2_vitb14": _release("v0.2.1", "dinov2_vitb14", extra=_DINOV2),
    "synclr_vitb16": _release("v0.2.1", "synclr_vitb16", "synclr_vit_b_16.pth"),
    "dino_vitb16_patch": _release("v0.2.1", "dino_vitb16_patch", extra=_DINO),
    "dinov2_vitb14_patch": _release("v0.2.1", "dinov2_vitb14_patch", extra=_DINOV2),
}


def release(variant: str) -> Release:
    """The release of a variant.

    Raises:
        UsageError: there is none of this name.
    """
    if variant not in RELEASES:
        raise UsageError(f"DreamSim has no variant {variant!r}", f"choose from {', '.join(RELEASES)}")
    return RELEASES[variant]


def metric_name(variant: str) -> str:
    """What the metric and its download are called: `dreamsim`, `dreamsim:dino_vitb16` …"""
    return "dreamsim" if variant == ENSEMBLE else f"dreamsim:{variant}"


def directory_of(variant: str) -> Path:
    """Where a variant's files are, or would be."""
    return cache_path("dreamsim") / variant


def is_fetched(variant: str) -> bool:
    """Whether all files are there; `verified` tells whether they are sound."""
    return (directory_of(variant) / MANIFEST).is_file()


def fetch_release(variant: str, progress: Progress) -> Path:
    """Fetches a variant's files, if they are not there as recorded, and records their hashes.

    Raises:
        ModelError: the network, the archive or its contents are not as they should be.
        StorageError: no room.
    """
    wanted = release(variant)
    directory = directory_of(variant)
    make_directory(directory.parent)
    with locked(directory.with_name(f".{variant}.lock")):
        with contextlib.suppress(ModelError):
            return verified(variant)[0]
        sizes = [announced_size(remote) for remote in wanted.downloads]
        size = f"{sum(filter(None, sizes)) / 1e9:.2f} GB" if all(sizes) else "of unknown size"
        progress.say(f"downloading DreamSim's weights ({variant}, {size}) into {directory}")
        archive = directory.with_name(f"{variant}.zip")
        archive_hash = download(wanted.archive, archive, progress)
        sources = {"archive": {"url": wanted.archive.url, "sha256": archive_hash}}
        backbone = directory.with_name(f"{variant}.backbone")  # beside it, where the next run goes on
        if wanted.extra is not None:
            digest = download(wanted.extra, backbone, progress)
            sources["backbone"] = {"url": wanted.extra.url, "sha256": digest}
        shutil.rmtree(directory, ignore_errors=True)  # what an interrupted run unpacked
        try:
            unpack(archive, directory)
        except ModelError:
            archive.unlink()
            raise
        if wanted.extra is not None:
            backbone.replace(directory / wanted.extra.name)
        files = {str(path.relative_to(directory)): path for path in needed_files(variant, directory)}
        hashes = {
            name: {"sha256": hash_file(path), "size": path.stat().st_size} for name, path in files.items()
        }
        write_json(directory / MANIFEST, {"variant": variant, "sources": sources, "files": hashes})
        archive.unlink()
    return directory


def needed_files(variant: str, directory: Path) -> list[Path]:
    """The files that loading reads.

    Raises:
        ModelError: one is missing.
    """
    wanted = release(variant)
    adapter = directory / wanted.adapter
    weights = next((adapter / name for name in ADAPTERS if (adapter / name).is_file()), adapter / ADAPTERS[0])
    paths = [*(directory / name for name in wanted.backbones), adapter / ADAPTER_CONFIG, weights]
    for path in paths:
        if not path.is_file():
            raise ModelError(
                f"{path}: missing from DreamSim's {variant} release", f"origcli fetch {metric_name(variant)}"
            )
    return paths


def verified(variant: str) -> tuple[Path, str]:
    """A variant's directory and one hash over all its files, each of which still has the hash recorded.

    Raises:
        ModelError: not fetched, or changed since.
    """
    directory = directory_of(variant)
    remedy = f"origcli fetch {metric_name(variant)}"
    if not is_fetched(variant):
        raise ModelError(f"DreamSim's weights ({variant}) are not here", f"fetch them with: {remedy}")
    try:
        recorded = read_json(directory / MANIFEST)["files"]
        lines = [f"{name} {recorded[name]['sha256']}" for name in sorted(recorded)]
    except (InputError, KeyError, TypeError) as error:
        raise ModelError(f"{directory / MANIFEST}: damaged", f"remove {directory} and {remedy}") from error
    for path in needed_files(variant, directory):
        name = str(path.relative_to(directory))
        if name not in recorded or hash_file(path) != recorded[name]["sha256"]:
            raise ModelError(f"{path}: changed since it was downloaded", f"remove {directory} and {remedy}")
    return directory, hash_value(lines)
