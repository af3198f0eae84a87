"""Progress of long work: a line that changes on a terminal, plain lines in a log, nothing when quiet.

The only module that knows Rich's and tqdm's bars. Loops report through `Task.advance`.
"""

import os
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, Protocol, TextIO, cast

from origcli.errors import without_secrets

PLAIN_INTERVAL_S = 60.0
_BETWEEN = " · "
_LEAST_NAME = 4  # characters of a phase's name that still say something
_BAR, _SHORT_BAR, _NARROW = 16, 8, 80  # columns of the bar, and of a terminal under which it is short
_TELLING = 0.25  # of a task: its own speed up to there tells how long it takes


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

    def task(self, description: str, total: int | None, start: int = 0, phases: int = 0) -> Any:
        """A context manager that gives a `Task`.

        Args:
            description: names the work; of work whose length is unknown, it is all that is shown.
            total: number of steps.
            start: steps done before (resumed work).
            phases: number of tasks, one after the other, that a step consists of: they count as parts of it.
        """

    def run(self, costs: Callable[[], Mapping[str, float]]) -> AbstractContextManager[None]:
        """A run of several tasks, one after the other: inside it, the time left is that of the whole run.

        Args:
            costs: gives what each task costs, by its description, in the order of the tasks, in any unit.
                Tasks that never begin cost nothing. Called only where progress is shown, and not inside a
                task, which is then the whole.
        """

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
    def task(self, description: str, total: int | None, start: int = 0, phases: int = 0) -> Iterator[Task]:
        yield _SilentTask()

    def run(self, costs: Callable[[], Mapping[str, float]]) -> AbstractContextManager[None]:
        return nullcontext()

    def say(self, message: str, always: bool = False) -> None:
        if always and self.stream is not None:
            print(one_line(message), file=self.stream, flush=True)


def _shown(fields: dict[str, float | str]) -> str:
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in fields.items())


def in_time(seconds: float) -> str:
    """A span of time as one says it: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class _Work:
    """A task that is open, and how far it is.

    Args:
        description, total, start, phases: as of `Progress.task`.
        changed: called after each report.
    """

    def __init__(
        self, description: str, total: int | None, start: int, phases: int, changed: Callable[["_Work"], None]
    ) -> None:
        self.description, self.total, self.phases, self.changed = description, total, phases, changed
        self.done = self.start = start
        self.began = self.printed = time.monotonic()
        self.fields: dict[str, float | str] = {}
        self.over = 0  # phases of the present step that are over
        self.said = False  # whether the last line tells of the last step

    def advance(self, steps: int = 1, **fields: float | str) -> None:
        self.done += steps
        self.over = 0
        self.fields.update(fields)
        self.said = False
        self.changed(self)

    @property
    def count(self) -> str:
        """`12/20`."""
        return f"{self.done}/{self.total or '?'}"

    def name(self, room: int | None = None) -> str:
        """`sampling a 12/20`; in less room `samp… 12/20`, and nothing where that is too little."""
        end = "" if self.total is None else f" {self.count}"
        if room is None or len(self.description) + len(end) <= room:
            return f"{self.description}{end}"
        kept = room - len(end) - 1
        return f"{self.description[:kept].rstrip()}…{end}" if kept >= _LEAST_NAME else ""

    def share(self, within: "Sequence[_Work]" = ()) -> float:
        """The share of the work that is done, what is done of the present step included.

        Args:
            within: tasks that are open inside this one and make up the present phase.
        """
        if not self.total:
            return 0.0
        known = [work.share() for work in within if work.total]
        phase = sum(known) / len(known) if known else 0.0
        step = min((self.over + phase) / self.phases, 1.0) if self.phases else 0.0
        return min((self.done + step) / self.total, 1.0)

    def left(self, within: "Sequence[_Work]" = ()) -> float | None:
        """Seconds left, if it goes on as it did; `None` where nobody can tell yet."""
        share = self.share(within)
        if share <= self.first or share >= 1:
            return None
        return (time.monotonic() - self.began) * (1 - share) / (share - self.first)

    @property
    def first(self) -> float:
        """The share that was done before."""
        return self.start / self.total if self.total else 0.0


class _Run:
    """A run of several tasks: what those behind have cost and taken, and what those ahead will cost.

    A task's own speed tells how long the rest of it takes, once enough of it is done; the speed of all that
    was done, how long the tasks after it take.

    Args:
        costs: as `Progress.run` is given them.
    """

    def __init__(self, costs: Mapping[str, float]) -> None:
        self.ahead = dict(costs)  # the present task included
        self.cost = self.took = 0.0  # of the tasks behind

    def begin(self, work: _Work) -> None:
        """A task begins: those before it that never did have nothing to do."""
        if work.description in self.ahead:
            for passed in list(self.ahead)[: list(self.ahead).index(work.description)]:
                del self.ahead[passed]

    def end(self, work: _Work) -> None:
        """A task is over."""
        if work.description in self.ahead:
            self.cost += self.ahead.pop(work.description) * (1 - work.first)
            self.took += time.monotonic() - work.began

    def left(self, work: _Work, within: Sequence[_Work]) -> float | None:
        """Seconds left of the run in the middle of a task; `None` where nobody can tell yet."""
        cost = self.ahead.get(work.description, 0.0)
        later = sum(self.ahead.values()) - cost
        done = self.cost + cost * (work.share(within) - work.first)
        took = self.took + (time.monotonic() - work.began if cost else 0.0)
        own = work.left(within)
        if not done:
            return None if later else own
        expected = cost * (1 - work.share(within)) * took / done
        if own is None or not cost:
            own = own or expected
        elif self.cost:  # its own speed shows after a while only
            trust = min((work.share(within) - work.first) / _TELLING, 1.0)
            own = trust * own + (1 - trust) * expected
        return (own + later * took / done) or None

    def share(self, work: _Work, within: Sequence[_Work]) -> float:
        """The share of the run that is done."""
        cost = self.ahead.get(work.description, 0.0)
        done = self.cost + cost * work.share(within)
        return done / (self.cost + sum(self.ahead.values()))


class _Open:
    """The tasks that are open: the first is the whole, or a part of the run; those after it are its parts."""

    def __init__(self) -> None:
        self.works: list[_Work] = []
        self.present: _Run | None = None

    @contextmanager
    def run(self, costs: Callable[[], Mapping[str, float]]) -> Iterator[None]:
        """See `Progress.run`."""
        if self.works or self.present:
            yield
            return
        self.present = _Run(costs())
        try:
            yield
        finally:
            self.present = None

    def open(self, work: _Work) -> None:
        """Takes a task in."""
        self.works.append(work)
        if self.present and len(self.works) == 1:
            self.present.begin(work)

    def close(self, work: _Work) -> None:
        """Takes a task out; the whole has one phase more behind it when its last part is closed."""
        self.works.remove(work)
        if len(self.works) == 1 and work.total:
            self.works[0].over += 1
        if self.present and not self.works:
            self.present.end(work)

    def left(self) -> float | None:
        """Seconds left of the whole; `None` where nobody can tell yet."""
        whole, *within = self.works
        return self.present.left(whole, within) if self.present else whole.left(within)

    def share(self) -> float:
        """The share of the whole that is done."""
        whole, *within = self.works
        if self.present and self.present.ahead:
            return self.present.share(whole, within)
        return whole.share(within)

    def line(self, room: int | None = None) -> str:
        """The whole run in one line: what it does, how far it is, its present phase and the time left.

        Args:
            room: characters that there are; the name of the phase is cut to fit, or left out.
        """
        whole, *within = self.works
        if whole.total is None and not within:
            return whole.description
        seconds = self.left()
        first, phase = whole.name(), within[-1].name() if within else ""
        last = "" if seconds is None else f"{in_time(seconds)} left"
        if phase and room is not None:
            others = sum(len(part) + len(_BETWEEN) for part in (first, last) if part)
            phase = within[-1].name(room - others)
        return _BETWEEN.join(part for part in (first, phase, last) if part)


class PlainProgress:
    """Lines for logs: one when a phase of a run is over, and one a minute at most while it lasts.

    Args:
        stream: by default stderr.
        verbose: the parts of a phase have lines too, with their latest values.
    """

    def __init__(self, stream: TextIO | None = None, verbose: bool = False) -> None:
        self.stream, self.verbose = forgiving(stream or sys.stderr), verbose
        self.open = _Open()
        self.printed = 0.0

    @contextmanager
    def task(self, description: str, total: int | None, start: int = 0, phases: int = 0) -> Iterator[Task]:
        work = _Work(description, total, start, phases, self._changed)
        self.open.open(work)
        alone = len(self.open.works) == 1
        if alone:
            self.printed = time.monotonic()
            if total is None:
                self._print(description)
        try:
            yield work
        finally:
            self.open.close(work)
            if total is not None and (alone or self.verbose) and not work.said:
                self._print(self._of_one(work))

    def run(self, costs: Callable[[], Mapping[str, float]]) -> AbstractContextManager[None]:
        return self.open.run(costs)

    def say(self, message: str, always: bool = False) -> None:
        self._print(one_line(message))

    def _changed(self, work: _Work) -> None:
        now = time.monotonic()
        if self.verbose and work is not self.open.works[0]:
            if now - work.printed >= PLAIN_INTERVAL_S:
                work.printed = now
                self._print(self._of_one(work))
        elif now - self.printed >= PLAIN_INTERVAL_S:
            self.printed = now
            self._print(self.open.line())

    def _of_one(self, work: _Work) -> str:
        """A task that is over, or one of many: how far it is, its latest values and how long it took."""
        work.said = True
        values = f"  {_shown(work.fields)}" if work.fields else ""
        return f"{work.description} {work.count}{values} in {in_time(time.monotonic() - work.began)}"

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class RichProgress:
    """One line on a terminal that shows the whole run; with `verbose`, a bar for each task that is open.

    Args:
        stream: by default stderr.
        verbose: show each task.
    """

    def __init__(self, stream: TextIO | None = None, verbose: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
        from rich.table import Column

        self.console = Console(file=stream and forgiving(stream), stderr=stream is None)
        self.verbose = verbose
        self.open = _Open()
        self.bar_width = _BAR if self.console.width >= _NARROW else _SHORT_BAR
        text = Column(no_wrap=True, overflow="ellipsis")
        self.bars = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=self.bar_width),
            TextColumn("{task.fields[line]}", markup=False, table_column=text),
            console=self.console,
            transient=True,
        )
        self.shown: dict[_Work, Any] = {}

    @contextmanager
    def task(self, description: str, total: int | None, start: int = 0, phases: int = 0) -> Iterator[Task]:
        work = _Work(description, total, start, phases, self._changed)
        self.open.open(work)
        if len(self.open.works) == 1:
            self.bars.start()
        if self.verbose or len(self.open.works) == 1:
            self.shown[work] = self.bars.add_task("", total=None if total is None else 1.0, line="")
        self._changed(work)
        try:
            yield work
        finally:
            self.open.close(work)
            if work in self.shown:
                self.bars.remove_task(self.shown.pop(work))
            if not self.open.works:
                self.bars.stop()

    def run(self, costs: Callable[[], Mapping[str, float]]) -> AbstractContextManager[None]:
        return self.open.run(costs)

    def say(self, message: str, always: bool = False) -> None:
        # Broken between words; a long one, such as a path, stays whole, to be copied.
        width = max(self.console.width, 1)
        lines = textwrap.wrap(one_line(message), width, break_long_words=False, break_on_hyphens=False)
        for line in lines or [""]:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _changed(self, work: _Work) -> None:
        whole = self.open.works[0]
        if whole in self.shown:
            room = self.console.width - self.bar_width - 3  # the spinner, and the spaces between the three
            line = self.open.line(room) if not self.verbose else self._of_one(whole)
            self.bars.update(self.shown[whole], completed=self.open.share(), line=one_line(line))
        if work is not whole and work in self.shown:
            line = self._of_one(work)
            self.bars.update(self.shown[work], completed=work.share(), line=one_line(line))

    def _of_one(self, work: _Work) -> str:
        if work.total is None:
            return work.description
        left = self.open.left() if work is self.open.works[0] else work.left()
        values = f"  {_shown(work.fields)}" if work.fields else ""
        return f"{work.description} {work.count}{values}{f' · {in_time(left)} left' if left else ''}"


def open_progress(quiet: bool = False, stream: TextIO | None = None, *, verbose: bool = False) -> Progress:
    """The progress that fits where it goes.

    Args:
        quiet: none.
        stream: by default stderr.
        verbose: each task is shown, not the whole run alone.
    """
    if quiet:
        return SilentProgress(sys.stderr if stream is None else stream)
    if stream is None and "ipykernel" in sys.modules and find_spec("ipywidgets") is not None:
        return RichProgress(verbose=verbose)  # Rich knows notebooks by itself, and needs ipywidgets there
    stream = stream or sys.stderr
    if stream is None:  # closed with 2>&-
        return SilentProgress()
    live = stream.isatty() and os.environ.get("TERM") != "dumb"
    return RichProgress(stream, verbose) if live else PlainProgress(stream, verbose)


def load_tqdm() -> None:
    """Loads tqdm, which libraries use, without what it says in a notebook that lacks ipywidgets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tqdm.auto  # noqa: F401
