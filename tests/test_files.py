"""The reader of files that users name: never waits, never takes more than it may."""

import os
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import InputError
from origcli.files import decoded, expanded, open_file, read_file, read_text


def test_a_part_or_all_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    assert read_file(tmp_path / "a") == b"0123456789"
    assert read_file(tmp_path / "a", offset=3, size=4) == b"3456"
    assert read_file(tmp_path / "a", 10) == b"0123456789"
    with pytest.raises(InputError, match="larger than"):
        read_file(tmp_path / "a", 9)
    with open_file(tmp_path / "a") as file:
        assert file.readline() == b"0123456789"


@pytest.mark.parametrize("read", [read_file, open_file])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, read: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, words in {
        "pipe": "not a regular file",
        "endless": "not a regular file",
        "loop": "cannot read",
        "gone": "no such file",
        "": "is a directory",
        "nul\0": "cannot read",
    }.items():
        with pytest.raises(InputError, match=words):
            read(tmp_path / name)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take that place between the look at the file and its opening."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    looked = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda path: looked)
    with pytest.raises(InputError, match="not a regular file"):
        read_file(tmp_path / "pipe")


def test_texts_of_any_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "a.txt").write_bytes("größer".encode(encoding))
        assert read_text(tmp_path / "a.txt") == "größer"
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"a\.txt: not UTF-8 text"):
        read_text(tmp_path / "a.txt")
    assert os.fsencode(decoded(b"caf\xe9", "surrogateescape")) == b"caf\xe9"
    monkeypatch.setattr("origcli.files.MAX_TEXT_BYTES", 3)
    with pytest.raises(InputError, match="larger than"):
        read_text(Path("/dev/zero"))


def test_home_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/a") == "/home/me/a" and expanded("~") == "/home/me"
    for other in ("./~/a", "a~", "/~", "~no-user-of-this-name/a", ""):
        assert expanded(other) == other
