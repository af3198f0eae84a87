"""Makes a data set: units of pictures by several processes, then metadata and facts; resumable."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from origcli import __version__
from origcli.errors import DeviceError, UsageError
from origcli.runtime import interrupts
from origcli.runtime.progress import Progress, SilentProgress
from origcli.runtime.provenance import hash_value
from origcli.runtime.run_directory import (
    RunDirectory,
    atomic_file,
    read_json,
    storage_error,
    write_json,
    write_text,
)
from origcli.scenes import shards
from origcli.scenes.captions import caption
from origcli.scenes.dataset import FACTS_NAME, METADATA_NAME, SCHEMA, Dataset, read_dataset
from origcli.scenes.mixtures import Recipe, Sampler
from origcli.scenes.png import encode_png
from origcli.scenes.records import data_yaml, record_line, scene_record, yolo_labels
from origcli.scenes.rendering import render

UNIT = 1000
PLAN_NAME = ".synth.json"
PARTS_NAME = ".parts"
GENERATOR = 1  # raise it when the same recipe gives other pictures, captions or metadata


@dataclass(frozen=True)
class Unit:
    """Consecutive pictures that one worker makes."""

    number: int
    start: int
    stop: int


def recipe_facts(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON: all that decides pictures, captions and metadata, and how they are stored."""
    facts = recipe.settings.model_dump(mode="json")
    return {**facts, "seed": recipe.seed, "generator": GENERATOR}


def recipe_hash(recipe: Recipe) -> str:
    """sha256 of the recipe without the way of storing."""
    return hash_value({key: value for key, value in recipe_facts(recipe).items() if key != "shards"})


def units_of(count: int, shard_count: int | None) -> list[Unit]:
    """The units of a data set: folders of a thousand pictures, or one a shard, as equal as can be."""
    if shard_count is None:
        edges = [*range(0, count, UNIT), count]
    else:
        edges = [count * k // shard_count for k in range(shard_count + 1)]
    return [Unit(number, a, b) for number, (a, b) in enumerate(zip(edges, edges[1:], strict=False))]


@cache
def _sampler(recipe: Recipe) -> Sampler:
    return Sampler(recipe)


def picture(recipe: Recipe, index: int) -> tuple[bytes, dict[str, Any], str]:
    """Picture `index` of a recipe: its PNG file, its record without a place, and its labels."""
    scene, order = _sampler(recipe).scene_and_order(index)
    record = scene_record(scene, "", caption(order, "given"))
    return encode_png(render(scene, recipe.settings.resolution)), record, yolo_labels(scene)


def _write_folder(recipe: Recipe, directory: Path, unit: Unit) -> list[dict[str, Any]]:
    """Writes the pictures and labels of a unit."""
    images, labels = (f"{kind}/{unit.number:05d}" for kind in ("images", "labels"))
    for folder in (images, labels):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    records = []
    for index in range(unit.start, unit.stop):
        data, record, text = picture(recipe, index)
        record["file_name"] = f"{images}/{index:06d}.png"
        _write(f"{directory}/{record['file_name']}", data)
        _write(f"{directory}/{labels}/{index:06d}.txt", text.encode())
        records.append(record)
    return records


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def make_unit(recipe: Recipe, directory: Path, unit: Unit) -> int:
    """Makes one unit and, last, the part of the metadata that tells it is done. Gives its pictures' number."""
    try:
        if recipe.settings.shards is None:
            records = _write_folder(recipe, directory, unit)
        else:
            made = (picture(recipe, index) for index in range(unit.start, unit.stop))
            records = shards.write_shard(directory, unit.number, unit.start, made)
        write_text(_part(directory, unit), "".join(map(record_line, records)))
    except OSError as error:
        raise storage_error(directory, error) from error
    return unit.stop - unit.start


def _part(directory: Path, unit: Unit) -> Path:
    return directory / PARTS_NAME / f"{unit.number:05d}.jsonl"


def write_dataset(
    recipe: Recipe,
    path: Path,
    *,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Writes the data set of a recipe.

    Args:
        workers: processes; the files are the same for any number of them.
        resume: go on with what an earlier run of the same recipe left.
        force: start over, removing what an earlier run wrote there.

    Raises:
        UsageError: the directory is in use, or holds another recipe's data.
        StorageError: the disk is full or cannot be written.
        Interrupted: a signal came; what was finished is kept.
    """
    with RunDirectory(path) as run:
        if not _prepare(recipe, run.path, resume, force):
            return read_dataset(path)
        units = units_of(recipe.settings.count, recipe.settings.shards)
        missing = [unit for unit in units if not _part(run.path, unit).exists()]
        done = recipe.settings.count - sum(unit.stop - unit.start for unit in missing)
        with (progress or SilentProgress()).task("synth", recipe.settings.count, done) as task:
            for made in _make_all(recipe, run.path, missing, workers):
                task.advance(made)
        _finish(recipe, run.path, units)
    return read_dataset(path)


def _prepare(recipe: Recipe, directory: Path, resume: bool, force: bool) -> bool:
    """Makes the directory ready. False where the same data set is finished already."""
    plan = recipe_facts(recipe)
    if force:
        _clear(directory)
    found = next((directory / n for n in (FACTS_NAME, PLAN_NAME) if (directory / n).exists()), None)
    if found is None:
        if any(not entry.name.startswith(".lock") for entry in directory.iterdir()):
            raise UsageError(f"{directory}: not empty", "choose another directory, or --force")
    else:
        held = read_json(found)
        held = held["recipe"] if found.name == FACTS_NAME else held
        if not resume:
            state = "a finished data set" if found.name == FACTS_NAME else "an unfinished data set"
            raise UsageError(
                f"{directory}: {state} is here", "go on with --resume, or start over with --force"
            )
        other = [f"{k}: {held.get(k)!r} there, {plan.get(k)!r} asked" for k in plan if held.get(k) != plan[k]]
        if other:
            raise UsageError(f"{directory}: made by another recipe ({'; '.join(other)})", "use --force")
        if found.name == FACTS_NAME:
            return False
    (directory / PARTS_NAME).mkdir(exist_ok=True)
    write_json(directory / PLAN_NAME, plan)
    return True


def _clear(directory: Path) -> None:
    """Removes what `synth` writes, and nothing else."""
    for name in (FACTS_NAME, PLAN_NAME, METADATA_NAME, "data.yaml"):
        (directory / name).unlink(missing_ok=True)
    for name in ("images", "labels", PARTS_NAME, shards.FOLDER):
        shutil.rmtree(directory / name, ignore_errors=True)


def _begin_worker() -> None:
    """The parent alone answers signals; a worker whose parent was killed ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def follow() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _context() -> Any:
    """Forking starts at once, but is safe only where no other thread runs."""
    alone = sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules
    return get_context("fork" if alone else "spawn")


def _make_all(recipe: Recipe, directory: Path, units: list[Unit], workers: int) -> Iterator[int]:
    """Makes units, in this process or in several; gives the number of pictures of each as it is done."""
    if workers == 1 or len(units) < 2:
        for unit in units:
            interrupts.check()
            yield make_unit(recipe, directory, unit)
        return
    pool = ProcessPoolExecutor(min(workers, len(units)), _context(), _begin_worker)
    try:
        waiting = iter(units)
        running: set[Future[int]] = set()
        while True:
            interrupts.check()
            while len(running) < 2 * workers and (unit := next(waiting, None)) is not None:
                running.add(pool.submit(make_unit, recipe, directory, unit))
            if not running:
                return
            done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise DeviceError("a worker process was killed", "go on with --resume and fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _finish(recipe: Recipe, directory: Path, units: list[Unit]) -> None:
    """Puts the parts together; `dataset.json` comes last and says that all is there."""
    with atomic_file(directory / METADATA_NAME) as whole:
        for unit in units:
            with _part(directory, unit).open("rb") as part:
                shutil.copyfileobj(part, whole)
    if recipe.settings.shards is None:
        write_text(directory / "data.yaml", data_yaml())
    facts = {
        "schema": SCHEMA,
        "recipe": recipe_facts(recipe),
        "hash": recipe_hash(recipe),
        "count": recipe.settings.count,
        "elements": [element.phrase for element in recipe.elements],
        "origcli": __version__,
    }
    write_json(directory / FACTS_NAME, facts)
    shutil.rmtree(directory / PARTS_NAME)
    (directory / PLAN_NAME).unlink()
