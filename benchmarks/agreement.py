"""Do two models agree on which images are original? Rank correlation image by image.

    python benchmarks/agreement.py REPORT OTHER [--replicates 2000] [--out FILE.json]

REPORT and OTHER are score reports with groups, such as those of `origcli rarity` for two models (the bundled
UNet's is docs/results/rarity/score/report.json). Images are matched by the hash of their files, and each
score of the rarity study is compared over the images that have it in both:

- `all`: Spearman's rank correlation over all images. Two models that only tell the kinds apart agree here,
  too.
- `within`: the mean of the correlations within each kind, which asks for more than the kinds.

The 95 % intervals resample images within each kind.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from origcli.reports.schema import ScoreReport, ScoreResult
from origcli.reports.writers import read_report
from origcli.scoring.statistics import rank_correlation, resampled
from origcli.studies.rarity import CATEGORIES, SCORES

Pairs = Mapping[str, Sequence[tuple[float, float]]]  # scores of both models, by kind


def matched(
    one: Sequence[ScoreResult], other: Sequence[ScoreResult], score: Callable[[ScoreResult], float | None]
) -> dict[str, list[tuple[float, float]]]:
    """The scores of the images that both reports have, by kind."""
    theirs = {result.image.sha256: score(result) for result in other}
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in CATEGORIES}
    for result in one:
        mine, found = score(result), theirs.get(result.image.sha256)
        if mine is not None and found is not None and result.group in pairs:
            pairs[result.group].append((mine, found))
    return pairs


def over_all(*kinds: Any) -> float | None:
    """Spearman's correlation over the pairs (n, 2) of all kinds."""
    together = np.concatenate([np.reshape(kind, (-1, 2)) for kind in kinds])
    return rank_correlation(*together.T.tolist())


def within_kinds(*kinds: Any) -> float | None:
    """The mean of Spearman's correlations within each kind; `None` where one of them has none."""
    found = [rank_correlation(*np.reshape(kind, (-1, 2)).T.tolist()) for kind in kinds]
    values = [value for value in found if value is not None]
    return float(np.mean(values)) if len(values) == len(found) else None


def agreement(pairs: Pairs, replicates: int, random: np.random.Generator) -> dict[str, Any]:
    """Both correlations with their intervals."""
    kinds: list[Any] = [kind for kind in pairs.values() if kind]
    result: dict[str, Any] = {"images": {name: len(kind) for name, kind in pairs.items()}}
    for name, statistic in (("all", over_all), ("within", within_kinds)):
        span = resampled(statistic, kinds, replicates, random) if kinds else None
        result[name] = {
            "spearman": statistic(*kinds) if kinds else None,
            "low": None if span is None else span.low,
            "high": None if span is None else span.high,
        }
    return result


def results_of(path: Path) -> Sequence[ScoreResult]:
    """The results of a score report."""
    report = read_report(path, "score")
    assert isinstance(report, ScoreReport)
    return report.results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    one, other = results_of(arguments.report), results_of(arguments.other)
    random = np.random.default_rng(0)
    summary = {
        name: agreement(matched(one, other, score), arguments.replicates, random)
        for name, score in SCORES.items()
    }
    print(json.dumps(summary, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
