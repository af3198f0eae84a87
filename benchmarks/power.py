"""How many images does a claim need? Power by resampling the images of a rarity run.

    python benchmarks/power.py REPORT [--replicates 1000] [--out FILE.json]

REPORT is a score report with groups (the committed one is docs/results/rarity/score/report.json). Two
questions are answered, each for n images a group, with a two-sided permutation test of the difference of mean
originality at 5 %:

- `found`: how often a study of n images of one category and n of another, drawn from the run with
  replacement, finds their difference;
- `least`: which difference would be found with 80 % power between two groups that scatter as a category does:
  n images are drawn for each from the category's deviations from its mean, and a difference is added to one.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from origcli.reports.schema import ScoreReport
from origcli.reports.writers import read_report
from origcli.studies.rarity import CATEGORIES

SIZES = (3, 4, 5, 10, 20, 40, 80)
LEVEL, POWER = 0.05, 0.8
PERMUTATIONS = 399
_STEPS = 12  # halvings of the range in which the least difference is sought
Values = npt.NDArray[np.float64]


def p_values(one: Values, other: Values, random: np.random.Generator) -> Values:
    """Two-sided permutation p of the difference of means of pairs of groups.

    Args:
        one, other: (studies, n).

    Returns:
        (studies,)
    """
    n = one.shape[1]
    both = np.concatenate([one, other], axis=1)  # (studies, 2 n)
    order = random.random((PERMUTATIONS, 2 * n)).argsort(axis=1)[:, :n]  # the same shuffles for every study
    total = both.sum(axis=1, keepdims=True)
    first = np.stack([both[:, chosen].sum(axis=1) for chosen in order], axis=1)  # (studies, permutations)
    shuffled = np.abs(2 * first - total) / n
    measured = np.abs(one.mean(axis=1) - other.mean(axis=1))[:, None]
    # A shuffle that leaves the groups as they are differs from the measured by rounding alone.
    return (1 + (shuffled >= measured - 1e-12).sum(axis=1)) / (1 + PERMUTATIONS)


def share_found(one: Values, other: Values, random: np.random.Generator) -> float:
    """The share of studies whose difference has p at most `LEVEL`."""
    return float((p_values(one, other, random) <= LEVEL).mean())


def least_difference(scatter: Values, n: int, studies: int, random: np.random.Generator) -> float | None:
    """The least difference that is found with `POWER` between groups of n; `None` where none is."""
    one, other = (random.choice(scatter, (studies, n)) for _ in range(2))
    low, high = 0.0, 1.0
    if share_found(one + high, other, random) < POWER:
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if share_found(one + middle, other, random) >= POWER else (middle, high)
    return high


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    report = read_report(arguments.report, "score")
    assert isinstance(report, ScoreReport)
    groups = {
        name: np.array(
            [
                result.originality.value
                for result in report.results
                if result.group == name and result.originality.value is not None
            ]
        )
        for name in CATEGORIES
    }
    random = np.random.default_rng(0)
    studies = arguments.replicates
    summary = {
        "images": {name: len(values) for name, values in groups.items()},
        "least": {
            name: {n: least_difference(values - values.mean(), n, studies, random) for n in SIZES}
            for name, values in groups.items()
        },
        "found": {
            f"{high} over {low}": {
                n: share_found(
                    random.choice(groups[high], (studies, n)),
                    random.choice(groups[low], (studies, n)),
                    random,
                )
                for n in SIZES
            }
            for low, high in combinations(CATEGORIES, 2)
        },
    }
    print(json.dumps(summary, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
