"""Fault 20: archives that would write elsewhere, or everything full."""

import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from origcli.errors import ModelError, StorageError
from origcli.weights import archives
from origcli.weights.archives import unpack


def make(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in files.items():
            file.writestr(zipfile.ZipInfo(name), data, compression)
    return path


def refused(archive: Path, tmp_path: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        unpack(archive, tmp_path / "out" / "weights")
    assert list((tmp_path / "out").iterdir()) == [] and not (tmp_path / "evil").exists()


def test_files_and_folders(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"a.pth": b"1" * 100, "lora/config.json": b"{}", "empty/": b""})
    unpack(archive, tmp_path / "out" / "weights")
    assert (tmp_path / "out" / "weights" / "lora" / "config.json").read_bytes() == b"{}"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["weights"]


@pytest.mark.fault(20, "refused before anything is unpacked")
@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:evil", "a/.."])
def test_zip_slip(tmp_path: Path, name: str) -> None:
    refused(make(tmp_path / "a.zip", {name: b"x"}), tmp_path, "outside")


@pytest.mark.fault(20, "links, devices and pipes are refused")
def test_links_and_devices(tmp_path: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        info = zipfile.ZipInfo("evil")
        info.external_attr = (kind | 0o777) << 16
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr(info, "/etc/passwd")
        refused(tmp_path / "a.zip", tmp_path, "plain file")


@pytest.mark.fault(20, "refused by what it claims to hold")
def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(make(tmp_path / "a.zip", {"a": bytes(50_000_000)}), tmp_path, "unpack to 50,000,000")
    refused(make(tmp_path / "b.zip", {str(i): b"" for i in range(10_001)}), tmp_path, "10,001 files")
    monkeypatch.setattr(archives, "MAX_BYTES", 10)
    refused(make(tmp_path / "c.zip", {"a": b"x" * 11}), tmp_path, "unpack to")


@pytest.mark.fault(20, "refused when it holds something else than it claims")
def test_a_size_that_lies(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"a": b"x" * 1000})
    data = archive.read_bytes()
    archive.write_bytes(data.replace((1000).to_bytes(4, "little"), (500).to_bytes(4, "little")))
    refused(archive, tmp_path, "damaged")
    archive.write_bytes(data.replace((1000).to_bytes(4, "little"), (1500).to_bytes(4, "little")))
    refused(archive, tmp_path, "damaged")


def test_damage(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"a": b"0123456789" * 1000}, zipfile.ZIP_STORED)
    data = archive.read_bytes()
    for broken in (b"", b"PK\x03\x04", data[: len(data) // 2], data.replace(b"0123456789", b"0123456788", 1)):
        archive.write_bytes(broken)
        refused(archive, tmp_path, "damaged")
    deflated = make(tmp_path / "b.zip", {"a": b"0123456789" * 1000}).read_bytes()
    archive.write_bytes(deflated[:40] + b"\xff\xff\xff" + deflated[43:])
    refused(archive, tmp_path, "damaged")


def test_empty_twice_encrypted_and_a_file_that_is_a_folder(tmp_path: Path) -> None:
    refused(make(tmp_path / "a.zip", {"folder/": b""}), tmp_path, "empty")
    refused(make(tmp_path / "b.zip", {"a": b"1", "a/b": b"2"}), tmp_path, "also a directory")
    data = make(tmp_path / "c.zip", {"aa": b"1", "bb": b"2"}).read_bytes()
    (tmp_path / "c.zip").write_bytes(data.replace(b"bb", b"aa"))
    refused(tmp_path / "c.zip", tmp_path, "twice")
    changed = bytearray(make(tmp_path / "d.zip", {"a": b"1"}).read_bytes())
    changed[changed.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "d.zip").write_bytes(changed)
    refused(tmp_path / "d.zip", tmp_path, "encrypted")


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="free"):
        unpack(make(tmp_path / "a.zip", {"a": b"x" * 100}), tmp_path / "out" / "weights")
