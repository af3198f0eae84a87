"""Models of Hugging Face's hub: which files of a repository are needed, fetched and checked once, then local.

The files lie in the hub's own cache (HF_HOME), where other tools share them. What was fetched here is checked
against the hashes that the hub publishes, and these are kept in our cache, so that `verify` needs no network.
"""

import errno
import fnmatch
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from origcli.errors import InputError, ModelError, OrigError, UsageError
from origcli.runtime.cache import cache_directory
from origcli.runtime.progress import Progress, Task
from origcli.runtime.provenance import hash_file
from origcli.runtime.run_directory import read_json, storage_error, write_json

T = TypeVar("T")
Variants = Sequence[str | None]

ATTEMPTS = 3  # the hub's client makes several of its own each time
FIRST_WAIT_S = 1.0
PARTS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")

_PIPELINE_WEIGHTS = {
    "vae": "diffusion_pytorch_model",
    "unet": "diffusion_pytorch_model",
    "text_encoder": "model",
}
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class HubModel:
    """A model repository and what is needed of it.

    Attributes:
        id: `owner/name`.
        revision: commit, tag or branch.
        pipeline: a diffusers pipeline, of which the safety checker and other formats are left where they are;
            else a model and its tokenizer in one directory.
    """

    id: str
    revision: str = "main"
    pipeline: bool = True

    def patterns(self, variant: str | None) -> list[str]:
        """Globs of the files to fetch: configurations, vocabularies, and the safetensors of one variant."""
        tail = f".{variant}" if variant else ""
        if not self.pipeline:
            names = (
                "*.json",
                "vocab.txt",
                "merges.txt",
                f"model{tail}.safetensors",
                f"model{tail}-*.safetensors",
            )
            return list(names)
        weights = [
            f"{part}/{stem}{tail}{shard}.safetensors"
            for part, stem in _PIPELINE_WEIGHTS.items()
            for shard in ("", "-?????-of-?????")
        ]
        return ["model_index.json", *(f"{part}/*.json" for part in PARTS), "tokenizer/*.txt", *weights]

    def lacking(self, files: Sequence[str], variant: str | None) -> list[str]:
        """What a model cannot do without and is not among the files."""
        tail = f".{variant}" if variant else ""
        if not self.pipeline:
            needed = ["config.json", f"model{tail}*.safetensors"]
        else:
            needed = [
                "model_index.json",
                "scheduler/scheduler_config.json",
                "tokenizer/tokenizer_config.json",
            ]
            for part, stem in _PIPELINE_WEIGHTS.items():
                needed += [f"{part}/config.json", f"{part}/{stem}{tail}*.safetensors"]
        chosen = [name for name in files if _matches(name, self.patterns(variant))]
        return [pattern for pattern in needed if not fnmatch.filter(chosen, pattern)]


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
    """The first of some variants whose files are all on this disk; asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for variant in variants:
        try:
            found = snapshot_download(
                model.id,
                revision=model.revision,
                allow_patterns=model.patterns(variant),
                local_files_only=True,
            )
        except LocalEntryNotFoundError:
            continue
        path = Path(found)
        if not model.lacking(_names(path), variant):
            recorded = _recorded(path, variant)
            return Snapshot(path, path.name, variant, recorded.get("weights_hash"))
    return None


def fetch(model: HubModel, variants: Variants, progress: Progress) -> Snapshot:
    """Fetches the first of some variants that the repository has, and checks every file's hash.

    Raises:
        ModelError: the hub refuses, is out of reach, lacks the model or its safetensors, or sends other bytes
            than it announces.
    """
    from huggingface_hub import snapshot_download

    from origcli.models.pipeline import hash_pipeline  # needs torch, which listing and checking do not

    info = _tried(lambda: _info(model), model, progress)
    offered = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    lacking = {variant: model.lacking(list(offered), variant) for variant in variants}
    variant = min(lacking, key=lambda variant: bool(lacking[variant]))  # the first that lacks nothing
    if lacking[variant]:
        raise ModelError(
            f"{model.id}: not a model that can be used here: it has no {lacking[variant][0]}",
            "only safetensors are read; choose a repository that has them",
        )
    patterns = model.patterns(variant)
    wanted = {name: sibling for name, sibling in offered.items() if _matches(name, patterns)}
    size = sum(sibling.size or 0 for sibling in wanted.values())
    kind = f", {variant}" if variant else ""
    progress.say(f"fetching {model.id} ({info.sha[:7]}{kind}, {size / 1e9:.2f} GB) into the hub's cache")
    path = Path()
    for last in (False, True):
        with progress.task(f"fetching {model.id}", size) as task:
            found = _tried(
                lambda task=task: snapshot_download(  # type: ignore[misc]
                    model.id,
                    revision=info.sha,
                    allow_patterns=patterns,
                    tqdm_class=_bar(task),
                ),
                model,
                progress,
            )
        path = Path(found)
        wrong = [name for name, sibling in wanted.items() if not _is_sound(path / name, sibling)]
        if not wrong:
            break
        for name in wrong:
            _remove(path / name)
        if last:
            raise ModelError(
                f"{model.id}: {wrong[0]} is not what the hub announces, twice", "try again later"
            )
    _point_to(path, model.revision)
    hashes = {name: hash_file(path / name) for name in sorted(wanted)}
    weights_hash = hash_pipeline(path, variant) if model.pipeline else None
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


def verify(snapshot: Snapshot) -> str:
    """Compares a snapshot with the hashes recorded when it was fetched.

    Returns:
        Empty where all is well, else what is not.
    """
    recorded = _recorded(snapshot.path, snapshot.variant).get("files")
    if not recorded:
        return "no hashes are recorded: it was not fetched by origcli"
    for name, digest in recorded.items():
        path = snapshot.path / name
        if not path.is_file():
            return f"{name} is missing"
        if hash_file(path) != digest:
            return f"{name} has changed"
    return ""


def _manifest(path: Path, variant: str | None) -> Path:
    return cache_directory("hub") / f"{path.parent.parent.name}@{path.name}.{variant or 'full'}.json"


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


def _bar(task: Task) -> Any:
    """A bar for the hub's client that only hands on the number of bytes."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.counts = options.get("unit") == "B" and "econstruct" in str(options.get("desc"))
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self.counts and n:
                task.advance(int(n))

    return Bar


def _tried(work: Callable[[], T], model: HubModel, progress: Progress) -> T:
    """Calls the hub, again after failures that may pass, and names what will not."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    for attempt in range(1, ATTEMPTS + 1):
        try:
            with _quiet():
                return work()
        except OfflineModeIsEnabled as error:
            raise ModelError(
                f"{model.id}: HF_HUB_OFFLINE is set, so it cannot be fetched", _remedy(model)
            ) from error
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status not in _WORTH_ANOTHER_TRY:
                raise _refusal(model, error, status) from error
            failure: Exception = error
        except OrigError:
            raise
        except Exception as error:  # of many kinds: a connection that breaks while several threads use it
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise storage_error(Path(constants.HF_HUB_CACHE), error) from error
            failure = error
        reason = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
        if attempt == ATTEMPTS:
            raise ModelError(
                f"{model.id}: cannot be fetched: {reason} (tried {ATTEMPTS} times)",
                f"check the network, then: {_remedy(model)}",
            ) from failure
        wait = FIRST_WAIT_S * 2 ** (attempt - 1)
        progress.say(f"{model.id}: {reason}; trying again in {wait:.0f} s")
        time.sleep(wait)
    raise AssertionError("unreachable")


@contextmanager
def _quiet() -> Iterator[None]:
    """The client's own remarks on its retries stay out of the log; the outcome is told by `_tried`."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _refusal(model: HubModel, error: Exception, status: int) -> ModelError:
    """The hub's final no, with what to do about it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return ModelError(
            f"{model.id}: its owner asks for consent first",
            f"accept the terms at {constants.ENDPOINT}/{model.id}, "
            f"log in with: hf auth login (or set HF_TOKEN), then: {_remedy(model)}",
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelError(
            f"{model.id}: has no revision {model.revision!r}", "leave the @REVISION out for main"
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            f"{model.id}: the hub has no such model, or it is private",
            f"check the name; for a private one log in with: hf auth login, then: {_remedy(model)}",
        )
    return ModelError(f"{model.id}: the hub answered {status}", f"try again later: {_remedy(model)}")


def _remedy(model: HubModel) -> str:
    """The command that fetches it."""
    return f"origcli fetch {model.id}" + (f"@{model.revision}" if model.revision != "main" else "")
