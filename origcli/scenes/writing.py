"""Makes a data set: units of images, by one process or several, then metadata and facts; resumable.

A unit is a folder of a thousand images, or a shard. Its part of the metadata is written last, so a
unit with a part is done. `dataset.json` is written last and says that the set is finished.
"""

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from origcli import __version__
from origcli.errors import InputError, UsageError
from origcli.runtime import interrupts
from origcli.runtime.atomic import (
    atomic_file,
    claim_directory,
    read_json,
    remove,
    storage_error,
    sweep,
    write_json,
    write_text,
)
from origcli.runtime.owned import RUN_NAME, WRITTEN_NAME, open_folder, owned, without_link
from origcli.runtime.progress import Progress, SilentProgress
from origcli.runtime.provenance import hash_value
from origcli.runtime.run_directory import RunDirectory
from origcli.runtime.run_place import Existing
from origcli.runtime.workers import Check, run_units
from origcli.scenes import card, shards
from origcli.scenes.dataset import FACTS_NAME, METADATA_NAME, SCHEMA, Dataset, read_dataset
from origcli.scenes.frequencies import Tally, frequency_facts, tally
from origcli.scenes.making import SceneImage, make_images
from origcli.scenes.mixtures import Recipe
from origcli.scenes.records import SPLIT_NAMES, data_yaml, is_for_validation, record_line, yolo_labels

UNIT = 1000
PLAN_NAME = ".synth.json"
PARTS_NAME = ".parts"
GENERATOR = 1  # raise it when the same recipe comes to give other images, captions or metadata


@dataclass(frozen=True)
class Unit:
    """Consecutive images that one worker makes."""

    number: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def recipe_facts(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON: all that decides images, captions and metadata, and how they are stored."""
    facts = recipe.settings.model_dump(mode="json")
    return {**facts, "seed": recipe.seed, "generator": GENERATOR}


def recipe_hash(recipe: Recipe) -> str:
    """sha256 of the recipe without the way of storing."""
    return hash_value({key: value for key, value in recipe_facts(recipe).items() if key != "shards"})


def units_of(count: int, shard_count: int | None) -> list[Unit]:
    """The units of a data set: folders of a thousand images, or shards that are as equal as can be."""
    if shard_count is None:
        edges = [*range(0, count, UNIT), count]
    else:
        edges = [count * k // shard_count for k in range(shard_count + 1)]
    return [Unit(number, start, stop) for number, (start, stop) in enumerate(pairwise(edges))]


def make_unit(recipe: Recipe, directory: Path, unit: Unit, check: Check) -> int:
    """Makes one unit, then the part of the metadata that tells that it is done. Gives its length.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    opened = _open_folder if recipe.settings.shards is None else shards.open_shard
    counts: Tally = Counter()
    try:
        # A worker process makes the directory its own, too.
        with owned(directory), atomic_file(_part(directory, unit, "jsonl")) as part:
            with opened(directory, unit.number) as add:
                for picture in make_images(recipe, range(unit.start, unit.stop), check):
                    part.write(add(picture).encode())
                    tally(counts, picture.scene)
            write_json(_part(directory, unit, "json"), counts)
    except OSError as error:
        raise storage_error(directory, error) from error
    return len(unit)


@contextmanager
def _open_folder(directory: Path, number: int) -> Iterator[Callable[[SceneImage], str]]:
    """A function that writes an image and its labels and gives its line of metadata."""
    images, labels = f"images/{number:05d}", f"labels/{number:05d}"
    with _entered(directory / images) as image_folder, _entered(directory / labels) as label_folder:

        def add(picture: SceneImage) -> str:
            name = f"{picture.index:06d}"
            write_file(f"{name}.png", picture.png, image_folder)
            write_file(f"{name}.txt", yolo_labels(picture.scene).encode(), label_folder)
            return record_line(picture.scene, f"{images}/{name}.png", picture.caption)

        yield add


@contextmanager
def _entered(folder: Path) -> Iterator[int]:
    """A folder, made where it is missing, in which files can be made without finding the way again."""
    with open_folder(claim_directory(folder)) as handle:
        yield handle


def write_file(name: str, data: bytes, folder: int) -> None:
    """Writes a file in few system calls. It need not be atomic: a unit that is cut short is made again."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        descriptor = os.open(name, flags, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        without_link(name, folder)
        descriptor = os.open(name, flags, 0o666, dir_fd=folder)
    try:
        written = os.write(descriptor, data)
        while written < len(data):
            written += os.write(descriptor, data[written:])
    finally:
        os.close(descriptor)


def _part(directory: Path, unit: Unit, kind: str) -> Path:
    return directory / PARTS_NAME / f"{unit.number:05d}.{kind}"


def write_dataset(
    recipe: Recipe,
    path: Path,
    *,
    workers: int = 1,
    existing: Existing = "refuse",
    progress: Progress | None = None,
) -> Dataset:
    """Writes the data set of a recipe.

    Args:
        workers: processes; the files are the same for any number of them.
        existing: what to do with a directory that holds something; "use" resumes what an earlier
            run of the same recipe left.

    Raises:
        UsageError: the directory is in use, or holds another recipe's data.
        InputError: it holds a damaged data set.
        StorageError: the disk is full or cannot be written.
        Interrupted: a signal came; what was finished is kept.
    """
    with RunDirectory(path, existing, record=False) as run, interrupts.handled():
        if not _is_finished(recipe, run.path):
            run.begin()
            sweep(run.path)
            write_json(run / PLAN_NAME, recipe_facts(recipe))
            _make(recipe, run.path, workers, progress or SilentProgress())
    return read_dataset(path)


def _is_finished(recipe: Recipe, directory: Path) -> bool:
    """Whether the directory holds this data set already.

    Raises:
        UsageError: it holds something else.
        InputError: what says which recipe it holds is damaged.
    """
    plan = recipe_facts(recipe)
    recorded = next(
        (directory / name for name in (FACTS_NAME, PLAN_NAME) if (directory / name).exists()), None
    )
    if recorded is None:
        # A run that was killed at once left its mark alone; other commands leave that, too, beside their own.
        foreign = {entry.name for entry in directory.iterdir() if not entry.name.startswith(".lock")}
        if foreign - {RUN_NAME, WRITTEN_NAME}:
            raise UsageError(f"{directory}: not empty, and no data set", "choose another directory")
        return False
    held = read_json(recorded)
    if recorded.name == FACTS_NAME and isinstance(held, dict):
        held = held.get("recipe")
    if not isinstance(held, dict) or "seed" not in held:
        raise InputError(f"{recorded}: not as origcli synth writes it", "overwrite it with --force")
    changed = [f"{key} {held.get(key)!r}, not {plan[key]!r}" for key in plan if held.get(key) != plan[key]]
    if changed:
        raise UsageError(
            f"{directory}: begun with another recipe: {'; '.join(changed)}", "overwrite it with --force"
        )
    return recorded.name == FACTS_NAME


def _make(recipe: Recipe, directory: Path, workers: int, progress: Progress) -> None:
    claim_directory(directory / PARTS_NAME)
    units = units_of(recipe.settings.count, recipe.settings.shards)
    missing = [unit for unit in units if not _is_made(recipe, directory, unit)]
    done = recipe.settings.count - sum(map(len, missing))
    with progress.task("synth", recipe.settings.count, done) as task:
        jobs = [(recipe, directory, unit) for unit in missing]
        for made in run_units(make_unit, jobs, workers):
            task.advance(made)
    _finish(recipe, directory, units)


def _is_made(recipe: Recipe, directory: Path, unit: Unit) -> bool:
    """Whether a unit has its part of the metadata, and its files are still there."""
    if not _part(directory, unit, "jsonl").exists():
        return False
    if recipe.settings.shards is not None:
        return (directory / shards.shard_name(unit.number)).is_file()
    folders = (directory / kind / f"{unit.number:05d}" for kind in ("images", "labels"))
    return all(folder.is_dir() and sum(1 for _ in folder.iterdir()) >= len(unit) for folder in folders)


def _write_splits(directory: Path, count: int) -> None:
    """Writes the lists of images that ultralytics trains on, and validates on."""
    names = [f"./images/{index // UNIT:05d}/{index:06d}.png\n" for index in range(count)]
    held = [is_for_validation(index, count) for index in range(count)]
    train = [name for name, is_held in zip(names, held, strict=True) if not is_held or count == 1]
    val = [name for name, is_held in zip(names, held, strict=True) if is_held]
    for name, listed in zip(SPLIT_NAMES, (train, val), strict=True):
        write_text(directory / name, "".join(listed))


def _finish(recipe: Recipe, directory: Path, units: list[Unit]) -> None:
    """Puts the parts together."""
    counts: Tally = Counter()
    with atomic_file(directory / METADATA_NAME) as whole:
        for unit in units:
            counts.update(read_json(_part(directory, unit, "json")))
            with _part(directory, unit, "jsonl").open("rb") as part:
                shutil.copyfileobj(part, whole)
    if recipe.settings.shards is None:
        write_text(directory / "data.yaml", data_yaml())
        _write_splits(directory, recipe.settings.count)
    facts = {
        "schema": SCHEMA,
        "recipe": recipe_facts(recipe),
        "hash": recipe_hash(recipe),
        "count": recipe.settings.count,
        "elements": [element.phrase for element in recipe.elements],
        "frequencies": frequency_facts(recipe, counts),
        "origcli": __version__,
    }
    write_text(directory / card.NAME, card.dataset_card(facts))
    write_json(directory / FACTS_NAME, facts)
    remove(directory / PARTS_NAME)
    remove(directory / PLAN_NAME)
