"""Models of Hugging Face's hub: which files of a repository are needed, fetched and checked once, then local.

The files lie in the hub's own cache (HF_HOME), where other tools share them. What was fetched here is checked
against the hashes that the hub publishes, and these are kept in our cache, so that `verify` needs no network.
Large files are downloaded here: the hub's client restarts an interrupted one, and does not hear Ctrl-C.
"""

import fnmatch
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from origcli.errors import InputError, ModelError, StorageError, UsageError
from origcli.runtime.atomic import make_directory, read_json, write_json
from origcli.runtime.cache import cache_path
from origcli.runtime.progress import Progress
from origcli.runtime.provenance import hash_file
from origcli.weights.downloads import RemoteFile, download
from origcli.weights.hub_answers import with_retries
from origcli.weights.pipelines import (
    INDEX,
    PartFiles,
    Pipeline,
    check_configs,
    read_index,
    refuse_distilled_names,
)
from origcli.weights.repository import HubModel

Variants = Sequence[str | None]


@dataclass(frozen=True)
class Snapshot:
    """A model on this disk.

    Attributes:
        path: its directory in the hub's cache.
        revision: its commit.
        variant: which of its weight files are here, `fp16` or `None` for the full ones.
        weights_hash: of a pipeline as it was when it was fetched, where it was fetched by us.
    """

    path: Path
    revision: str
    variant: str | None
    weights_hash: str | None = None


def check_id(text: str) -> None:
    """Whether a text can be a hub id.

    Raises:
        UsageError: it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(text)
        valid = text.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise UsageError(
            f"{text!r} is neither a known model, nor a directory, nor a hub id (OWNER/NAME)",
            "see origcli fetch --list, or give a pipeline directory",
        )


def find(model: HubModel, variants: Variants) -> Snapshot | None:
    """The first of some variants whose files are all on this disk; asks no network.

    Raises:
        ModelError: what is on this disk is not of a kind that can be opened.
    """
    contents = model.files or _local_index(model)
    if contents is None:
        return None
    for variant in variants:
        path = _local_directory(model, contents.patterns(variant))
        if path is not None and not contents.missing(_names(path), variant):
            recorded = _recorded(path, variant)
            return Snapshot(path, path.name, variant, recorded.get("weights_hash"))
    return None


def _local_index(model: HubModel) -> Pipeline | None:
    """What the index of a pipeline says, where it is on this disk."""
    path = _local_directory(model, [INDEX])
    if path is None or not (path / INDEX).is_file():
        return None
    refuse_distilled_names(model.id, model.id)
    return read_index(model.id, path / INDEX)


def _local_directory(model: HubModel, patterns: Sequence[str]) -> Path | None:
    """The directory of the commit in the hub's cache, if what the patterns match is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        directory = snapshot_download(
            model.id, revision=model.revision, allow_patterns=list(patterns), local_files_only=True
        )
    except (LocalEntryNotFoundError, RuntimeError, OSError):  # no home directory, or one of others
        return None
    return Path(directory)


def fetch(model: HubModel, variants: Variants, progress: Progress) -> Snapshot:
    """Fetches the first of some variants that the repository has, and checks every file's hash.

    Of a pipeline, the index comes first, then the configurations: a kind of model that cannot be opened is
    refused before its weights are fetched.

    Raises:
        ModelError: the hub refuses, is out of reach, lacks the model or its safetensors, or sends other bytes
            than it announces; or the model is not of a kind that can be opened.
        StorageError: no room, or no home directory.
    """
    from huggingface_hub import constants

    from origcli.weights.hashing import hash_pipeline

    refuse_distilled_names(model.id, model.id)
    if constants.HF_HUB_CACHE.startswith("~"):
        raise StorageError("no home directory for models of the Hub", "set HF_HOME to a directory")
    info = with_retries(lambda: _info(model), model, progress)
    offered = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    contents = model.files or _fetch_index(model, info.sha, offered, progress)
    variant = _offered_variant(model, contents, variants, list(offered))
    patterns = contents.patterns(variant)
    wanted = {name: sibling for name, sibling in offered.items() if _matches(name, patterns)}
    size = sum(sibling.size or 0 for sibling in wanted.values())
    kind = f", {variant}" if variant else ""
    progress.say(f"fetching {model.id} ({info.sha[:7]}{kind}, {size / 1e9:.2f} GB) into the hub's cache")

    large = {name for name, sibling in wanted.items() if sibling.lfs is not None}
    path = _fetch_sound(model, info.sha, {name: wanted[name] for name in wanted.keys() - large}, progress)
    if isinstance(contents, Pipeline):
        check_configs(model.id, path, contents)
    path = _fetch_sound(model, info.sha, wanted, progress)

    _point_to(path, model.revision)
    hashes = {name: hash_file(path / name) for name in sorted(wanted)}
    weights_hash = hash_pipeline(path, variant, contents) if isinstance(contents, Pipeline) else None
    make_directory(_manifest(path, variant).parent)
    write_json(
        _manifest(path, variant),
        {
            "id": model.id,
            "revision": info.sha,
            "variant": variant,
            "weights_hash": weights_hash,
            "files": hashes,
        },
    )
    return Snapshot(path, path.name, variant, weights_hash)


def _fetch_index(model: HubModel, revision: str, offered: Mapping[str, Any], progress: Progress) -> Pipeline:
    """Fetches the index of a pipeline alone, and reads what is needed.

    Raises:
        ModelError: there is none, or it is of a kind that cannot be opened.
    """
    if INDEX not in offered:
        raise ModelError(
            f"{model.id}: not a pipeline of diffusers: it has no {INDEX}",
            "choose a repository that has one; a single weights file is not a pipeline",
        )
    path = _fetch_sound(model, revision, {INDEX: offered[INDEX]}, progress)
    return read_index(model.id, path / INDEX)


def _offered_variant(
    model: HubModel, contents: Pipeline | PartFiles, variants: Variants, offered: Sequence[str]
) -> str | None:
    """The first variant of which a repository has all files."""
    missing = {variant: contents.missing(offered, variant) for variant in variants}
    variant = min(missing, key=lambda variant: bool(missing[variant]))
    if missing[variant]:
        raise ModelError(
            f"{model.id}: not a supported model: it has no {missing[variant]}",
            "only safetensors are read; choose a repository that has them",
        )
    return variant


def _fetch_sound(model: HubModel, revision: str, wanted: Mapping[str, Any], progress: Progress) -> Path:
    """Fetches files, compares them with the hashes that the hub announces, and does it once more where they
    differ; the directory of the commit.

    Raises:
        ModelError: they differ twice, or cannot be fetched.
    """
    large = {name: sibling for name, sibling in wanted.items() if sibling.lfs is not None}
    for _ in range(2):
        # The small files first: if the hub refuses, its client says why.
        path = _fetch_small(model, revision, wanted.keys() - large.keys(), progress)
        for name, sibling in large.items():
            _fetch_large(model, revision, name, sibling.lfs, path.parent.parent / "blobs", progress)
        if large:
            path = _fetch_small(model, revision, wanted, progress)  # links to the large ones, which are here
        wrong = [name for name, sibling in wanted.items() if not _is_sound(path / name, sibling)]
        if not wrong:
            return path
        for name in wrong:
            _remove(path / name)
    raise ModelError(f"{model.id}: {wrong[0]} is not what the hub announces, twice", "try again later")


def configurations(model: HubModel, offline: bool, progress: Progress) -> Path:
    """The configurations and vocabularies of a pipeline, without its weights: a directory of this disk.

    Raises:
        ModelError: they are not here and cannot be fetched.
    """
    patterns = [INDEX, "*/*.json", "tokenizer*/*.txt", "tokenizer*/*.model"]
    path = _local_directory(model, patterns)
    if (
        path is not None
        and (path / INDEX).is_file()
        and (path / "scheduler" / "scheduler_config.json").is_file()
    ):
        return path
    if offline:
        raise ModelError(
            f"{model.id}: its configuration is not downloaded, and offline",
            "give a pipeline directory with --config, or allow the network",
        )
    info = with_retries(lambda: _info(model), model, progress)
    wanted = {
        sibling.rfilename: sibling for sibling in info.siblings or () if _matches(sibling.rfilename, patterns)
    }
    progress.say(f"downloading the configuration of {model.id} ({info.sha[:7]}) into the hub's cache")
    path = _fetch_sound(model, info.sha, wanted, progress)
    _point_to(path, model.revision)
    return path


def verify(snapshot: Snapshot) -> str:
    """Compares a snapshot with the hashes recorded when it was fetched.

    Returns:
        Empty where all is well, else what is not.
    """
    recorded = _recorded(snapshot.path, snapshot.variant).get("files")
    if not recorded:
        return "no hashes are recorded: origcli did not download it"
    for name, digest in recorded.items():
        path = snapshot.path / name
        if not path.is_file():
            return f"{name} is missing"
        if hash_file(path) != digest:
            return f"{name} has changed"
    return ""


def _manifest(path: Path, variant: str | None) -> Path:
    return cache_path("hub") / f"{path.parent.parent.name}@{path.name}.{variant or 'full'}.json"


def _recorded(path: Path, variant: str | None) -> dict[str, Any]:
    try:
        recorded = read_json(_manifest(path, variant))
    except InputError:
        return {}
    return recorded if isinstance(recorded, dict) else {}


def _names(directory: Path) -> list[str]:
    return [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _info(model: HubModel) -> Any:
    from huggingface_hub import HfApi

    return HfApi(library_name="origcli").model_info(model.id, revision=model.revision, files_metadata=True)


def _point_to(path: Path, revision: str) -> None:
    """Remembers which commit a branch or tag was when it was fetched, as the hub's own client does."""
    if revision != path.name:
        reference = path.parent.parent / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(path.name, "utf-8")


def _is_sound(path: Path, sibling: Any) -> bool:
    """Whether a file is the one announced: by sha256 where it is a large file, else by git's hash."""
    if sibling.lfs is not None:
        return hash_file(path) == sibling.lfs.sha256
    data = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return sibling.blob_id is None or blob == sibling.blob_id


def _remove(path: Path) -> None:
    path.resolve().unlink(missing_ok=True)  # the blob that the snapshot links to
    path.unlink(missing_ok=True)


def _fetch_small(model: HubModel, revision: str, names: Iterable[str], progress: Progress) -> Path:
    """Has the hub's client fetch files, as far as they are not in its cache; the directory of the commit."""
    from huggingface_hub import snapshot_download
    from tqdm import tqdm

    class NoBar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})

    def fetch_all() -> str:
        return snapshot_download(model.id, revision=revision, allow_patterns=sorted(names), tqdm_class=NoBar)

    return Path(with_retries(fetch_all, model, progress))


def _fetch_large(
    model: HubModel, revision: str, name: str, facts: Any, blobs: Path, progress: Progress
) -> None:
    """Downloads a file to where the hub's client looks for it, under its sha256.

    Args:
        facts: the hub's `sha256` and `size` of it.

    Raises:
        ModelError: refused, or still broken or another after all attempts.
        StorageError: no room.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    remote = RemoteFile(
        hf_hub_url(model.id, name, revision=revision),
        size=facts.size,
        sha256=facts.sha256,
        authorization=build_hf_headers().get("authorization"),
        mirrored=False,
    )
    try:
        download(remote, blobs / facts.sha256, progress)
    except ModelError as error:
        raise ModelError(
            f"{model.id}: {error.message}", f"what was downloaded is kept; to resume: {model.command}"
        ) from error
