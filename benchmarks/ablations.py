"""How much the measure moves with what the paper leaves open: guidance, samples, steps, prompts.

    python benchmarks/ablations.py --out DIR [--images 6] [--model shapes]

The first pictures of the budget benchmark (`inversion.py`: common, rare, unseen in turn) are scored with
`fast`, and again with one setting changed at a time, 20 samples of the same seeds each. Each line says the
mean d(m) of each category, the mean difference of d(m) from `fast` over pictures and m, the mean of its
absolute value, and Kendall's tau-b between the orders of the pictures by the mean of d(m), the change's and
`fast`'s. The number of samples is varied by taking the first of 40 that `fast` has; `20 other samples` are
its last 20, so that line says what chance does. An interrupted run goes on.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from inversion import COUNTS, QUERY_CATEGORIES, declared_queries
from runs import Sampled, scored
from scipy.stats import kendalltau

BASE = "fast"
SAMPLES = 20
OF_BASE = 40
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    BASE: {},
    "guidance 1": {"draw": {"guidance": 1.0}},
    "guidance 3": {"draw": {"guidance": 3.0}},
    "guidance 4": {"draw": {"guidance": 4.0}},
    "60 steps": {"invert": {"steps": 60, "cool_down": 24}},
    "125 steps": {"invert": {"steps": 125, "cool_down": 50}},
    "500 steps": {"invert": {"steps": 500, "cool_down": 200}},
    "27 object prompts": {"invert": {"templates": "object"}},
    "19 art prompts": {"invert": {"templates": "art"}},
}
TAKEN = (5, 10, 40)
OTHERS = "20 other samples"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--threshold", type=float, default=0.168, help="none is looked for")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES))
    arguments = parser.parse_args()

    paths = declared_queries(arguments.out / "queries", arguments.images)
    score = {"model": arguments.model, "threshold": arguments.threshold}
    runtime = {"threads": arguments.threads, "dtype": arguments.dtype}
    runs = {}
    for name in dict.fromkeys((BASE, *arguments.changes)):
        samples = OF_BASE if name == BASE else SAMPLES
        flags = {"score": {**score, "samples": samples}, "runtime": runtime, **CHANGES[name]}
        directory = arguments.out / name.replace(" ", "-")
        runs[name] = scored(paths, flags, directory, arguments.out / "cache")[0]
    curves = {name: means(run, slice(SAMPLES)) for name, run in runs.items()}
    curves |= {f"{count} samples": means(runs[BASE], slice(count)) for count in TAKEN}
    curves[OTHERS] = means(runs[BASE], slice(SAMPLES, None))
    summary = {
        "images": len(paths),
        "samples": SAMPLES,
        "changes": {name: row(curve, curves[BASE]) for name, curve in curves.items()},
        "curves": curves,
    }
    print(json.dumps(summary["changes"], indent=2))
    (arguments.out / "ablations.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")


def means(run: Sampled, taken: slice) -> dict[str, dict[int, float]]:
    """d(m) of each picture over some of its samples."""
    return {name: {m: statistics.fmean(found[taken]) for m, found in run[name].items()} for name in run}


def row(curve: dict[str, dict[int, float]], base: dict[str, dict[int, float]]) -> dict[str, Any]:
    """What the module says of one change."""
    order = [statistics.fmean(curve[name].values()) for name in base]
    before = [statistics.fmean(base[name].values()) for name in base]
    gaps = [curve[name][m] - base[name][m] for name in base for m in COUNTS]
    return {
        "d": {
            category: {
                m: statistics.fmean(curve[name][m] for name in curve if name.startswith(category))
                for m in COUNTS
            }
            for category in QUERY_CATEGORIES
        },
        "mean_change": statistics.fmean(gaps),
        "mean_gap": statistics.fmean(map(abs, gaps)),
        "kendall_tau": float(kendalltau(order, before).statistic),
    }


if __name__ == "__main__":
    main()
