"""Where a run goes: the directory that was asked for, else one under runs/ that is new or found again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from origcli.errors import UsageError
from origcli.runtime.atomic import storage_error
from origcli.runtime.owned import LOCK_NAMES, RUN_NAME, WRITTEN_NAME, is_partial
from origcli.runtime.provenance import hash_value
from origcli.runtime.run_record import read_run_record

if TYPE_CHECKING:
    from origcli.settings import Settings

Existing = Literal["use", "refuse", "replace"]

RUNS = Path("runs")


def existing(resume: bool, force: bool) -> Existing:
    """What a command does with an --out that holds something."""
    return "use" if resume else "replace" if force else "refuse"


@dataclass(frozen=True)
class RunPlace:
    """The directory of a run that is about to begin.

    Attributes:
        path: the directory; of a new one under runs/, the first name that it may get.
        existing: what to do with a directory that holds something.
        request: hash of what is asked for, by which --resume finds the run again.
        is_numbered: the first of PATH, PATH-2, PATH-3 … that can be made.
    """

    path: Path
    existing: Existing = "refuse"
    request: str | None = None
    is_numbered: bool = False

    def take(self) -> Path:
        """The directory's path; a numbered one is made, and is this process's alone.

        Raises:
            StorageError: it cannot be made.
        """
        if not self.is_numbered:
            return self.path
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for path in _numbered(self.path):
                try:
                    path.mkdir()
                    return path
                except FileExistsError:
                    continue
        except OSError as error:
            raise storage_error(self.path, error) from error
        raise AssertionError("numbers have no end")


def request_of(command: str, settings: "Settings", names: Sequence[str], **more: Any) -> str:
    """Hash of what a command is asked for: its settings, the names of its images, and `more`."""
    values = settings.model_dump(mode="json", exclude={"runtime"})
    return hash_value([command, values, settings.runtime.seed, list(names), more])


def place_of(
    command: str, out: Path | None, names: Sequence[str], request: str, resume: bool, force: bool
) -> RunPlace:
    """The place of a run.

    Args:
        command: its name.
        out: as given.
        names: of the images, or what else the run is called after.
        request: hash of what is asked for (`request_of`).
        resume: without `out`, the latest unfinished run of the same request.
        force: without `out`, the latest run of this name.

    Raises:
        UsageError: there is no run to resume.
    """
    if out is not None:
        return RunPlace(out, existing(resume, force), request)
    first = RUNS / f"{command}-{names[0] if len(names) == 1 else f'{len(names)}-images'}"
    if not (resume or force):
        return RunPlace(first, "refuse", request, is_numbered=True)
    runs = [(path, record) for path in _there(first) if (record := read_run_record(path)) is not None]
    if force:
        return RunPlace(runs[-1][0], "replace", request) if runs else RunPlace(first, "refuse", request, True)
    same = [(path, record) for path, record in runs if record["request"] == request]
    unfinished = [path for path, record in same if record["state"] != "finished" and _has_begun(path)]
    if not unfinished:
        raise _nothing_to_resume(first, [path for path, _ in same])
    return RunPlace(unfinished[-1], "use", request)


def _has_begun(path: Path) -> bool:
    """Whether a run got as far as leaving something: one that was refused, or killed at once, did not."""
    names = {entry.name for entry in path.iterdir()} - {RUN_NAME, WRITTEN_NAME, *LOCK_NAMES}
    return not all(map(is_partial, names))


def _nothing_to_resume(first: Path, finished: Sequence[Path]) -> UsageError:
    if finished:
        return UsageError(f"{finished[-1]}: already finished; nothing to resume", "name a run with --out")
    return UsageError(
        f"no unfinished run of these images and settings is called {first} or {first}-N",
        "name it with --out, or leave --resume out to start one",
    )


def _numbered(first: Path) -> Iterator[Path]:
    yield first
    for number in count(2):
        yield first.with_name(f"{first.name}-{number}")


def _there(first: Path) -> list[Path]:
    """The directories of a name that are there, by their numbers; some may have been removed."""
    numbers = {}
    for path in first.parent.glob(f"{first.name}*") if first.parent.is_dir() else ():
        rest = path.name.removeprefix(first.name)
        if not rest:
            numbers[1] = path
        elif rest[0] == "-" and rest[1:].isdecimal():
            numbers[int(rest[1:])] = path
    return [numbers[number] for number in sorted(numbers)]
