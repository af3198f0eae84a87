"""The page of a comparison: samples of each run beside each other, the largest change first."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from origcli.reports.compare import ComparedScore, CompareReport, CompareResult
from origcli.reports.gallery import render
from origcli.reports.picture_files import inlined
from origcli.reports.score import ScoreResult
from origcli.reports.verdict import needed_words, tokens
from origcli.reports.views import file_name, visible

SHOWN = 40  # images with samples; the rest are in the numbers
_TILES = 8  # samples of a row


def compare_html(
    report: CompareReport, directories: Sequence[Path], scored: Sequence[Mapping[str, ScoreResult]]
) -> str:
    """The page.

    Args:
        directories: of the runs, in their order; image files are read from them, and only from them.
        scored: the results of each run by the sha256 of their image.
    """
    assert report.summary is not None
    base, *others = [run.name for run in report.summary.runs]
    ordered = sorted(report.results, key=_clearest_first)
    return render(
        "compare",
        {
            "title": f"{', '.join(others)} against {base}",
            "runs": report.summary.runs,
            "groups": report.summary.groups,
            "results": report.results,
            "shown": [_image(result, directories, scored) for result in ordered[:SHOWN]],
            "left_out": max(0, len(ordered) - SHOWN),
            "provenance": report.provenance,
        },
    )


def _clearest_first(result: CompareResult) -> float:
    values = [
        difference.originality.value
        for difference in result.differences
        if difference.originality.value is not None
    ]
    return -max((abs(value) for value in values), default=0.0)


def _image(
    result: CompareResult, directories: Sequence[Path], scored: Sequence[Mapping[str, ScoreResult]]
) -> dict[str, Any]:
    measured = [table[result.image.sha256] for table in scored]
    first = measured[0].pictures
    counts = sorted({point.m for score in result.scores for point in score.curve})
    differences = {difference.run: difference.originality for difference in result.differences}
    return {
        "name": file_name(result.image),
        "group": visible(result.group or ""),
        "differences": result.differences,
        "counts": counts,
        "scores": [
            {
                "name": score.run,
                "originality": score.originality,
                "tokens": needed_words(score.tokens_needed.text),
                "distances": list(_distances(score, counts)),
                "difference": differences.get(score.run),
            }
            for score in result.scores
        ],
        "thumbnail": inlined(directories[0], first.thumbnail if first else None),
        "rows": list(_rows(result, directories, measured, counts)),
    }


def _distances(score: ComparedScore, counts: Sequence[int]) -> Iterator[float | None]:
    by_m = {point.m: point.distance.value for point in score.curve}
    for m in counts:
        yield by_m.get(m)


def _rows(
    result: CompareResult, directories: Sequence[Path], measured: Sequence[ScoreResult], counts: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """For one token and for the most, a row a run: the same seeds below each other."""
    for m in dict.fromkeys((*counts[:1], *counts[-1:])):
        for score, directory, scored in zip(result.scores, directories, measured, strict=True):
            point = next((point for point in scored.curve if point.m == m), None)
            if point is None:
                continue
            distances = point.distances[0] if point.distances else ()
            yield {
                "title": tokens(m).capitalize(),
                "run": score.run,
                "distance": point.distance,
                "tiles": [
                    {
                        "picture": inlined(directory, name),
                        "distance": distance,
                        "alt": f"sample {i} of {score.run} with {tokens(m)}",
                    }
                    for i, (name, distance) in enumerate(
                        islice(zip(point.drawings, distances, strict=False), _TILES), 1
                    )
                ],
            }
