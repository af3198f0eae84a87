"""Commands in processes of their own, forked from one that has loaded torch, so that a kill costs little."""

import multiprocessing
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_LOADED = [
    *("torch", "accelerate", "diffusers", "transformers", "origcli.cli.app", "origcli.training.unet"),
    *("origcli.scoring.run", "origcli.detection.yolo", "tests.chaos.processes"),
]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(_LOADED)
_LONGEST = 600.0  # seconds that a command may take


@dataclass(frozen=True)
class Command:
    """An origcli command that writes a run directory.

    Attributes:
        words: without `--out` and `--resume`.
        environment: variables beside those of this process; each run gets a cache of its own.
    """

    words: Sequence[str]
    environment: Mapping[str, str]

    def start(self, out: Path, *more: str) -> ForkServerProcess:
        """Starts it; its output goes to a file beside `out`."""
        environment = {"ORIGCLI_CACHE": str(cache_of(out)), "OMP_NUM_THREADS": "1", **self.environment}
        words = [*self.words, "--out", str(out), *more]
        process = _SERVER.Process(target=_run, args=(words, environment, str(log_of(out))))
        process.start()
        return process

    def finish(self, out: Path, *more: str) -> float:
        """Runs it to its end; the seconds from its taking the directory on."""
        process = self.start(out, *more)
        began = wait_for_owner(process, out)
        process.join(_LONGEST)
        assert process.exitcode == 0, log_of(out).read_text()
        return time.monotonic() - began

    def killed(self, out: Path, moments: random.Random, longest: float, kills: int) -> int:
        """Kills and resumes it until it is done or was killed `kills` times, and then lets it finish.

        Args:
            moments: a kill comes up to `longest` seconds after the process has taken the directory.

        Returns:
            How many times it was killed.
        """
        done = 0
        while done < kills:
            process = self.start(out, "--resume")
            wait_for_owner(process, out)
            process.join(moments.uniform(0, longest))
            if process.exitcode is not None:
                assert process.exitcode == 0, log_of(out).read_text()
                return done
            process.kill()
            process.join()
            done += 1
        self.finish(out, "--resume")
        return done


def _run(words: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    from origcli.cli.app import main

    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    main(list(words))


def cache_of(out: Path) -> Path:
    """The cache of a run."""
    return out.with_name(f"{out.name}-cache")


def log_of(out: Path) -> Path:
    """What its last process said."""
    return out.with_name(f"{out.name}.log")


def wait_for_owner(process: ForkServerProcess, out: Path) -> float:
    """Waits until a process has taken its run directory; the time at which it had."""
    deadline = time.monotonic() + _LONGEST
    mark = f"process {process.pid} on "
    while process.exitcode is None and time.monotonic() < deadline:
        try:
            if (out / ".lock.owner").read_text().startswith(mark):
                break
        except OSError:
            pass
        time.sleep(0.002)
    return time.monotonic()


def contents(directory: Path) -> dict[str, bytes | None]:
    """Every file by its name in the directory, but for `run.json`, which holds times and the host.

    A directory has its name and no bytes.
    """
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if path.name != "run.json"
    }
