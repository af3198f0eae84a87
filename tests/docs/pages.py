"""README, CONTRIBUTING and the pages of docs/ as commands that can be run.

A fence says what its commands need: ```sh runs in every test run and ```sh slow in those with the slow tests,
both with tiny budgets; ```sh gpu, ```sh weights and ```sh install are parsed, and run where there is what
they need; ```sh example names files of the reader's, and is parsed. A ```text fence right under one shows
what its commands print; `make docs` writes it.
"""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = ("", "slow", "gpu", "weights", "install", "example")

MOST_LINES = 14  # of an output that is shown
_FENCE = re.compile(
    r"^```sh ?(?P<need>[^\n]*)\n(?P<text>.*?)^```$(?:\n+```text\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_ASSIGNMENT = re.compile(r"[A-Z_]+=.*")
_ENDS = {"|", ">", ">>", "2>", "&&", "||", ";", "<"}


@dataclass(frozen=True)
class Block:
    """The commands of one fence, and the output that is shown for them, if any."""

    page: Path
    need: str
    text: str
    shown: str | None = None

    @property
    def commands(self) -> list[str]:
        """Its lines, continued ones joined, without comments."""
        joined = self.text.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """The fences of a page."""
    text = page.read_text("utf-8")
    return [
        Block(page, match["need"].strip(), match["text"], match["shown"]) for match in _FENCE.finditer(text)
    ]


def with_outputs(text: str, printed: Iterable[str]) -> str:
    """A page with what was printed in the places of the outputs that it shows, shortened."""
    outputs = iter(printed)

    def renewed(match: re.Match[str]) -> str:
        if match["shown"] is None:
            return match[0]
        start, end = (place - match.start() for place in match.span("shown"))
        return match[0][:start] + shortened(next(outputs)) + match[0][end:]

    return _FENCE.sub(renewed, text)


def shortened(output: str) -> str:
    """The first lines of an output, with a mark where there were more."""
    lines = output.strip("\n").splitlines()
    kept = lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "…"]
    return "".join(f"{line}\n" for line in kept)


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
