"""The README and the pages of docs/ as commands that can be run.

A fence says what its commands need: ```sh runs in every test run, with tiny budgets; ```sh slow runs as it
stands; ```sh gpu, ```sh weights and ```sh install are parsed, and run where there is what they need.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = ("", "slow", "gpu", "weights", "install")

_FENCE = re.compile(r"^```sh ?(?P<need>[^\n]*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Z_]+=.*")
_ENDS = {"|", ">", ">>", "2>", "&&", "||", ";", "<"}


@dataclass(frozen=True)
class Block:
    """The commands of one fence."""

    page: Path
    need: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines, continued ones joined, without comments."""
        joined = self.text.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """The fences of a page."""
    text = page.read_text("utf-8")
    return [Block(page, match["need"].strip(), match["text"]) for match in _FENCE.finditer(text)]


def origcli_words(line: str) -> Iterator[list[str]]:
    """The words of every origcli command in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word in _ENDS:
            parts.append([])
        else:
            parts[-1].append(word)
    for part in parts:
        while part and _ASSIGNMENT.fullmatch(part[0]):
            part = part[1:]
        if part[:3] == ["accelerate", "launch", "-m"]:
            part = part[3:]
        if part and part[0] == "origcli":
            yield part[1:]
