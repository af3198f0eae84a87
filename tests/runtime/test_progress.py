"""Bars on a terminal, lines in a log, nothing when quiet, and never a word on stdout."""

import errno
import io
import subprocess
import sys
import time

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
    assert capsys.readouterr().err.startswith("inverting: 1/1  [")


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


def test_plain_lines_come_at_intervals_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    log = io.StringIO()
    with PlainProgress(log).task("inverting", total=100, start=40) as task:
        for step in range(60):
            clock[0] += 1.0
            task.advance(loss=1 / (step + 1), stage="m=1")
    lines = log.getvalue().splitlines()
    assert len(lines) == 60 // progress.PLAIN_INTERVAL_S, "the last step is told of once"
    assert lines[0] == "inverting: 55/100  loss 0.06667  stage m=1  [15 s, 1/s, 45 s left]"
    assert lines[-1] == "inverting: 100/100  loss 0.01667  stage m=1  [60 s, 1/s]"


def test_plain_lines_need_no_total_and_survive_an_error() -> None:
    log = io.StringIO()
    with pytest.raises(ValueError), PlainProgress(log).task("reading", total=None) as task:
        task.advance(3)
        raise ValueError
    assert log.getvalue().startswith("reading: 3/?")
    assert "left" not in log.getvalue()


def test_bars_stack_and_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    bars = RichProgress(terminal)
    with bars.task("outer [1]", total=2) as outer:
        outer.advance(loss=0.5)
        with bars.task("inner", total=None) as inner:
            inner.advance()
            assert len(bars.bars.tasks) == 2
        bars.say("a remark [with] brackets")
        bars.bars.refresh()
    assert bars.depth == 0 and not bars.bars.tasks
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
