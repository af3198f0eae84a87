"""Scoring as a user pays for it: whole processes, the share of each stage, eight images at once or singly.

    python benchmarks/score.py [IMAGE] [--model shapes] [--budget small|fast] [--threads N]

Each figure is of fresh processes with an empty cache of their own. Seconds of the processor are given
beside those of the clock, because they change less with what else the machine does. `small` is about a
tenth of the budget `fast`, to compare eight calls with one in a few minutes.
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BUDGETS = {"small": ("--learning-steps", "25", "--samples", "4", "--denoising-steps", "25"), "fast": ()}
STAGES = {
    "open the models": ("origcli.scoring.setup", "", "open_models"),
    "ceiling": ("origcli.scoring.setup", "", "find_ceiling"),
    "drawings without tokens": ("origcli.scoring.setup", "", "draw_undirected"),
    "read, round trip, domain": ("origcli.scoring.measurer", "", "read_query"),
    "learn": ("origcli.scoring.learning", "", "invert"),
    "draw": ("origcli.scoring.drawing", "", "draw"),
    "measure drawings": ("origcli.scoring.drawing", "Drawer", "_measure"),
    "pictures, tokens, bootstrap": ("origcli.scoring.measurer", "Measurer", "_result"),
    "reports": ("origcli.scoring.run", "", "write_reports"),
}


def process(words: list[str], cache: Path) -> dict[str, float]:
    """Seconds of the clock and of the processor that `origcli WORDS` takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "origcli", *words, "--quiet"],
        check=True,
        env={**os.environ, "ORIGCLI_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
    )
    clock = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"clock_s": round(clock, 1), "processor_s": round(processor, 1)}


@contextmanager
def timed_stages(seconds: dict[str, float]) -> Iterator[None]:
    """Adds up the processor's seconds in each stage while the context is open."""
    places: list[tuple[Any, str, Any]] = []
    for stage, (module, kind, name) in STAGES.items():
        owner: Any = importlib.import_module(module)
        owner = getattr(owner, kind) if kind else owner
        places.append((owner, name, getattr(owner, name)))
        setattr(owner, name, _timed(getattr(owner, name), stage, seconds))
    try:
        yield
    finally:
        for owner, name, real in places:
            setattr(owner, name, real)


def _timed(real: Callable[..., Any], stage: str, seconds: dict[str, float]) -> Callable[..., Any]:
    @wraps(real)
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        try:
            return real(*args, **kwargs)
        finally:
            seconds[stage] = seconds.get(stage, 0.0) + time.process_time() - began

    return timed


def shares(image: Path, words: list[str], directory: Path) -> dict[str, float]:
    """Seconds of the processor by stage of one score in this process, imports included."""
    os.environ["ORIGCLI_CACHE"] = str(directory / "cache")
    began = time.process_time()
    seconds: dict[str, float] = {}
    with timed_stages(seconds):
        from origcli.cli.app import main as origcli

        seconds["imports"] = time.process_time() - began
        try:
            with redirect_stdout(StringIO()):
                origcli(["score", str(image), *words, "--quiet", "--out", str(directory / "run")])
        except SystemExit as stop:
            assert not stop.code, stop.code
    seconds["rest"] = time.process_time() - began - sum(seconds.values())
    return {stage: round(value, 1) for stage, value in seconds.items()}


def eight(image: Path, directory: Path) -> list[Path]:
    """Eight pictures of the image's size with different contents."""
    with Image.open(image) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    paths = [directory / f"{i}.png" for i in range(8)]
    for i, path in enumerate(paths):
        Image.fromarray(np.roll(pixels, i, axis=1)).save(path)
    return paths


def main() -> None:
    """Runs the benchmark and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--budget", choices=BUDGETS, default="fast", help="of the single image")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--stages", action="store_true", help="only the stages of one image, in this process")
    asked = parser.parse_args()
    if asked.image is None:
        from origcli.weights.registry import bundled_directory

        asked.image = bundled_directory() / "example.png"
    common = ["--model", asked.model, "--threads", str(asked.threads), "--force"]
    one, small = [*common, *BUDGETS[asked.budget]], [*common, *BUDGETS["small"]]
    found: dict[str, Any] = {"budget of one image": asked.budget, "threads": asked.threads}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        image = str(asked.image)
        if not asked.stages:
            words = ["score", image, *one, "--out"]
            found["one image"] = process([*words, str(root / "one")], root / "c1")
            found["the same again, from the cache"] = process([*words, str(root / "two")], root / "c1")
            pictures = [str(path) for path in eight(asked.image, root)]
            together = ["score", *pictures, *small, "--out", str(root / "eight")]
            found["eight images in one call and process, budget small"] = process(together, root / "c2")
            spread = ["score", *pictures, "--model", asked.model, *BUDGETS["small"]]
            found["eight images in one call, a process a core, budget small"] = process(
                [*spread, "--out", str(root / "spread")], root / "c4"
            )
            calls = [
                process(["score", path, *small, "--out", str(root / f"call-{i}")], root / "c3")
                for i, path in enumerate(pictures)
            ]
            found["eight calls, budget small"] = {
                key: round(sum(call[key] for call in calls), 1) for key in ("clock_s", "processor_s")
            }
        found["processor's seconds by stage"] = shares(asked.image, one, root)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
