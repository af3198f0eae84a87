"""Offline is the whole process: every way to a server that a library has is closed, and opened again."""

import os
import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants, hf_hub_download, is_offline_mode
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from origcli.runtime.context import open_runtime
from origcli.runtime.network import no_network
from origcli.settings import resolve
from tests.hub_server import Repository, hub_server, point_to

VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


@pytest.mark.fault(43, "the hub, urllib, torch.hub and the look-up of names are closed")
def test_every_way_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server({"someone/model": Repository({"config.json": b"{}"})}) as server:
        point_to(monkeypatch, server.url)
        with no_network():
            assert is_offline_mode() and all(os.environ[name] == "1" for name in VARIABLES)
            with pytest.raises((LocalEntryNotFoundError, OfflineModeIsEnabled)):
                hf_hub_download("someone/model", "config.json", cache_dir=tmp_path)
            with pytest.raises(OSError, match="the network is off"):
                urllib.request.urlopen(f"{server.url}/someone/model/resolve/main/config.json")
            with pytest.raises(OSError, match="the network is off"):
                torch.hub.download_url_to_file(f"{server.url}/weights.pth", str(tmp_path / "weights.pth"))
            with pytest.raises(OSError, match=r"example\.org is not looked up"):
                socket.create_connection(("example.org", 80), timeout=1)
        assert server.requests == []


def test_within_this_machine_connections_stay() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, no_network():
        socket.create_connection(server.getsockname()).close()


def test_everything_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)

    def state() -> tuple[Any, ...]:
        functions = (urllib.request.OpenerDirector.open, socket.getaddrinfo)
        return (constants.HF_HUB_OFFLINE, *functions, dict(os.environ))

    before = state()
    with no_network(), no_network():
        assert state() != before
    assert state() == before


def test_threads_that_overlap_leave_it_closed_until_the_last() -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with no_network():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with no_network():
        thread.start()
        assert entered.wait(10)
    assert constants.HF_HUB_OFFLINE
    leave.set()
    thread.join()
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize("offline", [True, False])
def test_a_command_is_offline_where_it_was_asked_to_be(offline: bool) -> None:
    settings = resolve({"runtime": {"offline": offline, "device": "cpu"}}, environment={})[0]
    with open_runtime(settings.runtime):
        assert is_offline_mode() is offline
    assert not is_offline_mode()
