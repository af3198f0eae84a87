"""What `origcli score` measures with given settings, for the benchmarks that compare settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from origcli.images.inputs import find_inputs
from origcli.reports.schema import Provenance, ScoreResult
from origcli.reports.writers import ResultLog, read_report
from origcli.runtime.context import open_runtime
from origcli.runtime.progress import open_progress
from origcli.scoring.run import Request, score_images
from origcli.scoring.run_archive import RESULTS
from origcli.settings import resolve

# Distances of single samples, by picture and m.
Sampled = dict[str, dict[int, list[float]]]


def scored(
    paths: list[Path],
    flags: Mapping[str, Mapping[str, Any]],
    directory: Path,
    cache: Path,
    *,
    preset: str = "fast",
    shard: str | None = None,
) -> tuple[Sampled, Provenance]:
    """Scores images into a directory, or resumes the run in it. Returns distances and provenance.

    Args:
        flags: settings by section.
        cache: results kept by content: tokens that another run learned are not learned again.
    """
    settings = resolve(flags, presets=("small", preset), environment={})[0]
    request = Request(find_inputs([str(path) for path in paths]), shard, cache=cache)
    with open_runtime(settings.runtime, directory, open_progress(), "use") as runtime:
        score_images(request, settings, runtime)
    sampled = {
        result.id: {point.m: list(point.distances[0]) for point in result.curve}
        for result in ResultLog(directory / RESULTS, ScoreResult)
    }
    return sampled, read_report(directory, "score").provenance
