"""Fault 24: downloads that are cut off, refused, corrupted, repeated; the cache is never poisoned."""

import base64
import hashlib
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import ExitCode, Interrupted, ModelError, StorageError
from origcli.runtime import interrupts
from origcli.runtime.progress import PlainProgress, SilentProgress
from origcli.weights import downloads
from origcli.weights.downloads import ATTEMPTS, RemoteFile, download
from tests.serving import Files, file_server

DATA = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.setattr(downloads, "LONGEST_WAIT_S", 0.0)
    monkeypatch.setattr(downloads, "TIMEOUT_S", 5.0)
    with file_server({"/weights.bin": DATA}) as files:
        yield files


def fetch(files: Files, target: Path, **known: Any) -> str:
    return download(RemoteFile(f"{files.url}/weights.bin", **known), target, SilentProgress())


def left_behind(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.endswith(".lock")}


def test_a_file_arrives_whole_and_hashed(server: Files, tmp_path: Path) -> None:
    assert fetch(server, tmp_path / "new" / "weights.bin", size=len(DATA), sha256=SHA256) == SHA256
    assert (tmp_path / "new" / "weights.bin").read_bytes() == DATA
    assert left_behind(tmp_path / "new") == {"weights.bin"}


def test_a_file_that_is_there_is_not_fetched_again(server: Files, tmp_path: Path) -> None:
    fetch(server, tmp_path / "weights.bin")
    assert fetch(server, tmp_path / "weights.bin", sha256=SHA256) == SHA256
    assert len(server.paths) == 1
    (tmp_path / "weights.bin").write_bytes(b"damaged since")
    assert fetch(server, tmp_path / "weights.bin", sha256=SHA256) == SHA256
    assert (tmp_path / "weights.bin").read_bytes() == DATA


@pytest.mark.fault(24, "resumes where it was cut")
def test_a_cut_connection_goes_on_where_it_stopped(server: Files, tmp_path: Path) -> None:
    server.faults = [("cut", 1_000_000), ("cut", 500_000)]
    assert fetch(server, tmp_path / "weights.bin", sha256=SHA256) == SHA256
    assert server.ranges == ["", "bytes=1000000-", "bytes=1500000-"]


def test_the_next_run_goes_on_with_what_the_last_left(server: Files, tmp_path: Path) -> None:
    server.faults = [("cut", 1_000_000), *[503] * (ATTEMPTS - 1)]
    with pytest.raises(ModelError, match="503") as caught:
        fetch(server, tmp_path / "weights.bin")
    assert caught.value.exit_code is ExitCode.MODEL and not (tmp_path / "weights.bin").exists()
    server.ranges.clear()
    assert fetch(server, tmp_path / "weights.bin") == SHA256
    assert server.ranges == ["bytes=1000000-"]


@pytest.mark.parametrize("change", ["content", "no etag", "ignores range"])
def test_a_part_of_another_version_is_not_continued(server: Files, tmp_path: Path, change: str) -> None:
    server.etags = change != "no etag"
    server.faults = [("cut", 1_000_000), *[500] * (ATTEMPTS - 1)]
    with pytest.raises(ModelError):
        fetch(server, tmp_path / "weights.bin")
    if change == "content":
        server.content["/weights.bin"] = DATA[::-1]
    if change == "ignores range":
        server.faults = ["whole"]
    fetch(server, tmp_path / "weights.bin")
    assert (tmp_path / "weights.bin").read_bytes() == server.content["/weights.bin"]


def test_a_part_longer_than_the_file_is_dropped(server: Files, tmp_path: Path) -> None:
    server.faults = [("cut", 1_000_000), *[500] * (ATTEMPTS - 1)]
    with pytest.raises(ModelError):
        fetch(server, tmp_path / "weights.bin")
    with (tmp_path / ".weights.bin.download").open("ab") as file:
        file.write(bytes(3_000_000))
    assert fetch(server, tmp_path / "weights.bin") == SHA256


@pytest.mark.fault(24, "a busy server (429, 503) is asked again")
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_a_busy_server_is_asked_again(server: Files, tmp_path: Path, status: int) -> None:
    server.faults = [status, status]
    assert fetch(server, tmp_path / "weights.bin") == SHA256
    assert len(server.paths) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(server: Files, tmp_path: Path, status: int) -> None:
    server.faults = [status]
    with pytest.raises(ModelError, match=str(status)):
        fetch(server, tmp_path / "weights.bin")
    assert len(server.paths) == 1 and left_behind(tmp_path) == set()


@pytest.mark.fault(24, "a changed file is fetched again and never kept")
def test_a_flipped_bit_is_found_and_fetched_again(server: Files, tmp_path: Path) -> None:
    server.faults = [("flip", 5)]
    assert fetch(server, tmp_path / "weights.bin", sha256=SHA256) == SHA256
    server.faults = [("flip", 5)] * ATTEMPTS
    with pytest.raises(ModelError, match="sha256"):
        fetch(server, tmp_path / "again.bin", sha256=SHA256)
    assert left_behind(tmp_path) == {"weights.bin"}


def test_an_empty_or_short_file_is_not_kept(server: Files, tmp_path: Path) -> None:
    server.content["/weights.bin"] = b""
    with pytest.raises(ModelError, match="0 bytes"):
        fetch(server, tmp_path / "weights.bin")
    server.content["/weights.bin"] = b"<html>not found</html>"
    with pytest.raises(ModelError, match="arrived"):
        fetch(server, tmp_path / "weights.bin", size=len(DATA))
    assert left_behind(tmp_path) == set()


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "LONGEST_WAIT_S", 0.0)
    with pytest.raises(ModelError, match="tried"):
        download(RemoteFile("http://127.0.0.1:9/a.bin"), tmp_path / "a.bin", SilentProgress())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a.bin", "a.bin"])
def test_only_http(tmp_path: Path, url: str) -> None:
    with pytest.raises(ModelError, match="http"):
        download(RemoteFile(url), tmp_path / "a.bin", SilentProgress())


def test_a_full_disk_is_found_before_the_first_byte(
    server: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="free"):
        fetch(server, tmp_path / "weights.bin")


def test_a_mirror_serves_the_same_names(
    server: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORIGCLI_MIRROR", f"{server.url}/")
    remote = RemoteFile("https://example.invalid/deep/path/weights.bin")
    assert download(remote, tmp_path / "weights.bin", SilentProgress()) == SHA256


def test_who_asks_is_told_to_the_first_server_alone(server: Files, tmp_path: Path) -> None:
    with file_server() as front:
        front.faults = [("to", f"{server.url}/weights.bin")] * 2
        server.faults = [("cut", 1_000_000)]
        remote = RemoteFile(f"{front.url}/weights.bin", sha256=SHA256, authorization="Bearer secret")
        assert download(remote, tmp_path / "weights.bin", SilentProgress()) == SHA256
    assert front.authorizations == ["Bearer secret"] * 2 and server.authorizations == ["", ""]
    assert server.ranges == ["", "bytes=1000000-"] and "secret" not in repr(remote)


def test_what_is_not_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGCLI_MIRROR", "http://127.0.0.1:9")
    assert (
        RemoteFile("https://example.invalid/a.bin", mirrored=False).source == "https://example.invalid/a.bin"
    )


def test_a_signal_keeps_what_arrived(server: Files, tmp_path: Path) -> None:
    server.faults = [("cut", 1_500_000)]
    with interrupts.handled():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            fetch(server, tmp_path / "weights.bin")
    assert (tmp_path / ".weights.bin.download").stat().st_size >= 1 << 20
    assert fetch(server, tmp_path / "weights.bin") == SHA256


def test_two_at_once_fetch_once(server: Files, tmp_path: Path) -> None:
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(server, tmp_path / "weights.bin")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [SHA256, SHA256] and len(server.paths) == 1


@pytest.mark.fault(34, "a mirror's user and password are sent to it, and shown nowhere")
def test_a_mirror_with_a_password(
    server: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORIGCLI_MIRROR", server.url.replace("://", "://me:s%40cret@"))
    remote = RemoteFile("https://example.org/weights.bin")
    server.content["/weights.bin"] = b"x" * 100
    download(remote, tmp_path / "weights.bin", PlainProgress())
    assert (tmp_path / "weights.bin").read_bytes() == b"x" * 100
    assert base64.b64decode(server.authorizations[-1].removeprefix("Basic ")) == b"me:s@cret"

    server.faults += [500, 404]
    with pytest.raises(ModelError) as caught:
        download(remote, tmp_path / "other.bin", PlainProgress())
    assert "cret" not in caught.value.message + capsys.readouterr().err


@pytest.mark.fault(21, "nor does a download write through a link in the cache")
def test_a_link_in_the_place_of_a_part_is_replaced(server: Files, tmp_path: Path) -> None:
    cache, victim = tmp_path / "cache", tmp_path / "victim"
    cache.mkdir()
    victim.write_text("theirs")
    for name in (".weights.bin.download", ".weights.bin.download.json", "weights.bin"):
        (cache / name).symlink_to(victim)
    assert fetch(server, cache / "weights.bin", sha256=SHA256) == SHA256
    assert victim.read_text() == "theirs" and not (cache / "weights.bin").is_symlink()
