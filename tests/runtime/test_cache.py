"""The cache where there is no home directory, and where it may not be written."""

from pathlib import Path

import platformdirs
import pytest

from origcli.errors import StorageError
from origcli.runtime.cache import cache_directory, cache_path, cache_root, find_cache, working_directory


@pytest.fixture(params=["no home", "no passwd entry", "a file in its place"])
def no_cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "a file in its place":
        (tmp_path / "file").touch()
        monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "file"))
        return "cannot write"

    def fails(name: str) -> str:
        raise RuntimeError(name) if request.param == "no home" else KeyError("getpwuid(): uid not found")

    monkeypatch.delenv("ORIGCLI_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", fails)
    return "no home directory"


@pytest.mark.fault(64, "said once with the remedy; what has to be written goes with the process")
def test_what_can_do_without_a_cache_does(no_cache: str) -> None:
    said: list[str] = []
    assert find_cache("score", said.append) is None
    assert len(said) == 1 and no_cache in said[0] and "set ORIGCLI_CACHE" in said[0]
    with pytest.raises(StorageError, match=no_cache) as caught:
        cache_directory("score")
    assert "ORIGCLI_CACHE" in caught.value.hint
    room = working_directory("ultralytics")
    (room / "settings").touch()
    assert room == working_directory("ultralytics")
    assert not (cache_path("weights") / "any").exists()


def test_a_cache_that_is_only_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    assert cache_path("weights") == cache_root() / "weights" and not (tmp_path / "cache").exists()
