"""Locks, atomic writes, full disks, and runs that are killed at the worst moment."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import InputError, LockedError, StorageError, UsageError
from origcli.runtime.atomic import (
    atomic_file,
    make_directory,
    read_json,
    sweep,
    write_bytes,
    write_json,
    write_text,
)
from origcli.runtime.cache import cache_directory
from origcli.runtime.run_directory import RunDirectory


def python(code: str, *words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Runs code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_written_file_is_whole_and_alone(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"one")
    write_bytes(tmp_path / "a.bin", b"two")
    assert (tmp_path / "a.bin").read_bytes() == b"two"
    assert names(tmp_path) == {"a.bin"}


@pytest.mark.parametrize("problem", [ValueError("no"), KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, problem: BaseException) -> None:
    target = tmp_path / "a.bin"
    write_bytes(target, b"old")
    expected = StorageError if isinstance(problem, OSError) else type(problem)
    with pytest.raises(expected), atomic_file(target) as file:
        file.write(b"half of the n")
        raise problem
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == {"a.bin"}


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("real")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_text(tmp_path / "link.txt", "é")
    assert not (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "link.txt").read_text("utf-8") == "é"
    assert (tmp_path / "real.txt").read_text() == "real"


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    name = "漢" * 85  # 255 bytes
    write_bytes(tmp_path / name, b"x")
    assert names(tmp_path) == {name}


def test_equal_values_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None, "é"]})
    write_json(tmp_path / "b.json", {"a": [1.5, None, "é"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": [1.5, None, "é"], "b": 1}


@pytest.mark.fault(25, "no NaN is ever written as JSON")
def test_json_takes_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert names(tmp_path) == set()


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_bad_json_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json"):
        read_json(path)


def test_a_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_bytes(tmp_path / "file" / "a.bin", b"")
    with pytest.raises(StorageError, match="file"):
        make_directory(tmp_path / "file" / "sub")


# -- disks ---------------------------------------------------------------------------------------

FILL = """
import resource, sys
from pathlib import Path
from origcli.errors import StorageError
from origcli.runtime.atomic import write_bytes
target = Path(sys.argv[1])
write_bytes(target, b"old")
if len(sys.argv) > 2:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    write_bytes(target, bytes(2_000_000))
except StorageError as error:
    print(error.message, "|", error.hint)
print(target.read_bytes(), sorted(p.name for p in target.parent.iterdir()))
"""


@pytest.mark.fault(6, "exit 6; the old file is whole, nothing half-written stays (a full tmpfs)")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    mounting = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        'mount -t tmpfs -o size=1m none "$0" && exec "$@"',
        str(tmp_path),
    ]
    if subprocess.run([*mounting, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system of their own")
    done = subprocess.run(
        [*mounting, sys.executable, "-c", FILL, str(tmp_path / "a.bin")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    message, state = done.stdout.splitlines()
    assert "a.bin: cannot write: No space left on device | free some space" in message
    assert state == "b'old' ['a.bin']"


@pytest.mark.fault(6, "the same when the limit is the process's")
def test_a_file_over_the_limit_leaves_the_old_file(tmp_path: Path) -> None:
    assert hasattr(resource, "RLIMIT_FSIZE")
    message, state = python(FILL, str(tmp_path / "a.bin"), "100000").stdout.splitlines()
    assert "a.bin: cannot write: File too large | the file would be larger" in message
    assert state == "b'old' ['a.bin']"


UNWRITABLE = """
import sys
from pathlib import Path
from origcli.errors import StorageError
from origcli.runtime.run_directory import RunDirectory
try:
    with RunDirectory(Path(sys.argv[1]) / "out"):
        pass
except StorageError as error:
    print(error.message, "|", error.hint)
"""


@pytest.mark.fault(8, "exit 6 at once, as an unprivileged user")
def test_a_directory_that_cannot_be_written_is_found_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    command = [sys.executable, "-c", UNWRITABLE, str(tmp_path)]
    if os.geteuid() == 0:  # root may write anywhere, so become nobody
        setpriv = shutil.which("setpriv")
        assert setpriv is not None, "this test needs setpriv (util-linux) when it is run as root"
        command = [setpriv, "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "out: cannot write: Permission denied | choose an --out" in done.stdout, done.stderr


# -- kills ---------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from origcli.runtime import atomic, run_directory

def die(*words, **named):
    os.kill(os.getpid(), signal.SIGKILL)

target, moment = Path(sys.argv[1]), sys.argv[2]
with run_directory.RunDirectory(target.parent):
    atomic.write_bytes(target, b"old")
    if moment == "write":
        with atomic.atomic_file(target) as file:
            file.write(b"half")
            file.flush()
            die()
    elif moment == "flush":
        os.fsync = die
    elif moment == "rename":
        os.replace = die
    elif moment == "directory":
        real, seen = os.fsync, []
        os.fsync = lambda descriptor: die() if seen else seen.append(real(descriptor))
    atomic.write_bytes(target, b"new")
"""


@pytest.mark.fault(10, "the old file or the new, whole; leftovers are swept")
@pytest.mark.parametrize(
    ("moment", "expected"), [("write", b"old"), ("flush", b"old"), ("rename", b"old"), ("directory", b"new")]
)
def test_a_killed_run_leaves_the_old_file_or_the_new(tmp_path: Path, moment: str, expected: bytes) -> None:
    target = tmp_path / "a.bin"
    assert python(KILLED, str(target), moment).returncode == -9
    assert target.read_bytes() == expected
    sweep(tmp_path)
    assert names(tmp_path) == {"a.bin", "run.json", ".lock", ".lock.owner", ".written"}


def test_the_sweep_takes_our_partial_files_only(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    ours = tmp_path / "deep" / ".model.safetensors.0123abcd.partial"
    others = [tmp_path / ".download.partial", tmp_path / "a.partial", tmp_path / "deep" / ".x.XYZ.partial"]
    for path in (ours, *others):
        path.write_text("")
    sweep(tmp_path)
    assert not ours.exists()
    assert all(path.exists() for path in others)


@pytest.mark.fault(10, "what a killed process left half-written in the cache is swept after a day")
def test_the_cache_is_rid_of_what_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path))
    old, young = (cache_directory("score") / f".a.{digit * 8}.partial" for digit in "12")
    for path in (old, young):
        path.write_text("")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    cache_directory("score")
    assert names(tmp_path / "score") == {young.name}


# -- owners --------------------------------------------------------------------------------------


@pytest.mark.fault(17, "the second exits 7 and names the first")
def test_the_second_owner_is_told_of_the_first(tmp_path: Path) -> None:
    code = """
import sys
from origcli.errors import LockedError
from origcli.runtime.run_directory import RunDirectory
try:
    with RunDirectory(sys.argv[1]):
        print("entered")
except LockedError as error:
    print(int(error.exit_code), error.message)
"""
    with RunDirectory(tmp_path):
        answer = python(code, str(tmp_path)).stdout
        assert answer.startswith("7 ") and f"process {os.getpid()} on " in answer
        with pytest.raises(LockedError), RunDirectory(tmp_path):
            pass
    assert python(code, str(tmp_path)).stdout == "entered\n"
    assert names(tmp_path) == {"run.json", ".written"}


def test_a_path_joins_on(tmp_path: Path) -> None:
    assert RunDirectory(tmp_path) / "a.json" == tmp_path / "a.json"


def test_what_is_there_can_be_used_refused_or_replaced(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        write_text(run / "report.json", "{}")
    for existing in ("use", "refuse", "replace"):
        kept = names(tmp_path)
        if existing == "refuse":
            with pytest.raises(UsageError, match="not empty"), RunDirectory(tmp_path, existing):
                pass
            assert names(tmp_path) == kept, "a refusal must leave no lock and take nothing away"
        else:
            with RunDirectory(tmp_path, existing):
                assert (tmp_path / "report.json").exists() == (existing == "use")


def test_an_empty_directory_is_refused_to_nobody(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "new" / "run", "refuse") as directory:
        write_json(directory / "report.json", {})
    assert json.loads((tmp_path / "new" / "run" / "report.json").read_text()) == {}
