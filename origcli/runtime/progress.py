"""Progress of long work: Rich bars on a terminal, plain lines in a log, nothing when quiet.

The only module that knows Rich's and tqdm's bars. Loops report through `Task.advance`.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol, TextIO, cast

from origcli.errors import without_secrets

PLAIN_INTERVAL_S = 15.0


def one_line(text: str) -> str:
    """Text whose control characters are escaped, for the name of a file must not steer the terminal.

    Addresses in it show no passwords.
    """
    plain = without_secrets(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


class Task(Protocol):
    """One piece of long work."""

    def advance(self, steps: int = 1, **fields: float | str) -> None:
        """Reports steps done and the latest values, e.g. `advance(1, loss=0.12)`."""


class Progress(Protocol):
    """Where progress and remarks go. Never to stdout."""

    def task(self, description: str, total: int | None, start: int = 0) -> Any:
        """A context manager that gives a `Task`; `start` steps were done before (resumed work)."""

    def say(self, message: str, always: bool = False) -> None:
        """One line for the person who watches; with `always`, also where the rest is silent (`--quiet`)."""


class Forgiving:
    """A text stream that falls silent once it cannot be written: its reader left, or its disk is full.

    Progress and remarks are there for who watches. That nobody does any more ends no run.

    Args:
        stream: what is written to.
        gone: called once, when a write has failed.
    """

    def __init__(self, stream: TextIO, gone: Callable[[], None] = lambda: None) -> None:
        self._stream, self._gone = stream, gone
        self._silent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes text; what the stream's encoding cannot say is escaped."""
        encoding = getattr(self._stream, "encoding", None)
        if encoding:
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Sends on what was written."""
        self._attempt(self._stream.flush)

    def _attempt(self, call: Callable[[], object]) -> None:
        if self._silent:
            return
        try:
            call()
        except (OSError, ValueError):  # ValueError: the stream was closed
            self._silent = True
            self._gone()


def forgiving(stream: TextIO, gone: Callable[[], None] = lambda: None) -> TextIO:
    """A stream that falls silent once it cannot be written (`Forgiving`)."""
    return cast(TextIO, stream if isinstance(stream, Forgiving) else Forgiving(stream, gone))


class _SilentTask:
    def advance(self, steps: int = 1, **fields: float | str) -> None:
        pass


class SilentProgress:
    """`--quiet`, and the default in tests.

    Args:
        stream: for what is always said.
    """

    stream: TextIO | None = None

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = None if stream is None else forgiving(stream)

    @contextmanager
    def task(self, description: str, total: int | None, start: int = 0) -> Iterator[Task]:
        yield _SilentTask()

    def say(self, message: str, always: bool = False) -> None:
        if always and self.stream is not None:
            print(one_line(message), file=self.stream, flush=True)


def _shown(fields: dict[str, float | str]) -> str:
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in fields.items())


class _PlainTask:
    def __init__(self, stream: TextIO, description: str, total: int | None, start: int) -> None:
        self.stream, self.description, self.total = stream, description, total
        self.done = self.start = start
        self.began = self.printed = time.monotonic()
        self.fields: dict[str, float | str] = {}
        self.said = False  # whether the last line tells of the last step

    def advance(self, steps: int = 1, **fields: float | str) -> None:
        self.done += steps
        self.fields.update(fields)
        self.said = False
        if time.monotonic() - self.printed >= PLAIN_INTERVAL_S:
            self.line()

    def line(self) -> None:
        self.printed, self.said = time.monotonic(), True
        elapsed = self.printed - self.began
        rate = (self.done - self.start) / elapsed if elapsed > 0 else 0.0
        ahead = (self.total or 0) - self.done
        left = f", {ahead / rate:.0f} s left" if ahead > 0 and rate else ""
        values = f"  {_shown(self.fields)}" if self.fields else ""
        print(
            f"{self.description}: {self.done}/{self.total or '?'}{values}"
            f"  [{elapsed:.0f} s, {rate:.4g}/s{left}]",
            file=self.stream,
            flush=True,
        )


class PlainProgress:
    """One line every 15 seconds and one at the end: for logs."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = forgiving(stream or sys.stderr)

    @contextmanager
    def task(self, description: str, total: int | None, start: int = 0) -> Iterator[Task]:
        task = _PlainTask(self.stream, description, total, start)
        try:
            yield task
        finally:
            if not task.said:
                task.line()

    def say(self, message: str, always: bool = False) -> None:
        print(one_line(message), file=self.stream, flush=True)


class _RichTask:
    def __init__(self, bars: Any, identifier: Any) -> None:
        self.bars, self.identifier = bars, identifier
        self.fields: dict[str, float | str] = {}

    def advance(self, steps: int = 1, **fields: float | str) -> None:
        self.fields.update(fields)
        self.bars.update(self.identifier, advance=steps, shown=_shown(self.fields))


class RichProgress:
    """Bars that share one live display, so that nested work stacks up."""

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.console = Console(file=stream and forgiving(stream), stderr=stream is None)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}", style="dim", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.depth = 0

    @contextmanager
    def task(self, description: str, total: int | None, start: int = 0) -> Iterator[Task]:
        if self.depth == 0:
            self.bars.start()
        self.depth += 1
        identifier = self.bars.add_task(description, total=total, completed=start, shown="")
        try:
            yield _RichTask(self.bars, identifier)
        finally:
            self.bars.remove_task(identifier)
            self.depth -= 1
            if self.depth == 0:
                self.bars.stop()

    def say(self, message: str, always: bool = False) -> None:
        self.console.print(one_line(message), markup=False, highlight=False)


def open_progress(quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """The progress that fits where it goes."""
    if quiet:
        return SilentProgress(sys.stderr if stream is None else stream)
    if stream is None and "ipykernel" in sys.modules and find_spec("ipywidgets") is not None:
        return RichProgress()  # Rich knows notebooks by itself, and needs ipywidgets there
    stream = stream or sys.stderr
    if stream is None:  # closed with 2>&-
        return SilentProgress()
    live = stream.isatty() and os.environ.get("TERM") != "dumb"
    return RichProgress(stream) if live else PlainProgress(stream)


def load_tqdm() -> None:
    """Loads tqdm, which libraries use, without what it says in a notebook that lacks ipywidgets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tqdm.auto  # noqa: F401
