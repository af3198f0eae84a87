"""The report of `compare`: the same images under two or more models or ways of sampling."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from origcli.reports.envelope import (
    Estimate,
    ImageFacts,
    ModelFacts,
    Name,
    Record,
    Report,
    Result,
    Row,
    with_ends,
)
from origcli.reports.score import TokensNeeded, VerdictKind


class ComparedRun(Record):
    """One of the score runs that are compared.

    Attributes are those of its report; `name` is what tables and sentences call it.
    """

    name: str = Field(min_length=1, description="unique in the comparison; the model's name where that is")
    model: ModelFacts | None
    steps: int | None = Field(description="denoising steps of a sample")
    scheduler: str | None
    guidance: float | None
    settings_hash: str = Field(description="sha256 of the run's settings")
    images: int = Field(ge=0, description="images in the run")
    not_compared: int = Field(ge=0, description="images that are not in every run")


class DistancePoint(Record):
    """d(m) of one image in one run."""

    m: int = Field(ge=1)
    distance: Estimate


class ComparedScore(Record):
    """What one run says about one image."""

    run: str
    id: Name = Field(description="the image's id in that run")
    verdict: VerdictKind
    originality: Estimate
    tokens_needed: TokensNeeded
    threshold: float | None
    curve: tuple[DistancePoint, ...]


class DistanceDifference(Record):
    """The difference of d(m) between two runs."""

    m: int = Field(ge=1)
    difference: Estimate


class PairedDifference(Record):
    """One run against the first, on one image: the sampling seeds are resampled jointly."""

    run: str
    base: str
    originality: Estimate = Field(description="originality in `run` less that in `base`")
    distances: tuple[DistanceDifference, ...] = Field(description="d(m) in `run` less that in `base`")
    clear: bool | None = Field(description="whether the interval leaves out 0; null where there is none")
    words: str


class CompareResult(Result):
    """One image in all runs."""

    id: Name
    image: ImageFacts
    group: str | None = None
    scores: tuple[ComparedScore, ...]
    differences: tuple[PairedDifference, ...]

    def rows(self) -> Iterator[Row]:
        """One row per run; the difference from the first run stands in the rows of the others."""
        differences = {difference.run: difference.originality for difference in self.differences}
        none = Estimate.missing("the first run")
        for score in self.scores:
            yield {
                "path": self.image.path,
                "id": self.id,
                "group": self.group,
                "run": score.run,
                "verdict": str(score.verdict),
                "tokens_needed": score.tokens_needed.text,
                **score.originality.cells("originality"),
                **differences.get(score.run, none).cells("difference"),
                **{f"distance_{point.m}": point.distance.value for point in score.curve},
                "sha256": self.image.sha256,
            }


class GroupDifference(Record):
    """One run against the first over a group of images."""

    group: str | None = Field(description="null: all images")
    run: str
    base: str
    images: int = Field(ge=0, description="with an originality in both runs")
    lower: int = Field(ge=0, description="images with a lower originality in `run`")
    difference: Estimate = Field(description="mean over images of originality in `run` less that in `base`")
    p_value: float | None = Field(
        default=None, ge=0, le=1, description="two-sided sign-flip test over images; null under 5 images"
    )
    words: str


class CompareSummary(Record):
    """What the images say together, and what the runs differ in."""

    runs: tuple[ComparedRun, ...]
    differing: dict[str, tuple[JsonValue, ...]] = Field(description="settings that differ, one value a run")
    groups: tuple[GroupDifference, ...]


class CompareReport(Report[CompareResult]):
    """`origcli compare`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("path", "id", "group", "run", "verdict", "tokens_needed"),
        *with_ends("originality", "difference"),
        *(f"distance_{m}" for m in range(1, 33)),
        "sha256",
    )
    schema_id: Literal["origcli/compare/1"] = Field(default="origcli/compare/1", alias="schema")
    summary: CompareSummary | None = None
