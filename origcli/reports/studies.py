"""The reports of the studies on one pipeline: rarity, fixed places, popularity (supplement 3, 5, 6.1)."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from origcli.reports.envelope import Estimate, Name, Record, Report, Result, Row
from origcli.reports.score import GroupPoint


class RarityResult(Result):
    """The query images of one category."""

    category: Literal["common", "rare", "unseen"]
    images: int = Field(ge=0, description="measured")
    out_of_domain: int = Field(default=0, ge=0)
    curve: tuple[GroupPoint, ...] = Field(description="mean d(m) and loss of the category")
    originality: Estimate
    tokens_needed: dict[str, int] = Field(description="images by tokens needed: `1`, `> 5`, `undecided` …")
    dataset_hash: str = Field(description="of the recipe that the queries were made from")

    def rows(self) -> Iterator[Row]:
        """One row per category and token count."""
        for point in self.curve:
            yield {
                "category": self.category,
                "images": self.images,
                "out_of_domain": self.out_of_domain,
                "m": point.m,
                **point.distance.cells("distance"),
                "l_det": point.l_det.value,
                **self.originality.cells("originality"),
                "tokens_needed": "; ".join(f"{text}: {n}" for text, n in self.tokens_needed.items()),
            }


class PairTest(Record):
    """Two categories by one score."""

    lower: str
    higher: str
    auc: Estimate = Field(description="chance that an image of `higher` scores above one of `lower`")
    p_value: float | None = Field(default=None, ge=0, le=1, description="two-sided, of the means' difference")


class OrderTest(Record):
    """Does a score rank common < rare < unseen?"""

    score: Literal["originality", "tokens_needed", "distance_1", "l_det"]
    images: int = Field(ge=0, description="that have this score")
    means: dict[str, float] = Field(description="by category")
    in_order: bool | None = Field(description="whether the means rise from common over rare to unseen")
    kendall_tau: Estimate = Field(description="tau-b of category and score over images")
    p_value: float | None = Field(default=None, ge=0, le=1)
    test: str
    pairs: tuple[PairTest, ...] = ()


class RaritySummary(Record):
    """What the categories say together."""

    tests: tuple[OrderTest, ...]
    apart: tuple[OrderTest, ...] = Field(
        default=(), description="the same tests without the images in which elements stand close together"
    )
    close: int = Field(default=0, ge=0, description="images in which elements are nearer than `gap`")
    gap: float | None = Field(default=None, ge=0, description="in widths of the image, between boxes")
    score_report: str = Field(description="directory of the score run, relative to the report")


class RarityReport(Report[RarityResult]):
    """`origcli rarity`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("category", "images", "out_of_domain", "m", "distance", "distance_low", "distance_high", "l_det"),
        *("originality", "originality_low", "originality_high", "tokens_needed", "path", "error"),
    )
    schema_id: Literal["origcli/rarity/1"] = Field(default="origcli/rarity/1", alias="schema")
    summary: RaritySummary | None = None
    figures: tuple[str, ...] = ()


class FixedLocationResult(Result):
    """One query whose elements stand in fixed places, and its one-token samples."""

    id: Name
    caption: str
    drawings: int = Field(ge=0)
    elements: int = Field(ge=0, description="elements of the image, times the samples")
    matched: int = Field(ge=0, description="of them, those that the detector found in the sample")
    distance: Estimate = Field(description="mean distance of matched elements from their place, in widths")
    chance: Estimate = Field(description="that of as many elements at uniform places, matched alike")

    def rows(self) -> Iterator[Row]:
        """One row per query."""
        yield {
            **{name: getattr(self, name) for name in ("id", "caption", "drawings", "elements", "matched")},
            **self.distance.cells("distance"),
            "chance": self.chance.value,
        }


class FixedLocationSummary(Record):
    """All images together."""

    distance: Estimate
    chance: Estimate
    within: Estimate = Field(description="share of matched elements within a tenth of the width")
    chance_within: Estimate
    p_value: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="one-sided, over queries: nearer to their places than uniform ones are",
    )
    test: str
    score_report: str


class FixedLocationReport(Report[FixedLocationResult]):
    """`origcli fixed-location`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("id", "caption", "drawings", "elements", "matched", "distance", "distance_low", "distance_high"),
        *("chance", "path", "error"),
    )
    schema_id: Literal["origcli/fixed-location/1"] = Field(default="origcli/fixed-location/1", alias="schema")
    summary: FixedLocationSummary | None = None
    figures: tuple[str, ...] = ()


class PopularityResult(Result):
    """Common images that the model was trained on, or fresh ones of the same recipe."""

    group: Literal["trained", "fresh"]
    images: int = Field(ge=0)
    out_of_domain: int = Field(default=0, ge=0)
    distance: Estimate = Field(description="mean d(1)")
    dataset_hash: str | None = Field(default=None, description="of the recipe that the images are from")

    def rows(self) -> Iterator[Row]:
        """One row per group."""
        yield {
            **{name: getattr(self, name) for name in ("group", "images", "out_of_domain")},
            **self.distance.cells("distance"),
        }


class PopularitySummary(Record):
    """Are images that were trained on redrawn any better?"""

    difference: Estimate = Field(description="mean d(1) of fresh less that of trained, 95 % interval")
    low_90: float | None = Field(default=None, description="90 % interval: two one-sided tests at 5 %")
    high_90: float | None = None
    margin: float = Field(gt=0, description="differences under it are of no account; declared beforehand")
    equivalent: bool | None = Field(description="the 90 % interval is within the margin; null: undecided")
    words: str
    score_report: str


class PopularityReport(Report[PopularityResult]):
    """`origcli popularity`."""

    columns: ClassVar[tuple[str, ...]] = (
        *("group", "images", "out_of_domain", "distance", "distance_low", "distance_high", "path", "error"),
    )
    schema_id: Literal["origcli/popularity/1"] = Field(default="origcli/popularity/1", alias="schema")
    summary: PopularitySummary | None = None
