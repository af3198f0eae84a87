"""The room of a file of features is on the disk before anything is computed."""

import os
from pathlib import Path

import pytest

from origcli.training.features import take_room

SIZE = (3 << 20) + 5


@pytest.mark.parametrize("system", ["that allocates", "that only writes"])
def test_room_is_taken_to_the_last_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    if system == "that only writes":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    path = tmp_path / "features"
    with path.open("wb") as file:
        take_room(file, SIZE)
    assert path.stat().st_size == SIZE
    assert path.stat().st_blocks * 512 >= SIZE  # a sparse file has none
