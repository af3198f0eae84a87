"""A terminal that commands are run on.

It understands what Rich writes and no more.
"""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Mapping
from pathlib import Path

ROWS = 40
_ESCAPE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


def record(command: list[str], columns: int, directory: Path, environment: Mapping[str, str]) -> list[str]:
    """What a command writes to a terminal of that width, in the pieces it came in.

    Raises:
        RuntimeError: the command failed; with the end of what it wrote.
    """
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - the command's side
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        os.chdir(directory)
        os.execvpe(command[0], command, {**environment, "TERM": "xterm-256color"})
    pieces = []
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # the other end is gone
            break
        pieces.append(piece.decode("utf-8", "replace"))
    os.close(terminal)
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError(f"{' '.join(command)}: status {status}\n{''.join(pieces)[-2000:]}")
    return pieces


class Screen:
    """Lines of text with their colors; a line is cleared as a whole, as Rich does it."""

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
        """The lines down to the last that says something, with their colors."""
        lines = list(self.lines)
        while lines and not _ESCAPE.sub("", lines[-1]).strip():
            lines.pop()
        return lines

    def text(self) -> str:
        """The same without colors."""
        return "".join(f"{_ESCAPE.sub('', line).rstrip()}\n" for line in self.shown())


def at_the_end(pieces: list[str]) -> Screen:
    """The screen when the command is done."""
    screen = Screen()
    screen.feed("".join(pieces))
    return screen
