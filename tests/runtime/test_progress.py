"""Bars on a terminal, lines in a log, nothing when quiet, and never a word on stdout."""

import errno
import io
import subprocess
import sys
import time
from typing import Any

import pytest

from origcli.runtime import progress
from origcli.runtime.progress import PlainProgress, RichProgress, SilentProgress, open_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_form_fits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(open_progress(stream=Terminal()), RichProgress)
    assert isinstance(open_progress(stream=io.StringIO()), PlainProgress)
    assert isinstance(open_progress(quiet=True, stream=Terminal()), SilentProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(open_progress(stream=Terminal()), PlainProgress)


def test_a_closed_stderr_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert isinstance(open_progress(), SilentProgress)


def test_a_notebook_has_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setattr(progress, "find_spec", lambda name: object())
    assert isinstance(open_progress(), RichProgress)


def test_a_notebook_without_ipywidgets_has_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    with open_progress().task("inverting", total=1) as task:
        task.advance()
    assert capsys.readouterr().err == "inverting 1/1 in 0 s\n"


def test_a_notebook_without_ipywidgets_is_not_warned() -> None:
    """tqdm warns when it is first loaded there; diffusers, transformers and the hub's client load it."""
    code = """
import sys, types
sys.modules["ipywidgets"] = None
notebook = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: notebook)
import origcli.interface
import tqdm.auto
"""
    words = [sys.executable, "-W", "error::Warning:tqdm", "-W", "always", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def score(reporter: Any, clock: list[float], images: int) -> None:
    """The tasks of a score, in which each image takes 20 s: 10 to learn two tokens, 10 to sample."""
    with reporter.task("loading sd15 …", None):
        clock[0] += 5
    with reporter.task("images", images, phases=2) as whole:
        for _ in range(images):
            with reporter.task("a m=1", 10) as one, reporter.task("a m=2", 10) as two:
                for _ in range(10):
                    clock[0] += 1
                    one.advance(loss=0.5)
                    two.advance(loss=0.4)
            with reporter.task("sampling a", 5) as samples:
                for _ in range(5):
                    clock[0] += 2
                    samples.advance()
            whole.advance()


@pytest.mark.parametrize("images", [1, 30, 300])
def test_a_log_has_a_line_a_phase_and_at_most_one_a_minute(images: int, clock: list[float]) -> None:
    log = io.StringIO()
    score(PlainProgress(log), clock, images)
    first, *between, last = log.getvalue().splitlines()
    assert first == "loading sd15 …" and last.startswith(f"images {images}/{images} in ")
    assert len(between) == images * 20 // 60
    if between:
        assert between[0] == "images 2/30 · sampling a 5/5 · 9 min left" or images == 300


def test_the_time_left_is_that_of_the_whole_run(clock: list[float]) -> None:
    log = io.StringIO()
    reporter = PlainProgress(log)
    with reporter.task("images", 4, phases=2), reporter.task("a m=1", 10) as learning:
        clock[0] += 5
        learning.advance(5)
        assert reporter.open.line() == "images 0/4 · a m=1 5/10 · 1 min left", "5 s of 80 are over"


def test_work_that_was_resumed_is_not_counted_as_fast(clock: list[float]) -> None:
    reporter = PlainProgress(io.StringIO())
    with reporter.task("images", 10, start=8) as whole:
        assert reporter.open.line() == "images 8/10", "nobody can tell yet"
        clock[0] += 30
        whole.advance()
        assert reporter.open.line() == "images 9/10 · 30 s left"


def test_the_time_left_foresees_what_comes_later(clock: list[float]) -> None:
    """60 s of calibration, 30 s of its control, which nothing is left of, and two images of 60 s each."""
    reporter = PlainProgress(io.StringIO())
    seen = []
    with reporter.run(lambda: {"calibrate": 10, "control": 5, "images": 20}):
        with reporter.task("loading …", None):
            assert reporter.open.left() is None
        with reporter.task("calibrate", 6) as work:
            seen.append(reporter.open.line())
            for _ in range(6):
                clock[0] += 5
                with reporter.task("sampling", 2) as samples:
                    samples.advance(2)
                clock[0] += 5
                work.advance()
                seen.append(reporter.open.line())
        with reporter.task("images", 2) as images:
            seen.append(reporter.open.line())
            clock[0] += 60
            images.advance()
            seen.append(reporter.open.line())
    assert seen == [
        "calibrate 0/6",
        "calibrate 1/6 · 3 min left",
        "calibrate 2/6 · 3 min left",
        "calibrate 3/6 · 3 min left",
        "calibrate 4/6 · 3 min left",
        "calibrate 5/6 · 3 min left",
        "calibrate 6/6 · 2 min left",
        "images 0/2 · 2 min left",
        "images 1/2 · 1 min left",
    ]
    assert clock[0] == 120


def test_the_time_left_of_a_resumed_run_counts_what_was_done_here(clock: list[float]) -> None:
    reporter = PlainProgress(io.StringIO())
    with reporter.run(lambda: {"calibrate": 10, "images": 10}):
        with reporter.task("calibrate", 10, start=8) as work:
            clock[0] += 30
            work.advance()
            assert reporter.open.left() == pytest.approx(30 + 300), "a tenth took 30 s"
            clock[0] += 30
            work.advance()
        with reporter.task("images", 10, start=5):
            assert reporter.open.left() == pytest.approx(150)


def test_a_run_inside_a_task_is_a_part_of_it(clock: list[float]) -> None:
    reporter = PlainProgress(io.StringIO())
    with reporter.task("experiments", 2) as whole:
        with reporter.run(lambda: pytest.fail("counted for nothing")), reporter.task("calibrate", 1):
            clock[0] += 10
        whole.advance()
        assert reporter.open.left() == 10


def test_costs_are_not_counted_where_nothing_is_shown() -> None:
    with SilentProgress().run(lambda: pytest.fail("counted for nothing")):
        pass


def test_the_bar_is_that_of_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    bars = RichProgress(Terminal())
    with bars.run(lambda: {"calibrate": 10, "images": 30}):
        with bars.task("calibrate", 2) as work:
            work.advance()
            assert bars.bars.tasks[0].completed == 0.125
            work.advance()
        with bars.task("images", 2) as work:
            assert bars.bars.tasks[0].completed == 0.25
            work.advance()
            assert bars.bars.tasks[0].completed == 0.625


def test_verbose_lines_tell_of_each_part(clock: list[float]) -> None:
    log = io.StringIO()
    score(PlainProgress(log, verbose=True), clock, 1)
    assert log.getvalue().splitlines() == [
        "loading sd15 …",
        "a m=2 10/10  loss 0.4 in 10 s",
        "a m=1 10/10  loss 0.5 in 10 s",
        "sampling a 5/5 in 10 s",
        "images 1/1 in 20 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min"), (12_000, "3 h 20 min")]
)
def test_spans_of_time_are_said_as_one_says_them(seconds: float, said: str) -> None:
    assert progress.in_time(seconds) == said


def test_plain_lines_need_no_total_and_survive_an_error() -> None:
    log = io.StringIO()
    with pytest.raises(ValueError), PlainProgress(log).task("reading", total=None) as task:
        task.advance(3)
        raise ValueError
    assert log.getvalue() == "reading\n"


def test_a_terminal_shows_the_run_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    bars = RichProgress(terminal)
    with bars.task("images", total=2, phases=2) as outer, bars.task("a [1]", total=4) as inner:
        inner.advance(2)
        assert len(bars.bars.tasks) == 1 and bars.bars.tasks[0].completed == 0.125
        bars.bars.refresh()
        outer.advance()
    assert "images 0/2 · a [1] 2/4" in terminal.getvalue() and not bars.bars.tasks


def test_remarks_on_a_terminal_are_broken_between_words_and_paths_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "30")
    terminal = Terminal()
    path = f"/a/{'long-' * 10}b.png"
    RichProgress(terminal).say(f"a remark about some images, and {path}: all of them")
    assert terminal.getvalue().splitlines() == [
        "a remark about some images,",
        "and",
        f"{path}:",
        "all of them",
    ]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (120, "calibrate on own samples 1/2 · sample 'a cat on a chair in the garden' 2/8 · 17 min left"),
        (80, "calibrate on own samples 1/2 · sample 'a c… 2/8 · 17 min left"),
        (60, "calibrate on own samples 1/2 · 17 min left"),
    ],
)
def test_the_time_left_fits_a_narrow_terminal(
    columns: int, line: str, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    bars = RichProgress(terminal)
    with bars.task("calibrate on own samples", 2) as whole:
        clock[0] += 1000
        whole.advance()
        with bars.task("sample 'a cat on a chair in the garden'", 8) as phase:
            phase.advance(2)
            bars.bars.refresh()
    assert line in terminal.getvalue()


def test_verbose_bars_stack_and_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    bars = RichProgress(terminal, verbose=True)
    with bars.task("outer [1]", total=2) as outer:
        outer.advance(loss=0.5)
        with bars.task("inner", total=None) as inner:
            inner.advance()
            assert len(bars.bars.tasks) == 2
        bars.say("a remark [with] brackets")
        bars.bars.refresh()
    assert not bars.open.works and not bars.bars.tasks
    assert "outer [1]" in terminal.getvalue() and "loss 0.5" in terminal.getvalue()
    assert "a remark [with] brackets" in terminal.getvalue()


def test_remarks_go_to_the_log_and_not_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    open_progress().say("fetching")
    open_progress(quiet=True).say("not this")
    with open_progress(quiet=True).task("x", total=1) as task:
        task.advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "fetching\n"


@pytest.mark.fault(26, "nor do they in remarks")
def test_what_is_always_said_is_said_when_all_else_is_quiet() -> None:
    quiet = io.StringIO()
    progress = open_progress(quiet=True, stream=quiet)
    progress.say("a remark")
    progress.say("demo\x1b[2J\nmodel", always=True)
    assert quiet.getvalue() == "demo\\x1b[2J\\nmodel\n"
    for kind in (PlainProgress, RichProgress):
        said = io.StringIO()
        kind(said).say("a\x1b[2J\x9bb")
        assert said.getvalue().strip() == "a\\x1b[2J\\x9bb"
    SilentProgress().say("nowhere to go", always=True)


class Broken(io.StringIO):
    """A stream whose reader leaves, or whose disk fills up, after some writes."""

    def __init__(self, writes: int, problem: Exception, live: bool) -> None:
        super().__init__()
        self.left, self.problem, self.live = writes, problem, live

    def isatty(self) -> bool:
        return self.live

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.problem
        return super().write(text)


@pytest.mark.fault(32, "bars and lines fall silent; the work goes on")
@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("writes", [0, 3])
@pytest.mark.parametrize(
    "problem", [BrokenPipeError(errno.EPIPE, "x"), OSError(errno.ENOSPC, "x"), ValueError("closed file")]
)
def test_progress_that_cannot_be_written_falls_silent(
    live: bool, writes: int, problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    stream = Broken(writes, problem, live)
    reporter = open_progress(stream=stream)
    assert isinstance(reporter, RichProgress) == live
    with reporter.task("work", total=20) as task:
        for _ in range(20):
            task.advance(loss=0.5)
            reporter.say("a remark")
    assert stream.left < 0, "it was written to until it failed"


def test_what_an_encoding_cannot_say_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    PlainProgress(stream).say("größer")
    assert raw.getvalue() == b"gr\\xf6\\xdfer\n"
