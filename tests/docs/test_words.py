"""Texts are plain: a short list of turns that they have had, and that read as translated, stays out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

FORBIDDEN = (
    r"\banew\b",
    r"\bgone\s+on\s+with\b",
    r"\bgo(es)?\s+on\s+(with|where)\b",
    r"\bso\s+many\s+of\b",
    r"\b(is|are)\s+told\b",
    r"\bmended\b",
    r"\bbroke\s+off\b",
    r"\beverything\s+random\b",
    r"\bfor\s+there\s+is\b",
    r"\bno\s+\S+\s+is\s+called\b",
    r"\bwill\s+not\s+do\b",
    r"\b(in|of)\s+places\s+of\s+(its|their)\s+own\b",
    r"\bcolour",
    r"\blicence",
    r"\bgrey\b",
    r"\b(neighbour|favour|behaviour|labour|utilis|catalogue)",
    r"\bcentre[sd]?\b",
    r"\bmodelling\b",
    r"\bmends?\b",
    r"\bat\s+hand\b",
    r"\bon\s+trust\b",
    r"\bwhere\s+nothing\s+is\s+said\b",
    r"\bseen\s+so\s+far\b",
    r"\bfrom\s+nothing\b",
    r"\ball\s+else\b",
    r"\b(un)?(initial|normal|minim|maxim|summar|recogn|real|general|organ)is(e|ed|es|ing|ation)\b",
    r"\boptimis(e|ed|es|er|ers|ing|ation)\b",
    r"\bwho\s+asks\b",
    r"\bhold\s+\w+\s+runs\s+against\b",
    r"\bcommunication\s+is\s+none\b",
    r"\bfor\s+the\s+eye\b",
)
# Words of one thing that have another name for users: an image is theirs, a sample is the model's.
OTHER_NAMES = re.compile(r"\b(drawings?|pictures?)\b", re.IGNORECASE)
_FORBIDDEN = re.compile("|".join(FORBIDDEN), re.IGNORECASE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_NAMES = re.compile(r"^\s*(\w+, )*\w+:\s|\w*/\w*|\w+\.\w+")  # names that a docstring describes, and files
_CODE = re.compile(r"`[^`\n]*`|\]\([^)]*\)")  # names of files and tests, which pages mention
SOURCES = sorted((ROOT / "origcli").glob("**/*.py"))
TEXTS = [*PAGES, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *(ROOT / "origcli").glob("**/*.md")]


def found(text: str) -> list[str]:
    """The turns in a text."""
    return [match[0] for match in _FORBIDDEN.finditer(text)]


def strings(source: str) -> Iterator[ast.Constant]:
    """The string literals of a module, docstrings and the parts of f-strings among them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node


def test_the_list_finds_what_it_forbids() -> None:
    assert found("The pages are made\nanew, and what was gone\n on with is MENDED.") == [
        "anew",
        "gone\n on with",
        "MENDED",
    ]
    assert found("The pages are written again; a renewed run is resumed in color.") == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_pages_and_help_say_image_and_sample(path: Path) -> None:
    text = _CODE.sub("", _FENCE.sub("", path.read_text("utf-8")))
    assert OTHER_NAMES.findall(_TAG.sub("", text)) == []


def test_docstrings_say_image_and_sample() -> None:
    problems = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                lines = _CODE.sub("", ast.get_docstring(node) or "").splitlines()
                said = [line for line in lines if OTHER_NAMES.search(_NAMES.sub("", line))]
                problems += [f"{path.relative_to(ROOT)}: {line.strip()}" for line in said]
    assert problems == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_pages_say_it_plainly(path: Path) -> None:
    lines = enumerate(_CODE.sub("", path.read_text("utf-8")).splitlines(), 1)
    assert [f"{number}: {words}" for number, line in lines for words in found(line)] == []


def test_texts_in_the_code_say_it_plainly() -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {words}"
        for path in SOURCES
        for node in strings(path.read_text("utf-8"))
        for words in found(str(node.value))
    ]
    assert problems == []
