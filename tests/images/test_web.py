import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from origcli.errors import InputError
from origcli.images import web
from origcli.images.inputs import find_inputs
from origcli.images.reading import read_picture
from origcli.images.web import WebImage
from origcli.runtime.network import no_network
from tests.images.makers import png
from tests.serving import Files, file_server, serving


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with file_server({"/a%20photo.png": png("blue"), "/page.png": b"<!doctype html>"}) as server:
        yield server


def test_an_address_is_an_image(files: Files) -> None:
    (one,) = find_inputs([f"{files.url}/a%20photo.png"])
    assert (one.name, one.where) == ("a-photo", f"{files.url}/a%20photo.png")
    image, facts = read_picture(one.source)
    assert image.getpixel((0, 0)) == (0, 0, 255) and facts["format"] == "PNG"


def test_secrets_are_sent_and_not_shown(files: Files) -> None:
    address = files.url.replace("//", "//me:pass@") + "/a%20photo.png?token=secret"
    (one,) = find_inputs([address])
    read_picture(one.source)
    assert files.authorizations == ["Basic bWU6cGFzcw=="]
    assert "pass" not in one.where and "secret" not in one.where
    other = WebImage(address.replace("secret", "other"))
    assert other.where != one.where and other.where.partition("#")[0] == one.where.partition("#")[0]


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ([404], "answered 404"),
        ([500], "answered 500"),
        ([("cut", 20)], "ended after 20 of|cannot be downloaded"),
        ([("to", "ftp://host/a.png")], "something else than an http or https address"),
        ([("to", "file:///etc/passwd")], "something else than an http or https address"),
        ([("to", "/a%20photo.png")] * 7, "more than 5 redirects"),
        (
            [("to", "http://169.254.169.254/latest")],
            "169.254.169.254, an address of this machine or of a private",
        ),
    ],
)
def test_what_a_server_does_wrong_is_an_error_of_the_image(
    files: Files, faults: list[object], words: str
) -> None:
    files.faults = list(faults)
    with pytest.raises(InputError, match=words) as caught:
        WebImage(f"{files.url}/a%20photo.png").read()
    assert caught.value.message.startswith(f"{files.url}/a%20photo.png: ")


def test_what_is_no_image_is_told_by_its_content(files: Files) -> None:
    with pytest.raises(InputError, match="a web page"):
        read_picture(WebImage(f"{files.url}/page.png"))


def test_redirects_are_followed_on_the_server_that_was_given(files: Files) -> None:
    files.faults = [("to", "/a%20photo.png")]
    assert WebImage(f"{files.url}/moved.png").read() == png("blue")


def test_a_redirect_does_not_lead_into_a_private_network(files: Files) -> None:
    with file_server({"/inside.png": png()}) as inside:
        files.faults = [("to", f"{inside.url}/inside.png")]
        with pytest.raises(InputError, match=r"127\.0\.0\.1, an address of this machine"):
            WebImage(f"{files.url}/a.png").read()
        assert inside.paths == []


def test_an_address_in_a_list_does_not_either(files: Files, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"url,group\n{files.url}/a%20photo.png,common\n")
    (one,) = find_inputs([str(tmp_path / "list.csv")])
    assert (one.name, one.group) == ("a-photo", "common")
    with pytest.raises(InputError, match="private network"):
        read_picture(one.source)
    assert files.paths == []


def test_the_size_is_bounded_whatever_the_server_announces(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_BYTES", 50)
    with pytest.raises(InputError, match="larger than"):
        WebImage(f"{files.url}/a%20photo.png").read()

    class Endless(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 100)

    with serving(Endless) as url, pytest.raises(InputError, match="larger than"):
        WebImage(f"{url}/a.png").read()


def test_a_server_that_says_nothing_is_left(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.2)
    done = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            done.wait(10)

    with serving(Silent) as url:
        try:
            with pytest.raises(InputError, match="timed out"):
                WebImage(f"{url}/a.png").read()
        finally:
            done.set()


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-Long: ", b"x"),
    ],
    ids=["headers", "body", "announced-body", "chunk-sizes", "closing"],
)
def test_a_server_that_drips_is_left(
    files: Files, monkeypatch: pytest.MonkeyPatch, start: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(web, "LONGEST_S", 0.3)
    done = threading.Event()

    class Dripping(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self.wfile.write(start)
            while not done.wait(0.02):
                self.wfile.write(piece)

    with serving(Dripping) as url:
        try:
            with pytest.raises(InputError, match="not complete after"):
                WebImage(f"{url}/a.png").read()
        finally:
            done.set()


def test_offline_no_address_is_asked(files: Files) -> None:
    with no_network(), pytest.raises(InputError, match="the network is off"):
        WebImage(f"{files.url}/a%20photo.png").read()
    assert files.paths == []
