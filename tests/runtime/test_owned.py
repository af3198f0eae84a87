"""Directories of others: links in them are replaced, what vanishes is noticed, what is not ours stays."""

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import InputError, LockedError, StorageError, UsageError
from origcli.reports.envelope import Failure
from origcli.reports.writers import ResultLog
from origcli.runtime.atomic import (
    append_line,
    atomic_directory,
    claim_directory,
    make_directory,
    sweep,
    write_bytes,
    write_text,
    write_unsynced,
)
from origcli.runtime.owned import WRITTEN_NAME, owned
from origcli.runtime.run_directory import RunDirectory
from origcli.runtime.run_place import Existing


def tree(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*")}


def started(directory: Path) -> None:
    """A run that was begun and wrote a file in a folder."""
    with RunDirectory(directory) as run:
        write_text(make_directory(run / "pages") / "a.html", "ours")


# -- links ---------------------------------------------------------------------------------------


@pytest.mark.fault(21, "a link that others put into a run directory is replaced by what is written there")
def test_no_write_below_an_owned_directory_follows_a_link(tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    for folder in (elsewhere, elsewhere / "deep", out):
        folder.mkdir()
    for name in ("report.csv", "log", "a.png"):
        (elsewhere / name).write_text("theirs")
        (out / name).symlink_to(elsewhere / name)
    (out / "pages").symlink_to(elsewhere)
    (out / "weights").symlink_to(elsewhere / "deep")
    before = tree(elsewhere)

    with owned(out):
        write_text(out / "report.csv", "ours")
        append_line(out / "log", b"ours\n", 0)
        write_unsynced(out / "a.png", b"ours")
        write_text(make_directory(out / "pages") / "b.html", "ours")
        write_text(make_directory(out / "pages" / "more") / "c.html", "ours")
        with atomic_directory(out / "weights") as partial:
            (partial / "w").write_text("ours")

    assert tree(elsewhere) == before
    assert {path.read_text() for path in elsewhere.iterdir() if path.is_file()} == {"theirs"}
    assert not [path for path in out.rglob("*") if path.is_symlink()]
    assert (out / "pages" / "more" / "c.html").read_text() == (out / "weights" / "w").read_text() == "ours"


def test_a_link_that_appears_between_two_writes_is_replaced_too(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    with owned(out):
        folder = make_directory(out / "pages")
        shutil.rmtree(folder)
        folder.symlink_to(elsewhere)
        write_text(folder / "a.html", "ours")
    assert not tree(elsewhere) and (out / "pages" / "a.html").read_text() == "ours"


def test_the_user_s_own_links_to_a_run_are_followed(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "scratch")
    started(tmp_path / "runs" / "a")
    assert (tmp_path / "scratch" / "a" / "pages" / "a.html").read_text() == "ours"


@pytest.mark.parametrize("name", [".lock", ".lock.owner", WRITTEN_NAME, "run.json"])
def test_the_files_of_every_run_are_no_links_either(tmp_path: Path, name: str) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    started(out)
    victim.write_text((out / name).read_text() if (out / name).exists() else "theirs")
    before = victim.read_bytes()
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(victim)
    started(out)
    assert victim.read_bytes() == before


@pytest.mark.fault(21, "results of others are not read through a link or out of a pipe")
def test_a_log_is_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("no newline")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(InputError, match=f"{name}: "):
            ResultLog(tmp_path / name, Failure)
    assert (tmp_path / "secret").read_text() == "no newline"


def test_a_log_that_is_only_read_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = ResultLog(path, Failure)
    log.append(Failure(code="input", message="m"))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"torn')
    again = ResultLog(path, Failure)
    assert [one.message for one in again] == ["m"] and path.read_bytes() == whole + b'{"torn'
    again.append(Failure(code="input", message="n"))
    assert [one.message for one in again] == ["m", "n"] and b"torn" not in path.read_bytes()


# -- a directory that vanishes -------------------------------------------------------------------


@pytest.mark.fault(60, "exit 6 at the next write, and nothing is written anywhere else")
@pytest.mark.parametrize("moved", [False, True])
def test_a_directory_that_is_removed_under_a_run_is_noticed(tmp_path: Path, moved: bool) -> None:
    out = tmp_path / "out"
    with pytest.raises(StorageError, match="removed or moved"), RunDirectory(out) as run:
        log = ResultLog(run / "results.jsonl", Failure)
        log.append(Failure(code="input", message="m"))
        out.rename(tmp_path / "away") if moved else shutil.rmtree(out)
        out.mkdir()  # another may have taken its name
        log.append(Failure(code="input", message="n"))
    assert tree(out) == set()


@pytest.mark.fault(60, "so is a log of results that became shorter")
def test_a_log_that_is_removed_is_noticed(tmp_path: Path) -> None:
    log = ResultLog(tmp_path / "log", Failure)
    log.append(Failure(code="input", message="m"))
    (tmp_path / "log").unlink()
    with pytest.raises(StorageError, match="shorter than what was written"):
        log.append(Failure(code="input", message="n"))


# -- what --force removes ------------------------------------------------------------------------


@pytest.mark.fault(61, "--force removes what runs wrote, and nothing that others put beside it")
def test_what_others_put_into_a_run_stays(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (outside / "a.html").write_text("theirs")
    with RunDirectory(out) as run:
        for name in ("pages", "figures", "notes"):
            write_text(make_directory(run / name) / "a.html", "ours")
        write_bytes(claim_directory(run / "pictures") / "a.png", b"ours")
        with atomic_directory(run / "weights") as partial:
            (partial / "w").write_text("ours")
    (out / "thesis.tex").write_text("theirs")
    (out / "figures" / "thesis.pdf").write_text("theirs")
    (out / "mine").mkdir()
    shutil.rmtree(out / "notes")
    (out / "notes").symlink_to(outside)
    with RunDirectory(out, "replace", record=False):
        assert tree(out) - {".lock", ".lock.owner"} == {
            *("thesis.tex", "figures", "figures/thesis.pdf", "mine")
        }
    assert (outside / "a.html").read_text() == "theirs"


@pytest.mark.fault(61, "a directory of others is refused, whatever it holds, and not touched")
@pytest.mark.parametrize("existing", ["use", "refuse", "replace"])
@pytest.mark.parametrize("content", [b"{}", b"[1]", b"no JSON", b'{"state": "finished", "seconds": 1}'])
def test_a_run_is_known_by_what_its_record_says(tmp_path: Path, existing: Existing, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    (tmp_path / "thesis.tex").write_text("theirs")
    (tmp_path / ".lock").write_text("theirs")
    (tmp_path / ".model.0123abcd.partial").write_text("theirs")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="no run of origcli made it"), RunDirectory(tmp_path, existing):
        pass
    assert tree(tmp_path) == before and (tmp_path / ".lock").read_text() == "theirs"


def test_a_list_of_others_leads_nowhere_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    started(out)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("theirs")
    (out / "link").symlink_to(tmp_path / "thesis")
    hostile = [
        "../thesis/",
        str(tmp_path / "thesis") + "/",
        "link/a.tex",
        "./../thesis/a.tex",
        "",
        "/",
        5,
        {},
    ]
    with (out / WRITTEN_NAME).open("ab") as file:
        file.write(b"".join(json.dumps(name).encode() + b"\n" for name in hostile) + b'"torn')
    with RunDirectory(out, "replace"):
        pass
    assert (tmp_path / "thesis" / "a.tex").read_text() == "theirs"


def test_equal_runs_have_equal_lists_broken_off_or_not(tmp_path: Path) -> None:
    started(tmp_path / "whole")
    with pytest.raises(ValueError), RunDirectory(tmp_path / "broken") as run:
        write_text(run / "passing.txt", "")
        make_directory(run / "pages")
        raise ValueError
    (tmp_path / "broken" / "passing.txt").unlink()
    started(tmp_path / "broken")
    lists = [(tmp_path / name / WRITTEN_NAME).read_bytes() for name in ("whole", "broken")]
    assert lists[0] == lists[1] and b"a.html" in lists[0]


@pytest.mark.parametrize("problem", [UsageError("no"), StorageError("no"), KeyboardInterrupt()])
def test_a_run_that_nothing_came_of_leaves_nothing(tmp_path: Path, problem: BaseException) -> None:
    (tmp_path / "theirs").mkdir()
    for name in ("new", "theirs"):
        with pytest.raises(type(problem)), RunDirectory(tmp_path / name):
            raise problem
    assert tree(tmp_path) == {"theirs"}


# -- other runs ----------------------------------------------------------------------------------


@pytest.mark.fault(61, "half-written files of another run are not swept by a command that is refused")
def test_the_sweep_leaves_other_runs_alone(tmp_path: Path) -> None:
    started(tmp_path / "outer")
    inner = tmp_path / "outer" / "inner"
    started(inner)
    mine, others = tmp_path / "outer" / "pages" / ".a.0123abcd.partial", inner / ".b.0123abcd.partial"
    for path in (mine, others):
        path.write_text("")
    (tmp_path / "outer" / ".weights.0123abcd.partial" / "deep").mkdir(parents=True)
    with pytest.raises(UsageError), RunDirectory(tmp_path / "outer", "refuse"):
        pass
    assert mine.exists() and others.exists()
    sweep(tmp_path / "outer")
    assert others.exists() and not mine.exists()
    assert not list((tmp_path / "outer").glob(".weights*"))


# -- file systems --------------------------------------------------------------------------------


@pytest.mark.fault(62, "a directory that cannot be flushed (EINVAL of CIFS, FUSE) is no error; EIO is one")
def test_fsync_may_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, answer = os.fsync, errno.EINVAL

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(answer, os.strerror(answer))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for answer in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS):
        write_text(tmp_path / "a", str(answer))
        assert (tmp_path / "a").read_text() == str(answer)
    answer = errno.EIO
    with pytest.raises(StorageError):
        write_text(tmp_path / "a", "")


@pytest.mark.fault(62, "where there are no locks (ENOLCK, EOPNOTSUPP, ENOSYS) a marker file does")
@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_locks_may_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", flock)
    with RunDirectory(tmp_path, record=False):
        with pytest.raises(LockedError, match=f"process {os.getpid()}") as caught, RunDirectory(tmp_path):
            pass
        assert f"remove {tmp_path / '.lock'}" in caught.value.hint
        killed = subprocess.Popen([sys.executable, "-c", ""])
        killed.wait()
    assert tree(tmp_path) == set()
    # What a process of this machine that was killed left is taken over.
    with RunDirectory(tmp_path, record=False):
        marker = (tmp_path / ".lock").read_text()
    (tmp_path / ".lock").write_text(marker.replace(str(os.getpid()), str(killed.pid), 1))
    with RunDirectory(tmp_path, record=False):
        pass


def test_files_of_libraries_get_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_directory(tmp_path / "model") as partial:
            (partial / "unet").mkdir()
            (partial / "unet" / "weights").touch(mode=0o600)
        write_text(tmp_path / "model" / "config.json", "{}")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").rglob("*")}
    assert modes == {"unet": 0o750, "weights": 0o640, "config.json": 0o640}


def test_a_directory_that_cannot_be_renamed_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """overlayfs answers EXDEV to the rename of a directory that lies in a lower layer."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    real = os.rename

    def rename(source: Any, target: Any, **options: Any) -> None:
        if source == "model":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target, **options)

    monkeypatch.setattr(os, "rename", rename)
    with atomic_directory(tmp_path / "model") as partial:
        (partial / "new").touch()
    assert tree(tmp_path) == {"model", "model/new"}
