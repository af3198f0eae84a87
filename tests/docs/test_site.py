"""The documentation as a site: built strictly, readable from files, without a request to elsewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.cli.command_line import commands
from tests.docs.pages import PAGES, ROOT

LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return directory


class Links(HTMLParser):
    """Addresses that a page loads, those that it leads to, and its ids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.followed: list[str] = []
        self.ids: set[str] = set()
        self.text = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag in LOADING and LOADING[tag] in values:
            self.loaded.append(values[LOADING[tag]])
        if tag == "a" and "href" in values:
            self.followed.append(values["href"])

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_page_is_there_and_its_links_lead_somewhere(site: Path) -> None:
    names = {"index" if page.name == "README.md" else page.stem.lower() for page in PAGES}
    pages = {path.stem: Links(path) for path in site.glob("*.html")}
    assert names | {"api", "gallery", "security", "changelog", "model-card"} <= set(pages)
    broken = []
    for name in set(pages) - {"404"}:
        for link in {*pages[name].followed, *pages[name].loaded}:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto", "data"):
                continue
            there = site / unquote(parts.path) if parts.path else site / f"{name}.html"
            known = there.suffix != ".html" or there.parent != site or not parts.fragment
            if not there.is_file() or not (known or unquote(parts.fragment) in pages[there.stem].ids):
                broken.append((name, link))
    assert broken == []


def test_nothing_is_requested_from_elsewhere(site: Path) -> None:
    requested = [
        (path.name, address)
        for path in site.rglob("*.html")
        for address in Links(path).loaded
        if urlsplit(address).scheme not in ("", "data")
    ]
    assert requested == []
    for path in (site / "assets").rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", path.read_text("utf-8")), path.name


def test_no_page_knows_where_it_was_built(site: Path) -> None:
    assert [path.name for path in site.rglob("*.html") if str(ROOT) in path.read_text("utf-8")] == []


def test_the_references_are_of_all_commands_and_functions(site: Path) -> None:
    import origcli

    shown = Links(site / "commands.html").text
    assert [words for words in commands() if f"origcli {' '.join(words)}" not in shown] == []
    ids = Links(site / "api.html").ids
    functions = [name for name in origcli.__all__ if not name.startswith("_")]
    assert [name for name in functions if f"origcli.{name}" not in ids] == []
    assert {"origcli.reports.score.ScoreReport", "origcli.errors.OrigError"} <= ids


def test_the_gallery_has_every_committed_report(site: Path) -> None:
    committed = {
        path.parent.relative_to(ROOT / "docs") / "report.html"
        for path in (ROOT / "docs" / "results").rglob("report.json")
    }
    shown = {Path(link) for link in Links(site / "gallery.html").followed if link.startswith("results/")}
    assert committed == shown - {Path("results.html")}
    assert all((site / path).stat().st_size > 10_000 for path in committed)


def test_words_after_a_fence_are_left_out(site: Path) -> None:
    assert "```" not in Links(site / "gpu.html").text
