"""Files and functions of the package that pages name are there."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PAGES = ("code-tour.md", "design.md")
PACKAGE = ROOT / "origcli"
_FUNCTION = re.compile(r"`([\w/]+\.py):([\w.]+)`")
_FILE = re.compile(r"`((?:origcli/)?(?:\w+/)+\w*(?:\.py)?)[:`]")


def defined(path: Path) -> set[str]:
    """Functions and classes of a module, and the methods of its classes as `Class.method`."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, kinds):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, kinds)}
    return found


@pytest.mark.parametrize("page", PAGES)
def test_functions_that_a_page_names_exist(page: str) -> None:
    named = _FUNCTION.findall((ROOT / "docs" / page).read_text("utf-8"))
    assert named
    missing = [
        f"{file}:{name}"
        for file, name in named
        if not (PACKAGE / file).is_file() or name not in defined(PACKAGE / file)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    named = set(_FILE.findall((ROOT / "docs" / page).read_text("utf-8")))
    assert named
    missing = [name for name in named if not any((root / name).exists() for root in (PACKAGE, ROOT))]
    assert missing == []


def test_every_folder_is_a_room_of_the_design() -> None:
    table = (ROOT / "docs" / "design.md").read_text("utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    rooms = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    )
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"assets"}
    assert folders <= rooms
