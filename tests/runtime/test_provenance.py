"""Hashes that say what made a result, and facts that differ between equal runs kept apart."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import origcli
from origcli.runtime.cache import cache_directory
from origcli.runtime.provenance import hash_file, hash_files, hash_value, package_versions
from origcli.runtime.run_record import run_record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_versions_name_what_computes() -> None:
    versions = package_versions()
    assert versions["origcli"] == origcli.__version__
    assert {"python", "torch", "diffusers", "transformers"} <= set(versions)


def test_a_file_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_hash_of_files_sees_names_and_bytes_and_no_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    whole = hash_files([one, two], tmp_path)
    assert whole == hash_files([two, one], tmp_path)
    two.write_bytes(b"3")
    assert whole != hash_files([one, two], tmp_path)
    two.write_bytes(b"2")
    assert whole != hash_files([one, two.rename(tmp_path / "three")], tmp_path)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_a_hash_of_a_value_does_not_see_the_order_of_keys(value: dict[str, Any]) -> None:
    assert hash_value(value) == hash_value(dict(reversed(value.items())))


def test_other_values_have_other_hashes() -> None:
    values = [{}, {"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": None}, [], [1], "a"]
    assert len({hash_value(value) for value in values}) == len(values)
    with pytest.raises(ValueError):
        hash_value({"a": float("nan")})


def test_a_run_s_record_takes_any_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["origcli", "score", os.fsdecode(b"caf\xe9.png")])
    assert run_record(None)["state"] == "begun" and run_record(None)["seconds"] is None
    facts = run_record(1.23456)
    assert facts["state"] == "finished" and facts["seconds"] == 1.235
    assert facts["command"] == ["origcli", "score", "file:caf%E9.png"]


def test_the_cache_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))
    assert cache_directory("ceilings") == tmp_path / "cache" / "ceilings"
    assert (tmp_path / "cache" / "ceilings").is_dir()
    monkeypatch.delenv("ORIGCLI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory().is_relative_to(tmp_path / "xdg") or sys.platform != "linux"
