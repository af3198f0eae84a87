"""Made-up measurements with real pictures: what the report tests render. No result of any model."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from origcli.errors import InputError
from origcli.reports.saved_images import save_images
from origcli.reports.schema import (
    CurvePoint,
    DomainCheck,
    Estimate,
    Failure,
    GroupComparison,
    GroupPoint,
    GroupSummary,
    ImageFacts,
    InDistribution,
    ModelFacts,
    Provenance,
    RankCorrelation,
    ScoreReport,
    ScoreResult,
    ScoreSummary,
    Status,
    Threshold,
    TokensNeeded,
    VerdictKind,
)
from origcli.reports.verdict import decide

COLORS = ("#d62728", "#2ca02c", "#1f3fd6")
THRESHOLD = Threshold(value=0.42, source="registry", how="90th percentile of distances to the own caption")


def provenance(**changes: Any) -> Provenance:
    values = {
        "command": "score",
        "versions": {"origcli": "0.1.0", "torch": "2.14.1", "diffusers": "0.42.1"},
        "settings": {
            "score": {"max_tokens": 5, "samples": 20, "prompt": "a photo of {S}"},
            "draw": {"steps": 20},
        },
        "settings_hash": "0f" * 32,
        "seed": 7,
        "device": "cpu",
        "dtype": "fp32",
        "model": ModelFacts(name="shapes", source="in the package", weights_hash="ab" * 32),
        "metric": ModelFacts(name="elements", version="1"),
        "scheduler": "ddim",
        "guidance": 3.0,
        "seeds": tuple(range(20)),
    }
    return Provenance(**{**values, **changes})


def picture(seed: int, size: int = 64) -> Image.Image:
    """Two or three colored shapes on white; from 128 pixels on, a soft landscape-like gradient."""
    random = np.random.default_rng(seed)
    if size > 128:
        field = Image.fromarray(random.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        return field.resize((size, size), Image.Resampling.BICUBIC).filter(
            ImageFilter.GaussianBlur(size / 40)
        )
    image = Image.new("RGB", (size * 4, size * 4), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(1, 4)):
        x, y = random.integers(size // 2, size * 3, 2)
        side, color = size * 4 * random.uniform(0.14, 0.3), COLORS[random.integers(3)]
        corners = int(random.integers(3, 7))
        if corners == 5:
            draw.ellipse((x, y, x + side, y + side), fill=color)
        else:
            draw.regular_polygon((x + side / 2, y + side / 2, side / 2), corners, fill=color)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def image_facts(path: str, size: int = 64) -> ImageFacts:
    return ImageFacts(
        path=path, sha256="c0ffee" * 10, width=size * 3, height=size * 2, resolution=size, crop="center",
        format="JPEG", mode="RGB", conversions=("EXIF turn 6",),
    )  # fmt: skip


def estimate(value: float, half: float = 0.04) -> Estimate:
    return Estimate.of(value, max(0.0, value - half), value + half)


def result(
    directory: Path | None,
    name: str = "photo",
    *,
    path: str = "pictures/photo.jpg",
    level: float = 0.3,
    group: str | None = None,
    size: int = 64,
    tokens: int = 5,
    drawings: int = 20,
    threshold: Threshold = THRESHOLD,
    outside: bool = False,
    test: bool = True,
    seed: int = 0,
) -> ScoreResult:
    """A result whose curve falls towards `level`; pictures are saved where a directory is given."""
    random = np.random.default_rng(seed)
    counts = () if outside else tuple(range(1, tokens + 1))
    distances = {
        m: np.clip(level + 0.35 * math.exp(-m / 1.5) + random.normal(0, 0.06, drawings), 0, 1) for m in counts
    }
    zero = tuple(np.clip(0.8 + random.normal(0, 0.06, drawings), 0, 1).tolist())
    saved = directory and save_images(
        directory,
        name,
        query=picture(seed, size),
        round_trip=picture(seed, size).filter(ImageFilter.GaussianBlur(0.6)),
        drawings={m: [picture(seed + (i * m) % 4, size) for i in range(drawings)] for m in counts},
        edits=[picture(seed + 50 + i, size) for i in range(10)] if test and counts else (),
        without_tokens=[picture(seed + 90 + i, size) for i in range(drawings)] if counts else (),
    )
    curve = tuple(
        CurvePoint(
            m=m,
            distance=estimate(float(values.mean()), 1.96 * float(values.std()) / math.sqrt(drawings)),
            distances=(tuple(values.tolist()),),
            share_passing=None if threshold.value is None else float(values.mean() <= threshold.value),
            l_det=Estimate.of(0.03 + 0.01 * math.exp(-m)),
            steps=(300,),
            stop_reason=("budget",),
            drawings=saved.drawings[m] if saved else (),
        )
        for m, values in distances.items()
    )
    needed = tokens_needed(curve, threshold, tokens)
    domain = DomainCheck(
        inside=not outside,
        reasons=("the round trip's PSNR of 14.2 dB is under the model's limit of 24.0 dB",)
        if outside
        else (),
        psnr=Estimate.of(14.2 if outside else 31.4),
        psnr_limit=24.0,
    )
    originality = (
        Estimate.missing("not measured: out of domain") if outside else estimate(min(1, level * 1.2))
    )
    return ScoreResult(
        id=name,
        image=image_facts(path, size),
        group=group,
        verdict=decide("shapes", domain, originality, needed, threshold, curve),
        originality=originality,
        tokens_needed=needed,
        threshold=threshold,
        curve=curve,
        distance_0=estimate(float(np.mean(zero))) if counts else Estimate.missing("not measured"),
        distances_0=zero if counts else (),
        l_det_0=Estimate.of(0.045) if counts else Estimate.missing("not measured"),
        floor=Estimate.of(0.06),
        ceiling=Estimate.of(0.86),
        domain_check=domain,
        in_distribution=InDistribution(
            kind="placement", m=1, value=estimate(0.03), baseline=Estimate.of(0.05), holds=True,
            words="The drawings place their elements freely.", drawings=saved.edits if saved else (),
        ) if test and counts else None,
        pictures=saved.files if saved else None,
        page=f"pages/{name}.html" if saved else None,
        intervals="95 % bootstrap over the 20 drawing seeds, given the learned tokens",
    )  # fmt: skip


def tokens_needed(curve: tuple[CurvePoint, ...], threshold: Threshold, most: int) -> TokensNeeded:
    if not curve:
        return TokensNeeded(kind="not-measured", maximum=most)
    if threshold.value is None:
        return TokensNeeded(kind="no-threshold", maximum=most)
    for point in curve:
        assert point.distance.value is not None and point.distance.low is not None
        if point.distance.low <= threshold.value <= point.distance.value:
            return TokensNeeded(kind="undecided", m=point.m, maximum=most)
        if point.distance.value <= threshold.value:
            return TokensNeeded(kind="reached", m=point.m, maximum=most)
    return TokensNeeded(kind="not-reached", maximum=most)


def report(*results: ScoreResult, failures: int = 0, grouped: bool = False) -> ScoreReport:
    counts = {kind: sum(r.verdict.kind == kind for r in results) for kind in VerdictKind}
    groups = sorted({r.group for r in results if r.group}) if grouped else []
    return ScoreReport(
        status=Status.partial if failures else Status.complete,
        provenance=provenance(),
        results=results,
        errors=tuple(
            Failure.of(InputError(f"broken-{i}.jpg: damaged or unreadable image"), f"broken-{i}.jpg")
            for i in range(failures)
        ),
        summary=ScoreSummary(
            images=len(results),
            verdicts={str(kind): count for kind, count in counts.items() if count},
            groups=tuple(group_summary(name, results) for name in groups),
            comparisons=(
                GroupComparison(
                    lower=groups[0], higher=groups[-1], auc=Estimate.of(0.93, 0.88, 0.97),
                    difference=Estimate.of(0.21, 0.17, 0.25), p_value=0.0002, permutations=9999,
                ),
            ) if len(groups) > 1 else (),
            correlations=(
                RankCorrelation(
                    first="originality", second="l_det", spearman=Estimate.of(0.71), count=len(results)
                ),
            ),
        ),
    )  # fmt: skip


def group_summary(name: str, results: tuple[ScoreResult, ...]) -> GroupSummary:
    members = [r for r in results if r.group == name and r.curve]
    return GroupSummary(
        name=name,
        count=len(members),
        curve=tuple(
            GroupPoint(
                m=m,
                distance=estimate(float(np.mean([r.curve[m - 1].distance.value for r in members])), 0.02),
                l_det=Estimate.of(0.03 + 0.01 * math.exp(-m)),
            )
            for m in range(1, 6)
        ),
        originality=estimate(float(np.mean([r.originality.value for r in members])), 0.02),
        tokens_needed=dict(Counter(r.tokens_needed.text for r in members)),
    )


def many(
    directory: Path | None, count: int, *, pictured: int = 24, **options: Any
) -> tuple[ScoreResult, ...]:
    """Results of several kinds, in three groups; from `pictured` on with the pictures of earlier ones."""
    made: list[ScoreResult] = []
    for i in range(count):
        group = ("common", "rare", "unseen")[i % 3]
        one = result(
            directory if i < pictured else None,
            f"image-{i}",
            path=f"set/{group}/image {i}.png",
            level=0.2 + 0.12 * (i % 3) + 0.1 * math.sin(i),
            group=group,
            outside=i % 29 == 28,
            seed=i,
            **options,
        )
        if directory and i >= pictured:
            shown = {"pictures": made[i % pictured].pictures, "page": f"pages/{one.id}.html"}
            one = one.model_copy(update=shown)
        made.append(one)
    return tuple(made)
