"""What the HTML templates show, made from reports: numbers as text, images as data, charts, rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from origcli.reports import charts
from origcli.reports.chosen_samples import (
    Sample,
    nearest,
    telling_point,
    typical,
    with_tokens,
    without_tokens,
)
from origcli.reports.envelope import ImageFacts, ModelFacts, Provenance
from origcli.reports.numerals import number
from origcli.reports.picture_files import Inlined, inlined
from origcli.reports.saved_images import read_saved_image, thumbnail
from origcli.reports.schema import GeneralizeReport
from origcli.reports.score import (
    GIVEN,
    NO_THRESHOLD,
    ScoreReport,
    ScoreResult,
    ScoreSummary,
    Threshold,
    TokensNeeded,
    VerdictKind,
)
from origcli.reports.svg import sparkline
from origcli.reports.verdict import SOURCES, TOO_CLOSE, control_words, headline, needed_words, tokens

VERDICTS = {
    VerdictKind.redrawn: "redrawn",
    VerdictKind.not_redrawn: "not redrawn",
    VerdictKind.undecided: TOO_CLOSE,
    VerdictKind.measured: "measured, no threshold",
    VerdictKind.out_of_domain: "cannot be shown",
}
SCORES = {
    "originality": "originality",
    "l_det": "denoising loss",
    "l_det_0": "denoising loss without tokens",
}
_TELLING_GROUP = 5  # images; groups of fewer stand below the images


def page_view(
    directory: Path, result: ScoreResult, provenance: Provenance, shapes_only: bool
) -> dict[str, Any]:
    """All that page.html shows of one result, but for the report's provenance."""
    files = result.pictures
    test = result.in_distribution
    metric = named(provenance.metric, "perceptual")
    model, prompt = named(provenance.model, "the model"), _prompt(provenance)
    view: dict[str, Any] = {
        "result": result,
        "name": file_name(result.image),
        "model": model,
        "metric": metric,
        "needed": _needed(result.tokens_needed),
        "headline": sentence(headline(model, result)),
        "source": SOURCES[result.threshold.source],
        "control": control_words(result.threshold),
        "query": inlined(directory, files.query if files else None),
        "round_trip": inlined(directory, files.round_trip if files else None),
        "shown": list(_shown(directory, result, prompt)),
        "scale": charts.originality_scale(result.originality, result.landmarks),
        "prompt": prompt,
        "shapes_only": shapes_only,
        "given": all(reason == GIVEN for point in result.curve for reason in point.stop_reason),
        "image_rows": list(image_rows(result)),
        "rows": [],
        "edits": [inlined(directory, name) for name in test.drawings] if test else [],
        "thumbnail": inlined(directory, files.thumbnail if files else None),
    }
    if result.curve:
        view["rows"] = list(_sample_rows(directory, result))
        view["distance_chart"] = charts.distance_chart(result, metric)
        view["loss_chart"] = charts.loss_chart(result)
    return view


def shrunk(directory: Path, name: str) -> Inlined | None:
    """An image file under `directory` as data, no larger than a thumbnail."""
    whole = inlined(directory, name)
    if whole is None or whole.exact:
        return whole
    image = read_saved_image(directory, name)
    if image is None:
        return None
    data, size = thumbnail(image)
    return Inlined.of(data, "image/webp", *size)


def sentence(words: str) -> str:
    """Words that begin with a capital letter."""
    return words[:1].upper() + words[1:]


def _shown(directory: Path, result: ScoreResult, prompt: str) -> Iterator[dict[str, Any]]:
    """The samples that stand beside the image: the nearest, a typical one with tokens, and one without."""
    point, closest = telling_point(result), nearest(result)
    if point is None or closest is None:
        return
    bare = prompt.replace("{S}", "").strip()
    alone = f"of “{bare}” alone" if bare else ""
    for title, note, sample in (
        ("Nearest sample", f"with {tokens(closest.m)}", closest),
        (f"Typical sample with {tokens(point.m)}", "", typical(with_tokens(point))),
        ("Typical sample without tokens", alone, typical(without_tokens(result))),
    ):
        if sample is not None:
            distance = "" if sample.distance is None else f"distance {number(sample.distance)}"
            yield {
                "picture": inlined(directory, sample.file),
                "title": title,
                "note": ", ".join(filter(None, (note, distance))),
            }


def _prompt(provenance: Provenance) -> str:
    score = provenance.settings.get("score")
    prompt = score.get("prompt") if isinstance(score, Mapping) else None
    return str(prompt or "a photo of {S}")


def _sample_rows(directory: Path, result: ScoreResult) -> Iterator[dict[str, Any]]:
    if result.pictures and result.pictures.without_tokens:
        files = result.pictures.without_tokens
        yield {
            "title": "No token",
            "distance": result.distance_0,
            "tiles": list(_tiles(directory, result, 0, files, result.distances_0)),
        }
    for point in result.curve:
        distances = point.distances[0] if point.distances else ()
        yield {
            "title": tokens(point.m).capitalize(),
            "distance": point.distance,
            "tiles": list(_tiles(directory, result, point.m, point.drawings, distances)),
        }


def _tiles(
    directory: Path, result: ScoreResult, m: int, files: Sequence[str], distances: Sequence[float]
) -> Iterator[dict[str, Any]]:
    limit = result.threshold.value
    for i in range(max(len(files), len(distances))):
        distance = distances[i] if i < len(distances) else None
        yield {
            "picture": inlined(directory, files[i] if i < len(files) else None),
            "distance": distance,
            "near": distance is not None and limit is not None and distance <= limit,
            "alt": f"sample {i + 1} with {tokens(m)}",
            "caption": f"Sample with {tokens(m)}, seed number {i + 1}, distance {number(distance, 3)}",
        }


def overview_row(directory: Path, result: ScoreResult) -> dict[str, Any]:
    """One row of the overview."""
    values = [p.distance.value for p in result.curve if p.distance.value is not None]
    sample = nearest(result)
    top = max([*values, result.ceiling.value or 0, result.threshold.value or 0, 1e-9])
    return {
        "name": file_name(result.image),
        "group": visible(result.group or ""),
        "kind": str(result.verdict.kind),
        "verdict": VERDICTS[result.verdict.kind],
        "originality": result.originality,
        "tokens": _needed(result.tokens_needed),
        "rank": _rank(result.tokens_needed),
        "first": values[0] if values else None,
        "last": values[-1] if values else None,
        "most": result.curve[-1].m if result.curve else 0,
        "spark": sparkline(values, result.threshold.value, top=top) if values else "",
        "thumbnail": inlined(directory, result.pictures.thumbnail if result.pictures else None),
        "nearest": shrunk(directory, sample.file) if sample else None,
        "nearest_note": _nearest_note(sample),
        "page": f"pages/{result.id}.html" if result.page else None,
        "threshold": result.threshold,
    }


def _nearest_note(sample: Sample | None) -> str:
    if sample is None:
        return ""
    return f"nearest sample: {tokens(sample.m)}, distance {number(sample.distance)}"


def _needed(needed: TokensNeeded) -> str:
    return f"{TOO_CLOSE} at {needed.m}" if needed.kind == "undecided" else needed.text


def _rank(needed: TokensNeeded) -> float | None:
    """Where tokens needed sort: more than M after M."""
    match needed.kind:
        case "reached":
            return float(needed.m or 0)
        case "not-reached":
            return (needed.maximum or 0) + 1.0
        case "undecided":
            return (needed.m or 0) + 0.5
    return None


def overview_view(
    report: ScoreReport, rows: Sequence[Mapping[str, Any]], shapes_only: bool
) -> dict[str, Any]:
    """All that overview.html shows besides the rows' own cells."""
    provenance, summary = report.provenance, report.summary
    metric = named(provenance.metric, "perceptual")
    counts: Mapping[str, int] = summary.verdicts if summary else {}
    kinds = [(str(kind), label) for kind, label in VERDICTS.items() if counts.get(str(kind))]
    threshold: Threshold | None = rows[0]["threshold"] if rows else None  # of a run, all have the same
    return {
        "rows": rows,
        "threshold": threshold,
        "source": SOURCES[threshold.source] if threshold else "",
        "control": control_words(threshold) if threshold else "",
        "model": named(provenance.model, "the model"),
        "metric": metric,
        "most": max((row["most"] for row in rows), default=0) or "M",
        "kinds": kinds or [(str(kind), label) for kind, label in VERDICTS.items()],
        "tally": [(label, counts[kind]) for kind, label in kinds] + _failed(report),
        "group_names": sorted({row["group"] for row in rows if row["group"]}),
        "groups": summary.groups if summary else (),
        "groups_first": any(group.count >= _TELLING_GROUP for group in (summary.groups if summary else ())),
        "needed_columns": [(name, needed_words(name)) for name in _needed_columns(summary)],
        "comparisons": summary.comparisons if summary else (),
        "untested": summary is not None and any(test.p_value is None for test in summary.comparisons),
        "shapes_only": shapes_only,
        "correlations": summary.correlations if summary else (),
        "panels": charts.group_panels(report.summary.groups, metric) if report.summary else [],
    }


def _needed_columns(summary: ScoreSummary | None) -> list[str]:
    """Every value of tokens needed, numbers first: 1, 2, > 5, undecided; none where there is no threshold."""
    groups = summary.groups if summary else ()
    names = {name for group in groups for name in group.tokens_needed} - {NO_THRESHOLD}
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))


def _failed(report: ScoreReport) -> list[tuple[str, int]]:
    return [("could not be read", len(report.errors))] if report.errors else []


def named(facts: ModelFacts | None, otherwise: str) -> str:
    """A model's name."""
    return visible(facts.name) if facts else otherwise


def file_name(image: ImageFacts) -> str:
    """The last part of an image's path."""
    return visible(image.path.rstrip("/").rpartition("/")[2] or image.path)


def visible(text: str) -> str:
    """Text in which no character hides, breaks the line or turns the reading direction."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def image_rows(result: ScoreResult) -> Iterator[tuple[str, str]]:
    """The facts of the image that was read."""
    image = result.image
    yield "Image", visible(image.path)
    yield "SHA-256 of the file", image.sha256
    kind = " ".join(filter(None, (image.format, image.mode)))
    yield "As stored", f"{image.width} × {image.height} pixels{f', {kind}' if kind else ''}"
    if image.resolution:
        crop = f", made square by “{image.crop}”" if image.crop else ""
        yield "As measured", f"{image.resolution} × {image.resolution} pixels{crop}"
    if image.conversions:
        yield "Conversions", "; ".join(image.conversions)


def provenance_rows(provenance: Provenance) -> Iterator[tuple[str, str]]:
    """What made the report."""
    for label, facts in (
        ("Model", provenance.model),
        ("Distance", provenance.metric),
        ("Detector", provenance.detector),
    ):
        if facts:
            parts = (
                facts.family,
                facts.version,
                facts.source,
                facts.weights_hash and f"weights sha256 {facts.weights_hash}",
            )
            yield label, ", ".join([facts.name, *(part for part in parts if part)])
    drawn = [provenance.scheduler, provenance.guidance is not None and f"guidance {provenance.guidance:g}"]
    if any(drawn):
        yield "Sampler", ", ".join(str(part) for part in drawn if part)
    yield "Seed", str(provenance.seed)
    computed = " ".join(filter(None, (provenance.device, provenance.dtype)))
    if computed:
        yield "Computed on", computed
    # In the order of the file, so that a page made again from report.json has equal bytes.
    yield "Versions", ", ".join(f"{name} {version}" for name, version in sorted(provenance.versions.items()))
    yield "SHA-256 of the settings", provenance.settings_hash
    for note in provenance.notes:
        yield "Note", note


def setting_rows(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings as `section.field` and their values, in the order of the file."""
    for section, table in sorted(settings.items()):
        if isinstance(table, Mapping):
            for name, value in sorted(table.items()):
                yield f"{section}.{name}", _plain(value)
        else:
            yield section, _plain(table)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_SHEETS = {
    "held-out.png": (
        "Held-out elements that were generated",
        "One row per element, one block per number of elements. Where there are two blocks, the left one "
        "shows the element's prompt, the right one the empty prompt (supplement, figure 4).",
    ),
    "samples.png": (
        "What each model generates",
        "One row per model: the empty prompt on the left, the prompt of the held-out element on the right "
        "(supplement, figure 5).",
    ),
}


def generalize_view(directory: Path, report: GeneralizeReport) -> dict[str, Any]:
    """All that generalize.html shows."""
    summary = report.summary
    quantities = ("frequency", "lift", "confidence")
    drawn = [panels for name in quantities if summary and (panels := charts.diversity_charts(summary, name))]
    return {
        "provenance": report.provenance,
        "results": report.results,
        "errors": report.errors,
        "levels": summary.levels if summary else (),
        "trends": summary.trends if summary else (),
        "conditions": charts.CONDITIONS,
        "quantities": drawn,
        "tally": [
            ("experiments", len({result.experiment for result in report.results})),
            ("levels of diversity", len({result.level for result in report.results})),
            ("samples", sum(result.images for result in report.results)),
            *([("failed", len(report.errors))] if report.errors else []),
        ],
        "sheets": [
            {"title": title, "note": note, "picture": inlined(directory, name)}
            for name in report.figures
            for stem, (title, note) in _SHEETS.items()
            if name.endswith(stem)
        ],
    }
