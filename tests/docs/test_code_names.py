"""Files, and functions of the package, that pages name are there."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES as READ_PAGES
from tests.docs.pages import ROOT

PACKAGE = ROOT / "origcli"
OF_CODE = [ROOT / "docs" / "code-tour.md", ROOT / "docs" / "design.md"]
PAGES = [*READ_PAGES, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
_FUNCTION = re.compile(r"`([\w/]+\.py):([\w.]+)`")
_FILE = re.compile(r"`((?:\w+/)+\w+\.py)[:`]")
_FOLDER_OR_FILE = re.compile(r"`((?:\w+/)+\w*(?:\.py)?)[:`]")


def defined(path: Path) -> set[str]:
    """Functions and classes of a module, and the methods of its classes as `Class.method`."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, kinds):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, kinds)}
    return names


def test_the_pages_about_the_code_name_functions_and_files() -> None:
    for page in OF_CODE:
        text = page.read_text("utf-8")
        assert page in PAGES and _FUNCTION.search(text) and _FILE.search(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_functions_that_a_page_names_exist(page: Path) -> None:
    named = _FUNCTION.findall(page.read_text("utf-8"))
    missing = [
        f"{file}:{name}"
        for file, name in named
        if not (PACKAGE / file).is_file() or name not in defined(PACKAGE / file)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    pattern = _FOLDER_OR_FILE if page in OF_CODE else _FILE  # elsewhere, folders are those of runs
    named = set(pattern.findall(page.read_text("utf-8")))
    missing = [name for name in named if not any((root / name).exists() for root in (PACKAGE, ROOT))]
    assert missing == []


def test_every_folder_is_a_room_of_the_design() -> None:
    table = (ROOT / "docs" / "design.md").read_text("utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    rooms = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    )
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"assets"}
    assert folders <= rooms
