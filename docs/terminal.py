"""Makes the terminal pictures of docs/images from a real run.

    python docs/terminal.py DIRECTORY COLUMNS NAME COMMAND…

runs a command on a terminal of its own and writes NAME-at-work.svg, the screen in the middle of when most
was going on, and NAME.svg, the screen at the end. It understands what Rich writes and no more.
"""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

_ESCAPE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


def record(command: list[str], columns: int) -> list[str]:
    """What a command writes to a terminal of that width, in the pieces it came in."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        os.execvpe(command[0], command, {**os.environ, "TERM": "xterm-256color"})
    pieces = []
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # the other end is gone
            break
        pieces.append(piece.decode("utf-8", "replace"))
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"the command ended with status {status}: {''.join(pieces)[-500:]}")
    return pieces


class Screen:
    """Lines of text with their colours; a line is cleared as a whole, as Rich does it."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = 0

    def feed(self, text: str) -> None:
        """Takes what a program wrote."""
        place = 0
        for match in _ESCAPE.finditer(text):
            self._write(text[place : match.start()])
            self._obey(match[1], match[2], match[0])
            place = match.end()
        self._write(text[place:])

    def _write(self, text: str) -> None:
        for number, part in enumerate(text.replace("\r", "").split("\n")):
            if number:
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            self.lines[self.row] += part

    def _obey(self, argument: str, letter: str, whole: str) -> None:
        if letter == "m":
            self.lines[self.row] += whole
        elif letter == "K":
            self.lines[self.row] = ""
        elif letter == "A":
            self.row = max(0, self.row - int(argument or 1))

    def shown(self) -> list[str]:
        """The lines down to the last that says something."""
        lines = list(self.lines)
        while lines and not _ESCAPE.sub("", lines[-1]).strip():
            lines.pop()
        return lines


def save(lines: list[str], columns: int, command: str, path: Path) -> None:
    """Writes lines of a terminal as SVG, under the command that made them."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=columns, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {command}", style="bold"))
        for line in lines:
            console.print(Text.from_ansi(line), overflow="crop", no_wrap=True)
        console.save_svg(str(path), title="origcli")


def main(directory: Path, columns: int, name: str, command: list[str]) -> None:
    """Records a command and saves the two pictures."""
    screen, frames = Screen(), [[""]]
    for piece in record(command, columns):
        screen.feed(piece)
        shown = screen.shown()
        if "━" not in "".join(shown):  # no bars
            continue
        if len(shown) > len(frames[0]):
            frames = [shown]
        elif len(shown) == len(frames[0]):
            frames.append(shown)
    words = " ".join(command)
    save(frames[len(frames) // 2], columns, words, directory / f"{name}-at-work.svg")
    save(screen.shown(), columns, words, directory / f"{name}.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
