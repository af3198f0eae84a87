"""Everything that only published weights can show, in one command: `make real`.

    python benchmarks/real.py [IMAGE …] [--images DIR] [--out docs/results/real]

On a machine with a GPU and a network: downloads Stable Diffusion 1.5, DreamSim and CLIP, runs the tests that
are marked `weights` or `gpu`, calibrates the model on its own samples with the positive control, and scores
photos, with `fast` and with `paper`. Writes real.json and real.md: times, peak memory, curves, verdicts and
package versions. The photos are those of scikit-image (`pip install scikit-image`) whose license is stated
and free, and all of them are in its wheel, so nothing is downloaded for them; with --images or IMAGE, yours
are scored too, and scikit-image is not needed.
"""

import argparse
import importlib.util
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from origcli.errors import OrigError, UsageError
from origcli.images.inputs import Input, find_inputs
from origcli.reports.schema import CalibrateReport, ScoreReport
from origcli.reports.writers import read_report
from origcli.runtime.atomic import write_json, write_text
from origcli.runtime.context import open_runtime
from origcli.runtime.progress import open_progress
from origcli.runtime.provenance import package_versions
from origcli.scoring.calibrate import calibrate_model
from origcli.scoring.run import Request, score_images
from origcli.scoring.store import Store
from origcli.settings import resolve

# In the wheel of scikit-image 0.26, with the license that its docstrings state (skimage/data/_fetchers.py).
PHOTOS = {
    "astronaut.png": "public domain (NASA)",
    "camera.png": "CC0 (Lav Varshney)",
    "chelsea.png": "CC0 (Stefan van der Walt)",
    "clock_motion.png": "public domain (Stefan van der Walt)",
    "coffee.png": "CC0 (Rachel Michetti)",
    "hubble_deep_field.jpg": "public domain (NASA)",
    "rocket.jpg": "public domain (SpaceX)",
}
Found = TypeVar("Found")

PRESETS = {"fast": "paper,fast", "paper": "paper"}
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
MARKED = ("-m", "weights or gpu", "-n", "0", "-q")


def free_photos() -> list[str]:
    """The files of scikit-image's photos, without importing it.

    Raises:
        UsageError: scikit-image is not installed, or has none of them.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise UsageError(
            "scikit-image is not installed, and no images are given",
            "pip install scikit-image, or give images: --images DIR",
        )
    photos = [Path(found.origin).parent / "data" / name for name in PHOTOS]
    if not (here := [str(path) for path in photos if path.is_file()]):
        raise UsageError(
            "this scikit-image has none of the photos", "install scikit-image 0.26, or --images DIR"
        )
    return here


def measured(run: Callable[[], Found]) -> tuple[Found, dict[str, Any]]:
    """A function's value, its seconds, and peak memory in GB: of the GPU in it, of the process so far."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    found = run()
    facts = {
        "seconds": time.perf_counter() - began,
        "gpu_gigabytes": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None,
        "process_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT / 1e9,
    }
    return found, facts


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs a module of this Python, and shows what it prints when it ends."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    print(done.stdout, done.stderr, sep="", end="")
    return done


def fetch(names: Sequence[str]) -> dict[str, Any]:
    """Downloads what has a name, checked by hash.

    Raises:
        UsageError: something could not be downloaded.
    """
    names = [name for name in names if not Path(name).is_dir()]
    if names:
        done, facts = measured(lambda: call("origcli", "fetch", *names))
        if done.returncode:
            raise UsageError(f"could not download {', '.join(names)}", "see above; origcli doctor checks")
        return {"names": names, "seconds": facts["seconds"]}
    return {"names": [], "seconds": 0.0}


def run_tests(words: Sequence[str]) -> dict[str, Any]:
    """Runs the marked tests; 5, no test, is no failure."""
    done, facts = measured(lambda: call("pytest", *MARKED, *words))
    last = [line for line in done.stdout.splitlines() if re.search(r"\d+ \w+|no tests", line)][-1:]
    return {"status": done.returncode, "words": "".join(last), "seconds": facts["seconds"]}


def image_facts(report: ScoreReport) -> list[dict[str, Any]]:
    """What the page says of each image."""
    return [
        {
            "image": Path(result.image.path).name,
            "sha256": result.image.sha256,
            "verdict": str(result.verdict.kind),
            "words": result.verdict.words,
            "tokens_needed": result.tokens_needed.text,
            "originality": result.originality.to_json(),
            "curve": {point.m: point.distance.to_json() for point in result.curve},
        }
        for result in report.results
    ]


def measure(words: argparse.Namespace, inputs: Sequence[Input], name: str) -> dict[str, Any]:
    """Calibrates and scores with a preset; nothing that was kept earlier makes it quicker."""
    given = {"score": {"model": words.model, "metric": words.metric}}
    settings = resolve(given, presets=PRESETS[name].split(","), config=words.config)[0]
    progress = open_progress(False)
    words.runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=words.runs) as kept:

        def calibrate() -> CalibrateReport:
            place = words.runs / f"calibrate-{name}"
            with open_runtime(settings.runtime, place, progress, "replace") as runtime:
                store = Store(Path(kept))
                return calibrate_model(
                    [], 0, 0, settings, runtime, False, store=store, captions=words.captions_file
                )

        def score() -> ScoreReport:
            place = words.runs / f"score-{name}"
            with open_runtime(settings.runtime, place, progress, "replace") as runtime:
                score_images(Request(inputs, cache=Path(kept)), settings, runtime)
            report = read_report(place, "score")
            assert isinstance(report, ScoreReport)
            return report

        calibrated, calibrating = measured(calibrate)
        report, scored = measured(score)
    return {
        "calibration": {**calibrated.results[0].to_json(), **calibrating},
        "score": {**scored, "seconds_an_image": scored["seconds"] / len(inputs)},
        "threshold": report.results[0].threshold.to_json() if report.results else None,
        "images": image_facts(report),
        "errors": [failure.to_json() for failure in report.errors],
    }


def page(found: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        f"# {found['model']} on {found['device']}",
        "",
        "Made by `make real` (`python benchmarks/real.py`); all numbers are in real.json.",
        "",
        f"Tests marked `weights` or `gpu`: {found['tests']['words'] or 'not run'}.",
    ]
    for name, one in found["presets"].items():
        scale, score = one["calibration"], one["score"]
        control = f"one token redraws {scale['control_within']} of {scale['control_images']}"
        lines += [
            "",
            f"## `--preset {PRESETS[name]}`",
            "",
            f"Threshold {_shown(scale['threshold'])} from {scale['captions']} captions × {scale['samples']} "
            f"samples in {scale['seconds']:.0f} s. Positive control: {control} own samples.",
            "",
            f"{score['seconds_an_image']:.1f} s an image; peak memory {_gigabytes(score)}.",
            "",
            "| image | verdict | tokens needed | originality | d(1), d(2) … |",
            "|---|---|---|---|---|",
        ]
        for image in one["images"]:
            curve = ", ".join(_number(point["value"]) for point in image["curve"].values())
            lines.append(
                f"| {image['image'].replace('|', '∣')} | {image['verdict']} "
                f"| {image['tokens_needed'] or '–'} | {_shown(image['originality'])} | {curve or '–'} |"
            )
        lines += [f"\n{error['message']}" for error in one["errors"]]
    lines += [
        "",
        "## Versions",
        "",
        ", ".join(f"{key} {value}" for key, value in found["versions"].items()),
        "",
    ]
    lines += ["## Photos", "", "From scikit-image's wheel, with the licenses that it states:", ""]
    lines += [f"- {name}: {license}" for name, license in found["photos"].items()] or ["none"]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _shown(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None or estimate["low"] is None:
        return _number(estimate["value"])
    return f"{_number(estimate['value'])} ({_number(estimate['low'])} to {_number(estimate['high'])})"


def _gigabytes(facts: dict[str, Any]) -> str:
    gpu = "" if facts["gpu_gigabytes"] is None else f"{facts['gpu_gigabytes']:.1f} GB on the GPU, "
    return f"{gpu}{facts['process_gigabytes']:.1f} GB of the process"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the words of the command, runs all and writes real.json and real.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", nargs="*", help="images of yours, as origcli score takes them")
    parser.add_argument("--images", help="a directory with images of yours")
    parser.add_argument("--no-photos", action="store_true", help="only your images, not scikit-image's")
    parser.add_argument("--model", default="sd15")
    parser.add_argument("--metric", default="dreamsim")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--config", type=Path, help="TOML file with settings over the presets")
    parser.add_argument("--captions-file", type=Path, help="captions of the calibration, one a line")
    parser.add_argument("--companions", nargs="*", default=["clip"], help="what else to download")
    parser.add_argument("--tests", nargs="*", default=["tests"], help="where the marked tests are")
    parser.add_argument("--runs", type=Path, default=Path("runs/real"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/real"))
    words = parser.parse_args(arguments)

    own = [*words.image, *([words.images] if words.images else [])]
    photos = [] if words.no_photos or (own and importlib.util.find_spec("skimage") is None) else free_photos()
    if not own and not photos:
        raise UsageError("no images", "leave out --no-photos, or give images: --images DIR")
    inputs = find_inputs([*photos, *own])
    found: dict[str, Any] = {
        "model": Path(words.model).name,
        "metric": words.metric,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "fetched": fetch([words.model, words.metric, *words.companions]),
        "tests": run_tests(words.tests),
        "presets": {name: measure(words, inputs, name) for name in words.presets},
        "photos": {Path(path).name: PHOTOS[Path(path).name] for path in photos},
        "versions": dict(sorted(package_versions().items())),
    }
    words.out.mkdir(parents=True, exist_ok=True)
    write_json(words.out / "real.json", found)
    write_text(words.out / "real.md", page(found))
    print(f"{words.out / 'real.md'} and real.json are written")


if __name__ == "__main__":
    try:
        main()
    except OrigError as problem:
        sys.exit(f"{problem.message}\n  hint: {problem.hint}")
