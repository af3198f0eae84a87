"""Whether fewer steps of another solver draw the same distances, on the pictures of the budget benchmark.

    python benchmarks/solvers.py --out DIR [--solvers ddim:50 dpm:20 …] [--samples 40] [--model shapes]

Each declared picture (`inversion.py`) is learned once with the budget `fast`; every solver then samples from
the same tokens and the same starting noise. Reported for each m: the mean over pictures of |difference of
d(m)| from the first solver's, over all samples; the mean of the signed difference with its standard error
over pictures; and, to hold it against, what other seeds of the first solver give: the mean |difference|
between the two halves of its samples. Halves have half the samples, so `by_halves` compares like with like:
the first half of the one solver with the same seeds of the other.
"""

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

from inversion import COUNTS, declared_queries
from runs import Sampled, scored


def solver_run(paths: list[Path], solver: str, arguments: argparse.Namespace) -> Sampled:
    """What `origcli score` measures with one solver."""
    scheduler, steps = solver.split(":")
    flags = {
        "score": {
            "model": arguments.model,
            "samples": arguments.samples,
            "detector": arguments.detector,
            "threshold": arguments.threshold,
        },
        "draw": {"scheduler": scheduler, "steps": int(steps), "guidance": arguments.guidance},
        "runtime": {"threads": arguments.threads, "dtype": arguments.dtype},
    }
    return scored(paths, flags, arguments.out / f"{scheduler}-{steps}", arguments.out / "cache")[0]


def differences(some: Sampled, others: Sampled, m: int, part: slice, other: slice) -> list[float]:
    """d(m) of the one less d(m) of the other, of each picture, over parts of their samples."""
    return [statistics.fmean(some[name][m][part]) - statistics.fmean(others[name][m][other]) for name in some]


def size(found: list[float]) -> float:
    """The mean of |difference|."""
    return statistics.fmean(map(abs, found))


def compared(first: Sampled, other: Sampled, samples: int) -> dict[int, dict[str, float]]:
    """What the module says, for each m."""
    half = samples // 2
    whole, one, two = slice(None), slice(0, half), slice(half, 2 * half)
    rows = {}
    for m in COUNTS:
        signed = differences(other, first, m, whole, whole)
        rows[m] = {
            "mean_gap": size(signed),
            "shift": statistics.fmean(signed),
            "shift_standard_error": statistics.stdev(signed) / math.sqrt(len(signed)),
            "mean_gap_by_halves": size(differences(other, first, m, one, one)),
            "other_seeds_by_halves": size(differences(first, first, m, one, two)),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--solvers", nargs="+", default=["ddim:50", "dpm:20"])
    parser.add_argument("--samples", type=int, default=40, help="an even number")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--detector")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--threshold", type=float, default=0.168, help="0.168 needs no calibration")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    paths = declared_queries(arguments.out / "queries", arguments.images)
    runs = {solver: solver_run(paths, solver, arguments) for solver in arguments.solvers}
    first, *rest = arguments.solvers
    summary: dict[str, Any] = {
        "images": len(paths),
        "samples": arguments.samples,
        "model": arguments.model,
        "dtype": arguments.dtype,
        "against": first,
        "solvers": {solver: compared(runs[first], runs[solver], arguments.samples) for solver in rest},
        "distances": {
            solver: {name: {m: statistics.fmean(d) for m, d in by_m.items()} for name, by_m in run.items()}
            for solver, run in runs.items()
        },
    }
    print(json.dumps({name: value for name, value in summary.items() if name != "distances"}, indent=2))
    (arguments.out / "solvers.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
