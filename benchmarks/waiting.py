"""What waiting threads cost: one small score whose threads spin, and one whose threads sleep.

    python benchmarks/waiting.py [--beside N] [--rounds 2] [--steps 10]

Whole processes of `origcli score`, in turn, each with an empty cache and a thread a core; `--beside N` has N
other processes compute all the while. `spins` is what OpenMP does by itself, `spins a little` is
GOMP_SPINCOUNT=1000, `sleeps` is OMP_WAIT_POLICY=PASSIVE, which commands set. All reports have to be equal.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from origcli.runtime.machine import cores
from origcli.weights.registry import bundled_directory

# As OpenMP does by itself: the variable is not there when torch reads it.
SPINNING = """
import os
from origcli.cli import app
app.wait_asleep = lambda: os.environ.pop("OMP_WAIT_POLICY", None)
app.main()
"""
WAYS: dict[str, tuple[list[str], dict[str, str]]] = {
    "spins": (["-c", SPINNING], {}),
    "spins a little": (["-c", SPINNING], {"GOMP_SPINCOUNT": "1000"}),
    "sleeps": (["-m", "origcli"], {"OMP_WAIT_POLICY": "PASSIVE"}),
}


def score(way: str, steps: int, place: Path) -> tuple[float, float, bytes]:
    """Seconds of the clock and of the processor, and the report."""
    start, variables = WAYS[way]
    words = [
        "score",
        str(bundled_directory() / "example.png"),
        "--model",
        "shapes",
        "--threads",
        str(cores()),
    ]
    words += ["--max-tokens", "2", "--invert-steps", str(steps), "--images", "2", "--steps", str(steps)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        [sys.executable, *start, *words, "--quiet", "--out", str(place / "run")],
        check=True,
        env={**os.environ, **variables, "ORIGCLI_CACHE": str(place / "cache")},
        stdout=subprocess.DEVNULL,
    )
    clock, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return clock, processor, (place / "run" / "report.json").read_bytes()


def compute() -> None:
    """Keeps a core busy."""
    while True:
        sum(range(100_000))


def main() -> None:
    """Runs the benchmark and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--beside", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    asked = parser.parse_args()
    others = [multiprocessing.Process(target=compute, daemon=True) for _ in range(asked.beside)]
    for other in others:
        other.start()
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    reports = set()
    for _ in range(asked.rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as place:
                clock, processor, report = score(way, asked.steps, Path(place))
            seconds[way].append((clock, processor))
            reports.add(report)
    for other in others:
        other.terminate()
    assert len(reports) == 1, "the reports differ"
    medians = {
        way: {
            "clock_s": round(statistics.median(clock for clock, _ in found), 1),
            "processor_s": round(statistics.median(processor for _, processor in found), 1),
        }
        for way, found in seconds.items()
    }
    print(
        json.dumps({"cores": cores(), "load": os.getloadavg(), "beside": asked.beside, **medians}, indent=2)
    )


if __name__ == "__main__":
    main()
