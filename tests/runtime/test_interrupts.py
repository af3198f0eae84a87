"""The first signal asks, the second stops, and workers can always be ended."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import ExitCode, Interrupted
from origcli.runtime import interrupts


@pytest.mark.fault(9, "the loop stops at its next safe point, exit 130 or 143")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, ExitCode.SIGINT), (signal.SIGTERM, ExitCode.SIGTERM)]
)
def test_a_signal_is_raised_at_the_next_safe_point(number: signal.Signals, status: ExitCode) -> None:
    with interrupts.handled():
        interrupts.check()
        os.kill(os.getpid(), number)
        assert interrupts.pending()
        with pytest.raises(Interrupted) as caught:
            interrupts.check()
    assert caught.value.exit_code == status
    assert not interrupts.pending()
    interrupts.check()


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupts.handled():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_inner_context_loses_no_signal() -> None:
    with interrupts.handled():
        os.kill(os.getpid(), signal.SIGTERM)
        with interrupts.handled():
            assert interrupts.pending()
        assert interrupts.pending()


def test_outside_the_main_thread_it_does_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    inside: list[Any] = []

    def work() -> None:
        with interrupts.handled():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


LOOP = """
import sys, time
from pathlib import Path
from origcli.runtime import interrupts
with interrupts.handled():
    Path(sys.argv[1]).touch()
    for _ in range(600):
        time.sleep(0.1)
"""


@pytest.mark.fault(9, "a second one stops at once")
def test_the_second_signal_stops_at_once(tmp_path: Path) -> None:
    started = tmp_path / "started"
    process = subprocess.Popen([sys.executable, "-c", LOOP, str(started)], stderr=subprocess.PIPE, text=True)
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "press Ctrl-C again to stop now" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    process.stderr.close()


def test_a_forked_worker_minds_ctrl_c_not_and_dies_of_sigterm() -> None:
    with interrupts.handled():
        worker = os.fork()
        if worker == 0:  # pragma: no cover - the worker's side
            time.sleep(60)
            os._exit(0)
        os.kill(worker, signal.SIGINT)
        time.sleep(0.2)
        assert os.waitpid(worker, os.WNOHANG) == (0, 0)
        os.kill(worker, signal.SIGTERM)
        _, status = os.waitpid(worker, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert not interrupts.pending()
