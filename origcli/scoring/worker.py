"""A process that measures a part of a run: it opens the models once, and sends files with the outcomes."""

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from origcli.models.words import Vectors
from origcli.reports.schema import Provenance
from origcli.runtime.atomic import claim_directory, make_directory, write_bytes, write_unsynced
from origcli.scoring.batches import Batch
from origcli.scoring.measurer import Outcome
from origcli.settings import Settings

Sent = tuple[Provenance, list[Outcome], dict[str, bytes]]


def open_worker(
    settings: Settings,
    given: Mapping[int, Vectors] | None,
    cache: Path | None,
    checkpoints: Path | None = None,
) -> Callable[[Batch], Sent]:
    """What a worker runs: opens everything, and gives the function that measures a batch.

    Args:
        given: tokens learned before, by m.
        cache: directory of results kept by content; `None` keeps them until the worker ends.
        checkpoints: directory for those of inversions under way, where it outlives the worker.
    """
    from origcli.runtime.context import open_runtime
    from origcli.runtime.distributed import alone
    from origcli.scoring.setup import open_measurer, open_models, provenance_of
    from origcli.scoring.store import Store

    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # as in the command itself
    stack = ExitStack()
    stack.enter_context(alone())
    runtime = stack.enter_context(open_runtime(settings.runtime))
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="origcli-")))
    store = Store(cache or directory / ".work")
    models = open_models(settings, runtime)
    provenance = provenance_of("score", models, settings)
    measurer = open_measurer(models, settings, runtime, store, given, checkpoints)

    def measure(batch: Batch) -> Sent:
        with TemporaryDirectory(dir=directory) as place:
            outcomes = list(measurer.score(batch, Path(place)))
            files = {
                path.relative_to(place).as_posix(): path.read_bytes()
                for path in sorted(Path(place).rglob("*"))
                if path.is_file()
            }
        return provenance, outcomes, files

    weakref.finalize(measure, stack.close)  # with it, or with the process while modules are still whole
    return measure


def received(sent: Iterable[Sent], directory: Path) -> Iterator[tuple[Provenance, Outcome]]:
    """The outcome of each image as workers send them; files are written to the run's directory before."""
    for provenance, outcomes, files in sent:
        save_files(directory, files)
        for outcome in outcomes:
            yield provenance, outcome


def save_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files of a result to the run's directory; images are not synced, as in `save_images`."""
    for name, data in files.items():
        if name.startswith("pictures/"):
            claim_directory((directory / name).parent)
            write_unsynced(directory / name, data)
        else:
            make_directory((directory / name).parent)
            write_bytes(directory / name, data)
