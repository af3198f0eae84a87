"""The report of `score`: the measure of originality, image by image, and groups of images."""

from collections.abc import Iterator
from enum import StrEnum
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from origcli.errors import InputError
from origcli.reports.envelope import (
    Estimate,
    ImageFacts,
    Name,
    Record,
    ReportOfImages,
    Result,
    Row,
    with_ends,
)
from origcli.reports.notebook import Card, html_cards

CONTROL_NEEDED = 0.5  # share of the positive control's samples that one token has to bring back
NO_THRESHOLD = "no threshold"  # where images are counted by tokens needed
GIVEN = "given"  # the stop reason of tokens that were learned before


class CurvePoint(Record):
    """One token count m: how near the samples come."""

    m: int = Field(ge=1, description="learned tokens")
    distance: Estimate = Field(description="d(m): mean distance between the image and the samples")
    distances: tuple[tuple[float, ...], ...] = Field(
        description="distances[r][i]: repeat r of the inversion, seed i"
    )
    share_passing: float | None = Field(
        None, ge=0, le=1, description="share of bootstrap replicates with d(m) ≤ threshold; null without one"
    )
    l_det: Estimate = Field(description="deterministic denoising loss of the learned tokens")
    steps: tuple[int, ...] = Field(default=(), description="inversion steps, one number a repeat")
    stop_reason: tuple[str, ...] = Field(default=(), description="why each repeat's inversion stopped")
    drawings: tuple[str, ...] = Field(
        default=(), description="files of repeat 0, one a seed, relative to the report"
    )


class TokensNeeded(Record):
    """The least m with d(m) ≤ threshold."""

    kind: Literal["reached", "not-reached", "undecided", "no-threshold", "not-measured"]
    m: int | None = Field(
        default=None, description="the least m that passes; for `undecided` the one in doubt"
    )
    maximum: int | None = Field(default=None, description="the largest m tried")

    @property
    def text(self) -> str:
        """For tables: `2`, `> 5`, `undecided`, or nothing."""
        match self.kind:
            case "reached":
                return str(self.m)
            case "not-reached":
                return f"> {self.maximum}"
            case "undecided":
                return "undecided"
        return ""


class Threshold(Record):
    """The distance under which a sample counts as the query redrawn. Calibrated, never invented."""

    value: float | None
    source: Literal["flag", "reference", "registry", "samples", "none"] = Field(
        description="`samples`: calibrated on the model's own samples"
    )
    how: str = Field(description="how it was obtained")
    control_images: int | None = Field(
        default=None, ge=0, description="positive control: samples of the model's own that were learned"
    )
    control_within: int | None = Field(
        default=None, ge=0, description="of these, those that one token brought back within the threshold"
    )

    @property
    def reliable(self) -> bool | None:
        """Whether tokens of this model bring back what it generates itself; `None` where nobody looked."""
        if not self.control_images or self.control_within is None:
            return None
        return self.control_within >= CONTROL_NEEDED * self.control_images


class DomainCheck(Record):
    """Whether the model can show this image at all; decided before any inversion."""

    inside: bool | None = Field(description="null where it could not be decided")
    reasons: tuple[str, ...] = Field(default=(), description="why the image is outside")
    psnr: Estimate = Field(description="dB, query against its own VAE round trip")
    psnr_limit: float | None = Field(default=None, description="dB; the model's own limit")
    forced: bool = Field(default=False, description="measured all the same (--measure-anyway)")


class InDistribution(Record):
    """Whether the learned tokens stay within what the model knows, instead of copying the query."""

    kind: Literal["placement", "edit"]
    m: int = Field(ge=1)
    value: Estimate = Field(
        description="placement: copy rate less that of permuted queries; edit: gain in CLIP text similarity"
    )
    baseline: Estimate | None = Field(
        None, description="placement: copy rate of permuted queries; edit: similarity before the edit"
    )
    distance: Estimate | None = Field(default=None, description="edit: distance of the edits to the query")
    prompt: str | None = None
    holds: bool | None = Field(default=None, description="null where the test decides nothing")
    words: str = ""
    drawings: tuple[str, ...] = Field(default=(), description="files, relative to the report")


class Percentile(Record):
    """Where an image stands in a reference set."""

    value: Estimate = Field(description="share of the reference below this image's score, in percent")
    score: Literal["originality", "distance", "tokens_needed"] = "originality"
    reference: str = Field(description="the reference report")
    reference_hash: str
    count: int = Field(ge=1, description="images in the reference")


class Landmarks(Record):
    """The originality of kinds of images that a model is known to know well or not: marks on its scale."""

    originality: dict[str, float] = Field(description="mean originality by kind of image")
    images: int = Field(ge=1, description="images of each kind")
    how: str = Field(description="how they were measured")


class VerdictKind(StrEnum):
    """What a verdict says."""

    redrawn = "redrawn"  # at some m ≤ M the samples come under the threshold
    not_redrawn = "not-redrawn"
    undecided = "undecided"
    measured = "measured"  # no threshold: the curve and the originality alone
    out_of_domain = "out-of-domain"


class Verdict(Record):
    """The result in words."""

    kind: VerdictKind
    words: str


class PictureFiles(Record):
    """Files that show one image's measurement, relative to the report."""

    query: str
    round_trip: str | None = None
    thumbnail: str
    without_tokens: tuple[str, ...] = Field(
        default=(), description="samples of the prompt without a placeholder"
    )


class ScoreResult(Result):
    """The measurement of one image."""

    id: Name
    image: ImageFacts
    group: str | None = None
    domain: str | None = Field(
        default=None, description="the groups of one domain are compared with each other"
    )
    verdict: Verdict
    originality: Estimate = Field(description="in [0, 1]; mean over m of (d(m) − floor) / (ceiling − floor)")
    tokens_needed: TokensNeeded
    threshold: Threshold
    curve: tuple[CurvePoint, ...] = Field(description="d(1) … d(M); empty where nothing was inverted")
    distance_0: Estimate = Field(description="d(0), sampled from the prompt without a placeholder")
    distances_0: tuple[float, ...] = Field(
        default=(), description="those of single samples, in the seeds' order"
    )
    l_det_0: Estimate = Field(description="denoising loss without learned tokens")
    floor: Estimate = Field(description="distance between the query and its own VAE round trip")
    ceiling: Estimate = Field(description="mean distance over pairs of samples of the empty prompt")
    domain_check: DomainCheck
    in_distribution: InDistribution | None = None
    percentile: Percentile | None = None
    landmarks: Landmarks | None = Field(
        default=None, description="of the model, for settings like these; null where it has none"
    )
    pictures: PictureFiles | None = None
    page: str | None = Field(default=None, description="the image's HTML page, relative to the report")
    embeddings: tuple[str, ...] = Field(
        default=(), description="files of the learned tokens, one an m; relative"
    )
    intervals: str = Field(default="", description="what the intervals are taken over and given")

    @model_validator(mode="after")
    def _curve_is_ordered(self) -> Self:
        counts = [point.m for point in self.curve]
        if counts != sorted(set(counts)):
            raise ValueError("the curve's token counts have to rise")
        if len({(len(point.distances), *map(len, point.distances)) for point in self.curve}) > 1:
            raise ValueError("the curve's points have to have as many distances each")
        if any(len(set(map(len, point.distances))) != 1 for point in self.curve):
            raise ValueError("the repeats of a point have to have as many distances each")
        return self

    def rows(self) -> Iterator[Row]:
        """One row per token count; a single one without `m` where nothing was inverted."""
        test, place = self.in_distribution, self.percentile
        whole = {
            "path": self.image.path,
            "id": self.id,
            "group": self.group,
            "verdict": str(self.verdict.kind),
            "tokens_needed": self.tokens_needed.text,
            **self.originality.cells("originality"),
            "distance_0": self.distance_0.value,
            "l_det_0": self.l_det_0.value,
            "floor": self.floor.value,
            "ceiling": self.ceiling.value,
            "threshold": self.threshold.value,
            "threshold_source": self.threshold.source,
            "control_images": self.threshold.control_images,
            "control_within": self.threshold.control_within,
            "inside_domain": self.domain_check.inside,
            "psnr": self.domain_check.psnr.value,
            "in_distribution": test.value.value if test else None,
            "percentile": place.value.value if place else None,
            "sha256": self.image.sha256,
            "error": None,
        }
        points: tuple[CurvePoint | None, ...] = self.curve or (None,)
        unmeasured = Estimate.missing("not measured")
        for point in points:
            yield {
                **whole,
                "m": point.m if point else None,
                **(point.distance if point else unmeasured).cells("distance"),
                "share_passing": point.share_passing if point else None,
                "l_det": point.l_det.value if point else None,
            }


class GroupPoint(Record):
    """One token count of a group's curve."""

    m: int = Field(ge=1)
    distance: Estimate = Field(description="mean over the group's images of d(m)")
    l_det: Estimate


class GroupSummary(Record):
    """A group of images: e.g. `common`, `original`."""

    name: str
    domain: str | None = None
    count: int = Field(ge=0, description="images measured")
    out_of_domain: int = Field(default=0, ge=0)
    curve: tuple[GroupPoint, ...]
    originality: Estimate
    tokens_needed: dict[str, int] = Field(description="images by tokens needed: `1`, `> 5`, `undecided` …")


class GroupComparison(Record):
    """Two groups set against each other: does the measure tell them apart?"""

    domain: str | None = None
    lower: str = Field(description="the group expected to be less original")
    higher: str = Field(description="the group expected to be more original")
    score: Literal["originality", "l_det"] = "originality"
    auc: Estimate = Field(description="chance that a `higher` image scores above a `lower` one; ties half")
    difference: Estimate = Field(description="mean of `higher` less mean of `lower`")
    p_value: float | None = Field(
        None, ge=0, le=1, description="two-sided permutation test of the difference"
    )
    permutations: int = Field(ge=0)


class RankCorrelation(Record):
    """How alike two scores order the images."""

    first: str
    second: str
    spearman: Estimate
    count: int = Field(ge=0)


class ScoreSummary(Record):
    """What the images say together."""

    images: int = Field(ge=0)
    verdicts: dict[str, int] = Field(default_factory=dict, description="images by verdict")
    groups: tuple[GroupSummary, ...] = ()
    comparisons: tuple[GroupComparison, ...] = ()
    correlations: tuple[RankCorrelation, ...] = ()


class Parts(Record):
    """Which parts of a list of images a report is of, where it was scored in parts (`--shard`)."""

    of: int = Field(ge=1, description="number of parts of the whole list")
    held: tuple[int, ...] = Field(description="those that are in this report, from 1")

    @property
    def missing(self) -> tuple[int, ...]:
        """Those that are not."""
        return tuple(part for part in range(1, self.of + 1) if part not in self.held)


class ScoreReport(ReportOfImages[ScoreResult]):
    """`origcli score`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("path", "id", "group", "m"),
        *with_ends("distance"),
        *("share_passing", "l_det", "tokens_needed"),
        *with_ends("originality"),
        *("verdict", "floor", "ceiling", "threshold", "threshold_source", "control_images", "control_within"),
        *("distance_0", "l_det_0", "inside_domain", "psnr"),
        *("in_distribution", "percentile", "sha256", "error"),
    )
    schema_id: Literal["origcli/score/1"] = Field(default="origcli/score/1", alias="schema")
    summary: ScoreSummary | None = None
    parts: Parts | None = Field(default=None, description="null where the report is of all parts")

    @property
    def result(self) -> ScoreResult:
        """The result of its only image.

        Raises:
            InputError: the image could not be measured.
            ValueError: the report is of several images, or of none.
        """
        if len(self.results) == 1 and not self.errors:
            return self.results[0]
        if len(self.errors) == 1 and not self.results:
            raise InputError(self.errors[0].message, self.errors[0].hint)
        raise ValueError(f"a report of {len(self.results) + len(self.errors)} images: see results and errors")

    def _repr_html_(self) -> str:
        """The first images with their nearest samples and verdicts, then the rows, for notebooks."""
        return html_cards(map(_card_of, self.results), self.directory) + super()._repr_html_()


def _card_of(result: ScoreResult) -> Card:
    """The image of a result, and of each number of tokens the sample that is nearest to it."""
    pictures = [("image", result.pictures.query if result.pictures else None)]
    for point in result.curve:
        distances = point.distances[0] if point.distances else ()
        if distances and len(point.drawings) == len(distances):
            nearest = min(range(len(distances)), key=distances.__getitem__)
            tokens = f"{point.m} token{'s' if point.m > 1 else ''}"
            pictures.append((f"{tokens}, distance {distances[nearest]:.2f}", point.drawings[nearest]))
    return Card(result.image.path, result.verdict.words, pictures)
