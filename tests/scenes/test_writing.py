"""Data sets on disk: equal for any number of workers, resumable, never written over by mistake."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from origcli.errors import DeviceError, InputError, Interrupted, StorageError, UsageError
from origcli.runtime import interrupts
from origcli.runtime.atomic import write_json, write_text
from origcli.runtime.run_directory import RunDirectory
from origcli.runtime.workers import run_units
from origcli.scenes import writing
from origcli.scenes.captions import parse_caption
from origcli.scenes.dataset import read_dataset
from origcli.scenes.mixtures import Recipe
from origcli.scenes.records import scene_of
from origcli.scenes.rendering import render
from origcli.scenes.writing import Unit, recipe_hash, units_of, write_dataset
from tests.images.test_reading import png_header
from tests.scenes.recipes import recipe

COUNT = 70


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of 20 pictures, so that a small set has several."""
    monkeypatch.setattr(writing, "UNIT", 20)


def digest(directory: Path) -> dict[str, str]:
    """The hash of every file but run.json, which tells times."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != "run.json"]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished set of 70 pictures; do not write into it."""
    path = tmp_path_factory.mktemp("sets") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "UNIT", 20)
        write_dataset(recipe(count=COUNT), path)
    return path


def test_a_set_holds_what_it_should(small: Path) -> None:
    assert sorted(path.name for path in small.iterdir()) == [
        ".written",
        "README.md",
        "data.yaml",
        "dataset.json",
        "images",
        "labels",
        "metadata.jsonl",
        "run.json",
        "yolo-fit.txt",
        "yolo-held-out.txt",
    ]
    dataset = read_dataset(small)
    assert len(dataset) == COUNT == len(list(small.glob("images/*/*.png")))
    for index in (0, 19, 20, 69):
        record = dataset.records[index]
        assert record["file_name"] == f"images/{index // 20:05d}/{index:06d}.png"
        scene = scene_of(record)
        assert sorted(scene.elements) == list(parse_caption(record["text"]))
        # A record is rounded to a millionth of the width: no stamp moves by that, but for a tie.
        assert np.abs(render(scene, 64).astype(int) - dataset.image(index)).max() <= 32
    assert dataset.facts["frequencies"]["kinds"]["uniform"]["pictures"] == sum(
        record["category"] == "uniform" for record in dataset.records
    )
    assert dataset.captions == [record["text"] for record in dataset.records]


def test_pictures_are_read_one_by_one_and_at_once(small: Path) -> None:
    dataset = read_dataset(small)
    together = dataset.images(threads=2)
    assert together.shape == (COUNT, 64, 64, 3) and together.dtype == np.uint8
    assert all(np.array_equal(together[index], dataset.image(index)) for index in range(COUNT))
    assert np.array_equal(dataset.images([5, 3]), together[[5, 3]])


@pytest.mark.fault(16, "the same data set")
@pytest.mark.parametrize("workers", [2, 4])
def test_the_number_of_workers_changes_no_byte(small: Path, tmp_path: Path, workers: int) -> None:
    write_dataset(recipe(count=COUNT), tmp_path / "set", workers=workers)
    assert digest(tmp_path / "set") == digest(small)


def test_a_longer_set_begins_with_the_shorter(small: Path, tmp_path: Path) -> None:
    write_dataset(recipe(count=2 * COUNT), tmp_path / "set")
    longer, shorter = digest(tmp_path / "set"), digest(small)
    lists = ("metadata.jsonl", "yolo-fit.txt", "yolo-held-out.txt")
    told = {"dataset.json", "README.md", ".written", *lists}
    assert {k: v for k, v in longer.items() if k in shorter and k not in told} == {
        k: v for k, v in shorter.items() if k not in told
    }
    for name in lists:
        assert (tmp_path / "set" / name).read_bytes().startswith((small / name).read_bytes())


def test_another_seed_is_another_set(small: Path, tmp_path: Path) -> None:
    write_dataset(recipe(seed=1, count=COUNT), tmp_path / "set")
    other, first = digest(tmp_path / "set"), digest(small)
    pictures = [name for name in first if name.endswith(".png")]
    assert len({other[name] for name in pictures} & {first[name] for name in pictures}) <= 1  # the empty one


def test_captions_may_be_shuffled(small: Path, tmp_path: Path) -> None:
    shuffled = write_dataset(recipe(count=COUNT, caption_order="shuffled"), tmp_path / "set")
    fixed = read_dataset(small)
    orders = [
        (parse_caption(a), parse_caption(b)) for a, b in zip(shuffled.captions, fixed.captions, strict=True)
    ]
    assert all(tuple(sorted(a)) == b for a, b in orders)
    assert any(a != b for a, b in orders)
    assert np.array_equal(shuffled.images(), fixed.images())


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_hold_the_same_pictures(small: Path, tmp_path: Path, shards: int) -> None:
    dataset = write_dataset(recipe(count=COUNT, shards=shards), tmp_path / "set", workers=2)
    files = read_dataset(small)
    assert len(list((tmp_path / "set" / "shards").glob("*.tar"))) == shards
    assert dataset.captions == files.captions and dataset.hash == files.hash
    assert np.array_equal(dataset.images(), files.images())
    again = write_dataset(recipe(count=COUNT, shards=shards), tmp_path / "again")
    assert digest(again.path) == digest(dataset.path)


def test_units_cover_all_pictures_once() -> None:
    for count in (0, 1, 19, 20, 21, 70):
        for shards in (None, 1, 3, 100):
            units = units_of(count, shards)
            assert [i for unit in units for i in range(unit.start, unit.stop)] == list(range(count))
            assert shards is None or len(units) == shards


def test_an_empty_set_is_a_set(tmp_path: Path) -> None:
    dataset = write_dataset(recipe(count=0), tmp_path / "set")
    assert len(dataset) == 0 and dataset.images().shape == (0, 64, 64, 3)


def test_the_hash_is_that_of_what_is_made() -> None:
    assert recipe_hash(recipe(shards=4)) == recipe_hash(recipe())
    hashes = {
        recipe_hash(changed)
        for changed in (recipe(), recipe(seed=1), recipe(resolution=32), recipe(hold_out=("blue circle",)))
    }
    assert len(hashes) == 4


def stop_in_second_unit(made: Recipe, directory: Path, unit: Unit, check: Any) -> int:
    if unit.number == 1:
        interrupts._received.append(signal.SIGINT)
    return writing.make_unit(made, directory, unit, interrupts.check)


def test_an_interrupted_run_goes_on(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setattr(
            writing, "run_units", lambda work, jobs, workers: run_units(stop_in_second_unit, jobs, 1)
        )
        with pytest.raises(Interrupted):
            write_dataset(recipe(count=COUNT), path)
    with pytest.raises(InputError, match="no finished data set"):
        read_dataset(path)
    kept = path / "images" / "00000" / "000000.png"
    before = kept.stat().st_mtime_ns
    with pytest.raises(UsageError, match="not empty"):
        write_dataset(recipe(count=COUNT), path)
    with pytest.raises(UsageError, match="resolution 64, not 32"):
        write_dataset(recipe(count=COUNT, resolution=32), path, existing="use")
    write_dataset(recipe(count=COUNT), path, existing="use", workers=2)
    assert digest(path) == digest(small)
    assert kept.stat().st_mtime_ns == before  # what was done was not done again


def test_a_finished_set_is_kept_unless_forced(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "set"
    shutil.copytree(small, path)
    (path / "images" / "00000" / "000000.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="not empty"):
        write_dataset(recipe(count=COUNT), path)
    write_dataset(recipe(count=COUNT), path, existing="use")  # finished: nothing to do
    assert (path / "images" / "00000" / "000000.png").read_bytes() == b"mine"
    with pytest.raises(UsageError, match="another recipe"):
        write_dataset(recipe(count=COUNT, seed=3), path, existing="use")
    write_dataset(recipe(count=COUNT), path, existing="replace")
    assert digest(path) == digest(small)


def test_the_directory_of_another_run_is_left_alone(tmp_path: Path) -> None:
    """Every command leaves run.json: beside other files it is no sign of a data set."""
    with RunDirectory(tmp_path) as run:
        write_json(run / "report.json", {})
    with pytest.raises(UsageError, match="no data set"):
        write_dataset(recipe(count=COUNT), tmp_path, existing="use")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".written", "report.json", "run.json"]
    (tmp_path / "report.json").unlink()
    assert len(write_dataset(recipe(count=COUNT), tmp_path, existing="use")) == COUNT


@pytest.mark.parametrize("name", ["dataset.json", ".synth.json"])
@pytest.mark.parametrize("text", ["{}", "[]", '{"recipe": 3}'])
def test_damaged_facts_are_named(tmp_path: Path, name: str, text: str) -> None:
    with RunDirectory(tmp_path) as run:
        write_text(run / name, text)
    with pytest.raises(InputError, match=name) as caught:
        write_dataset(recipe(count=COUNT), tmp_path, existing="use")
    assert "--force" in caught.value.hint


def test_a_stranger_s_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for existing in ("refuse", "replace", "use"):
        with pytest.raises(UsageError, match="not empty"):
            write_dataset(recipe(count=5), tmp_path, existing=existing)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: (path / "dataset.json").unlink(), "no finished data set"),
        (lambda path: (path / "dataset.json").write_text("{}"), "schema"),
        (lambda path: (path / "dataset.json").write_text("{"), "JSON"),
        (lambda path: (path / "metadata.jsonl").unlink(), "metadata.jsonl"),
        (lambda path: (path / "metadata.jsonl").write_text('{"text": ""}\n'), "1 lines, not 70"),
        (lambda path: (path / "metadata.jsonl").write_text("\n" * 70), "metadata.jsonl"),
    ],
)
def test_a_damaged_set_is_named(small: Path, tmp_path: Path, damage: Any, named: str) -> None:
    path = tmp_path / "set"
    shutil.copytree(small, path)
    damage(path)
    with pytest.raises(InputError, match=named):
        _ = read_dataset(path).records


def test_a_damaged_picture_is_named(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "set"
    shutil.copytree(small, path)
    file = path / "images" / "00000" / "000003.png"
    file.write_bytes(file.read_bytes()[:-60])
    (path / "images" / "00000" / "000004.png").unlink()
    dataset = read_dataset(path)
    for index in (3, 4):
        with pytest.raises(InputError, match=f"00000{index}.png"):
            dataset.image(index)
    with pytest.raises(InputError):
        dataset.images()


def _link(target: str | Path) -> Callable[[Path, Path], None]:
    return lambda file, outside: file.symlink_to(target)


@pytest.mark.fault(5, "training reads the images of a data set through the same checks")
@pytest.mark.parametrize(
    ("exchange", "named"),
    [
        (lambda file, outside: os.mkfifo(file), "not a regular file"),
        (_link("/dev/zero"), "link leads out"),
        (lambda file, outside: file.symlink_to(outside), "link leads out"),
        (lambda file, outside: file.write_bytes(png_header(60_000, 60_000)), "not 64 pixels"),
        (lambda file, outside: file.write_bytes(b"GIF89a"), "not a PNG"),
    ],
    ids=["pipe", "device", "link", "bomb", "other format"],
)
def test_a_picture_that_is_something_else_is_named(
    small: Path, tmp_path: Path, exchange: Callable[[Path, Path], None], named: str
) -> None:
    path = tmp_path / "set"
    shutil.copytree(small, path)
    file, outside = path / "images" / "00000" / "000003.png", tmp_path / "outside.png"
    shutil.copy(file, outside)
    file.unlink()
    exchange(file, outside)
    dataset = read_dataset(path)
    assert dataset.image(2).shape == (64, 64, 3)
    with pytest.raises(InputError, match=named) as caught:
        dataset.image(3)
    assert "000003.png" in caught.value.message


@pytest.mark.parametrize("name", ["metadata.jsonl", "dataset.json"])
def test_a_pipe_in_place_of_a_file_of_a_set_is_refused(small: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "set"
    shutil.copytree(small, path)
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(InputError, match=r"not a regular file|no finished data set"):
        read_dataset(path)


def test_a_set_whose_folder_is_a_link_to_another_disk_is_refused_and_a_linked_set_is_not(
    small: Path, tmp_path: Path
) -> None:
    (tmp_path / "set").symlink_to(small)
    assert read_dataset(tmp_path / "set").image(0).shape == (64, 64, 3)
    shutil.copytree(small, tmp_path / "copy")
    shutil.move(tmp_path / "copy/images", tmp_path / "images")
    (tmp_path / "copy/images").symlink_to(tmp_path / "images")
    with pytest.raises(InputError, match="link leads out"):
        read_dataset(tmp_path / "copy").image(0)


def die(number: int, check: Any) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.fault(15, "synth says so and can go on")
def test_a_killed_worker_is_told() -> None:
    with pytest.raises(DeviceError, match="killed"):
        list(run_units(die, [(1,), (2,)], 2))


def count_until_stopped(path: str, check: Any) -> int:
    for _ in range(600):
        check()
        Path(path).write_text("at work")
        time.sleep(0.05)
    return 1


def test_workers_stop_in_the_middle_of_a_unit(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in "ab"]

    def stop_later() -> None:
        while not all(Path(file).exists() for file in files):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    with interrupts.handled(), pytest.raises(Interrupted):
        thread = threading.Thread(target=stop_later)
        thread.start()
        list(run_units(count_until_stopped, [(file,) for file in files], 2))
    thread.join()


FOLLOW = """
import os, sys, time
from origcli.runtime.workers import run_units
def work(name, check):
    open(name, "w").write(str(os.getpid()))
    time.sleep(120)
    return 1
if __name__ == "__main__":
    list(run_units(work, [(name,) for name in sys.argv[1:]], 2))
"""


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "follow.py"
    script.write_text(FOLLOW)
    files = [tmp_path / "a", tmp_path / "b"]
    parent = subprocess.Popen([sys.executable, script, *map(str, files)])
    while not all(file.exists() and file.read_text() for file in files):
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    workers = [int(file.read_text()) for file in files]
    deadline = time.monotonic() + 60
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def is_running(process: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.fault(6, "a data set resumes once there is room")
def test_a_full_disk_is_told_and_resumed(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set"
    write = writing.write_file

    def no_room(name: str, data: bytes, folder: int) -> None:
        if name == "000047.png":
            raise OSError(28, "No space left on device")
        write(name, data, folder)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_file", no_room)
        with pytest.raises(StorageError, match="No space left"):
            write_dataset(recipe(count=COUNT), path)
    write_dataset(recipe(count=COUNT), path, existing="use")
    assert digest(path) == digest(small)


def test_facts_are_strict_json(small: Path) -> None:
    facts = json.loads((small / "dataset.json").read_text(), parse_constant=pytest.fail)
    assert facts["schema"] == "origcli.dataset/1" and facts["recipe"]["seed"] == 0
    assert facts["elements"][0] == "big red full circle" and len(facts["elements"]) == 60


def stop_the_group(number: int, check: Any) -> int:
    """What `timeout` and a batch system do: the signal goes to all processes of the group."""
    if number == 1:  # once: the second signal would stop the parent without a word
        os.kill(os.getppid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
    return number


def test_a_signal_to_the_whole_group_is_no_killed_worker() -> None:
    with interrupts.handled(), pytest.raises(Interrupted):
        list(run_units(stop_the_group, [(1,), (2,)], 2))


@pytest.mark.fault(15, "synth works in one process where there is no shared memory for more")
def test_without_shared_memory_one_process_does_all(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Context:
        def Event(self) -> None:  # noqa: N802
            raise OSError(30, "Read-only file system")

    monkeypatch.setattr("origcli.runtime.workers._context", Context)
    write_dataset(recipe(count=COUNT), tmp_path / "set", workers=2)
    assert digest(tmp_path / "set") == digest(small)


@pytest.mark.fault(65, "images of a data set that vanished are made again when it is resumed")
@pytest.mark.parametrize("shards", [None, 3])
def test_what_vanished_is_made_again(
    tmp_path: Path, shards: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(recipe(count=COUNT, shards=shards), tmp_path / "whole")
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(writing, "_finish", stop)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(recipe(count=COUNT, shards=shards), tmp_path / "set")
    lost = "shards/00001.tar" if shards else "images/00001/000023.png"
    (tmp_path / "set" / lost).unlink()
    write_dataset(recipe(count=COUNT, shards=shards), tmp_path / "set", existing="use")
    assert digest(tmp_path / "set") == digest(tmp_path / "whole")
