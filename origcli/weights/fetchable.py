"""One thing that can be fetched: how it stands on this disk, and getting it. Needs no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from origcli.errors import ModelError
from origcli.runtime.cache import cache_path
from origcli.runtime.progress import Progress
from origcli.runtime.provenance import hash_file
from origcli.weights import hub
from origcli.weights.downloads import RemoteFile, announced_size, download
from origcli.weights.repository import HubModel


@dataclass(frozen=True)
class State:
    """One thing that can be fetched, as it is on this disk.

    Attributes:
        name: what `origcli fetch` calls it.
        what: what it is for.
        source: hub id and commit, or URL.
        path: where it is; `None` where it is not here.
        bytes: its size here.
        variant: of weights in the hub's cache.
        problem: what is wrong with it; only looked for where asked.
        terms: its license, and what it takes to get it.
        download: about how many bytes it takes to get it, where that is known.
    """

    name: str
    what: str
    source: str
    path: Path | None
    bytes: int = 0
    variant: str | None = None
    problem: str = ""
    terms: str = ""
    download: int | None = None

    @property
    def ready(self) -> bool:
        """Whether it can be used without a network."""
        return self.path is not None and not self.problem


class Fetchable(Protocol):
    """Something with a name that `origcli fetch` gets."""

    @property
    def name(self) -> str:
        """What `origcli fetch` calls it."""

    def state(self, *, verify: bool = False, variant: str | None = None) -> State:
        """How it stands on this disk; no network is asked.

        Args:
            verify: read it all and compare the hashes with those recorded.
            variant: `fp16` asks for these files of a model of the hub; else the full ones are looked for
                first.
        """

    def fetch(self, progress: Progress, *, variant: str | None = None) -> None:
        """Gets it, unless it is here and sound.

        Raises:
            ModelError: it cannot be had.
        """


@dataclass(frozen=True)
class HubFetchable:
    """A model of the hub.

    Attributes:
        what: what it is for.
    """

    name: str
    model: HubModel
    what: str = "a model of the hub"

    def state(self, *, verify: bool = False, variant: str | None = None) -> State:
        """See `Fetchable`."""
        source, terms = f"{self.model.id}@{self.model.revision}", self.model.terms
        download = None if self.model.gigabytes is None else round(self.model.gigabytes * 1e9)
        try:
            found = hub.find(self.model, _variants(variant))
        except ModelError as error:  # of another kind, or damaged
            return State(self.name, self.what, source, None, problem=error.message, terms=terms)
        if found is None:
            return State(self.name, self.what, source, None, terms=terms, download=download)
        files = [path for path in found.path.rglob("*") if path.is_file()]
        return State(
            name=self.name,
            what=self.what,
            source=f"{self.model.id}@{found.revision}",
            path=found.path,
            bytes=sum(path.stat().st_size for path in files),
            variant=found.variant,
            problem=hub.verify(found) if verify else "",
            terms=terms,
        )

    def fetch(self, progress: Progress, *, variant: str | None = None) -> None:
        """See `Fetchable`."""
        hub.fetch(self.model, _variants(variant), progress)


def _variants(variant: str | None) -> hub.Variants:
    return (variant,) if variant else (None, "fp16")


@dataclass(frozen=True)
class FileFetchable:
    """A single file of weights.

    Attributes:
        what: what it is for.
    """

    name: str
    remote: RemoteFile
    what: str

    @property
    def path(self) -> Path:
        """Where it is, or would be."""
        return cache_path("weights") / self.remote.name

    def state(self, *, verify: bool = False, variant: str | None = None) -> State:
        """See `Fetchable`."""
        if not self.path.is_file():
            return State(self.name, self.what, self.remote.url, None)
        changed = verify and hash_file(self.path) != self.remote.sha256
        return State(
            name=self.name,
            what=self.what,
            source=self.remote.url,
            path=self.path,
            bytes=self.path.stat().st_size,
            problem=f"{self.path}: changed since it was downloaded" if changed else "",
        )

    def fetch(self, progress: Progress, *, variant: str | None = None) -> None:
        """See `Fetchable`."""
        progress.say(f"fetching {self.remote.name} ({(announced_size(self.remote) or 0) / 1e6:.1f} MB)")
        download(self.remote, self.path, progress)
