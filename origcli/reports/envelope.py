"""What the reports of all commands share: the envelope, estimates, failures, provenance.

Every report is `{schema, status, provenance, results[], errors[]}`, some with a `summary`. Nothing in
it differs between two equal runs; times and the host are in `run.json`. A number that could not be
had is null and says why: JSON knows no NaN.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from origcli.errors import OrigError, UsageError
from origcli.reports.notebook import html_table
from origcli.runtime.paths import path_of, path_text

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]  # column -> cell; a cell that is not there is empty


# What completion in a notebook leaves out: methods of pydantic, most of them of its first version.
_OF_PYDANTIC = {name for name in dir(BaseModel) if not name.startswith("_")} - {"model_copy", "model_dump"}


class Record(BaseModel):
    """A frozen part of a report. Unknown fields, NaN and infinities are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        populate_by_name=True,
        serialize_by_alias=True,
        json_schema_serialization_defaults_required=True,
    )

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, under its published field names."""
        return self.model_dump(mode="json", by_alias=True)

    def __dir__(self) -> list[str]:
        """Its own names, without those that pydantic's models have beside them."""
        return sorted(set(super().__dir__()) - _OF_PYDANTIC)


class Estimate(Record):
    """A number with its 95 % interval; null with a reason where there is none."""

    value: float | None
    low: float | None = Field(
        default=None, description="lower end of the 95 % interval, null where none was taken"
    )
    high: float | None = Field(
        default=None, description="upper end of the 95 % interval, null where none was taken"
    )
    reason: str | None = Field(default=None, description="why there is no value")

    @model_validator(mode="after")
    def _has_value_or_reason(self) -> Self:
        if (self.value is None) != bool(self.reason):
            raise ValueError("an estimate has either a value or a reason why not")
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("the interval's ends are the wrong way round")
        return self

    @classmethod
    def of(cls, value: float, low: float | None = None, high: float | None = None) -> Self:
        """An estimate of numbers that may be NaN or infinite; then it is null and says so."""
        value = float(value)
        if math.isnan(value):
            return cls.missing("not a number")
        if math.isinf(value):
            return cls.missing("infinite")
        ends = [None if end is None else float(end) for end in (low, high)]
        if any(end is None or not math.isfinite(end) for end in ends):
            return cls(value=value)
        return cls(value=value, low=ends[0], high=ends[1])

    @classmethod
    def missing(cls, reason: str) -> Self:
        """No value, and why."""
        return cls(value=None, reason=reason)

    def cells(self, name: str) -> Row:
        """Its three cells in a row: value, low, high."""
        return dict(zip(with_ends(name), (self.value, self.low, self.high), strict=True))


def with_ends(*names: str) -> tuple[str, ...]:
    """The columns of estimates: each name's value, low, high."""
    return tuple(f"{name}{end}" for name in names for end in ("", "_low", "_high"))


class Status(StrEnum):
    """How far a run came."""

    complete = "complete"
    partial = "partial"  # some inputs failed, or the run was stopped
    failed = "failed"


Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        max_length=80,
        description="unique in the report; names the image's files",
    ),
]


class ImageFacts(Record):
    """The image that was read, and how it was brought to the model's size."""

    path: str = Field(
        description="as given; a file: URI where its bytes are no UTF-8; TAR::NAME, PARQUET::ROW or "
        "hf:NAME::ROW of an image in an archive or a table"
    )
    sha256: str = Field(
        description="of the file's bytes; of an image given in memory, of its size and pixels in sRGB"
    )
    width: int = Field(ge=1, description="pixels, as stored")
    height: int = Field(ge=1, description="pixels, as stored")
    resolution: int | None = Field(
        default=None, ge=1, description="side of the square image that the model saw"
    )
    crop: str | None = Field(default=None, description="how it was made square: center, squash or pad")
    format: str | None = Field(default=None, description="of the file: PNG, JPEG …")
    mode: str | None = Field(default=None, description="color mode of the file: RGB, RGBA, CMYK …")
    conversions: tuple[str, ...] = Field(default=(), description="conversions made while reading, in order")

    @property
    def file(self) -> Path:
        """The path to open."""
        return path_of(self.path)

    def moved_to(self, path: str) -> Self:
        """The same image at another path."""
        return self.model_copy(update={"path": path})


class Failure(Record):
    """One input that could not be used; the others go on."""

    path: str | None = None
    code: str = Field(description="stable: input, model, device, io, non-finite …")
    message: str
    hint: str = ""

    @classmethod
    def of(cls, problem: OrigError, path: Path | str | None = None) -> Self:
        """A failure from the error that was raised.

        Args:
            path: the image's file, or how reports name the input.
        """
        return cls(
            path=path_text(path) if isinstance(path, Path) else path,
            code=problem.code,
            message=_encodable(problem.message),
            hint=_encodable(problem.hint),
        )

    def row(self, column: str = "path") -> Row:
        """The row of an input, or of what `column` names, that came to nothing."""
        return {column: self.path, "error": f"{self.code}: {self.message}"}


def _encodable(text: str) -> str:
    """Text with the bytes of odd file names in it shown as escapes, so that it can be written as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


class ModelFacts(Record):
    """A model, metric or detector that took part."""

    name: str
    source: str | None = Field(default=None, description="package, hub id with revision, or directory")
    version: str | None = None
    weights_hash: str | None = Field(default=None, description="sha256 over the weights")
    family: str | None = Field(default=None, description="the kind of model, e.g. Stable Diffusion XL")


class Provenance(Record):
    """What made a report. Equal provenance, equal report."""

    command: str = Field(description="the subcommand")
    versions: dict[str, str] = Field(description="of origcli and the packages that compute")
    settings: dict[str, JsonValue] = Field(description="every effective setting, by section")
    settings_hash: str = Field(description="sha256 of `settings`")
    seed: int = Field(description="the run's seed; every sample derives its own")
    device: str | None = None
    dtype: str | None = None
    model: ModelFacts | None = None
    metric: ModelFacts | None = None
    detector: ModelFacts | None = None
    scheduler: str | None = Field(default=None, description="the sampler that drew")
    guidance: float | None = Field(default=None, description="classifier-free guidance scale used")
    seeds: tuple[int, ...] = Field(default=(), description="of the samples; the same for every m")
    dataset_hash: str | None = None
    notes: tuple[str, ...] = Field((), description="choices made by the program, e.g. what `auto` took")

    def makers(self) -> dict[str, Any]:
        """What no setting names and yet changes digits: a run resumes with the same alone."""
        return {
            "device": self.device,
            "dtype": self.dtype,
            "model": self.model and self.model.weights_hash,
            "metric": self.metric and [self.metric.name, self.metric.version],
            "versions": self.versions,
        }


class Result(Record):
    """One result of a report."""

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Its rows in a table."""


R = TypeVar("R", bound=Result)


class Report(Record, Generic[R]):
    """The envelope.

    Attributes:
        columns: of its rows, in order. One is never renamed or moved within a schema's version; new ones
            come at the end.
    """

    columns: ClassVar[tuple[str, ...]] = ()

    schema_id: str = Field(alias="schema", description="name and version of this format")
    status: Status
    provenance: Provenance
    results: tuple[R, ...]
    errors: tuple[Failure, ...] = ()

    @cached_property
    def directory(self) -> Path | None:
        """Where it is with its files; `None` of a report that was never written."""
        return None

    def at(self, directory: Path) -> Self:
        """The report with its directory."""
        report = self.model_copy()
        report.__dict__["directory"] = directory
        return report

    def to_dataframe(self) -> "pandas.DataFrame":
        """Its rows as report.csv has them, as a frame of pandas; `None` where a cell is empty.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError(
                "to_dataframe needs pandas, which is not installed", "pip install pandas"
            ) from error
        names = dict.fromkeys((*self.columns, "error"))
        return pandas.DataFrame(
            [{name: row.get(name) for name in names} for row in self.rows()], columns=[*names]
        )

    def _repr_html_(self) -> str:
        """The rows as a table, for notebooks."""
        return html_table(self.rows(), self.columns)

    def rows(self, results: Iterable[R] | None = None) -> Iterator[Row]:
        """What the CSV file holds and the command prints: those of the results, then the last ones.

        Args:
            results: instead of its own.
        """
        for result in self.results if results is None else results:
            yield from result.rows()
        yield from self.last_rows()

    def last_rows(self) -> Iterator[Row]:
        """The rows after those of the results: what failed."""
        for failure in self.errors:
            yield failure.row()


class LeftOut(Record):
    """What a folder or an archive holds beside the images of a run, and why it was not used."""

    where: str = Field(description="the folder, pattern or archive, as given")
    what: str = Field(description="how many of what, e.g. `2 images hidden by their names`")
    remedy: str = Field(default="", description="what would use them")

    @property
    def text(self) -> str:
        """It in one line."""
        return f"{self.where}: left out: {self.what}{f' ({self.remedy})' if self.remedy else ''}"


class ReportOfImages(Report[R], Generic[R]):
    """A report of images that the user names."""

    left_out: tuple[LeftOut, ...] = Field(
        default=(), description="what the folders and archives hold that was not used"
    )
