"""What the reports of all commands share: the envelope, estimates, failures, provenance.

Every report is `{schema, status, provenance, results[], errors[]}`, some with a `summary`. Nothing in
it differs between two equal runs; times and the host are in `run.json`. A number that could not be
had is null and says why: JSON knows no NaN.
"""

import hashlib
import math
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from origcli.errors import OrigError


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


class Status(StrEnum):
    """How far a run came."""

    complete = "complete"
    partial = "partial"  # some inputs failed, or the run was stopped
    failed = "failed"


def encode_path(path: str | os.PathLike[str]) -> tuple[str, str | None]:
    """A path as text that JSON, CSV and HTML can hold, and its bytes in hex where that text is not enough.

    File names are bytes. One that is no UTF-8 is shown with its odd bytes as `\\xNN`; the hex reads it back.
    """
    raw = os.fsencode(path)
    try:
        return raw.decode("utf-8"), None
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace"), raw.hex()


def decode_path(path: str, path_hex: str | None) -> Path:
    """The path that `encode_path` was given."""
    return Path(path if path_hex is None else os.fsdecode(bytes.fromhex(path_hex)))


def identifier(path: str | os.PathLike[str], sha256: str) -> str:
    """A name for one image's files: lower-case letters, digits and hyphens, one per path and content."""
    digest = hashlib.sha256(os.fsencode(path) + b"\0" + sha256.encode()).hexdigest()
    stem = re.sub(r"[^a-z0-9]+", "-", Path(os.fsdecode(path)).stem.lower()).strip("-")
    return f"{stem[:40].rstrip('-') or 'image'}-{digest[:8]}"


class ImageFacts(Record):
    """The picture that was read, and how it was brought to the model's size."""

    path: str = Field(description="as given; bytes that are no UTF-8 are shown as \\xNN")
    path_hex: str | None = Field(
        default=None, description="the path's bytes in hex, where `path` is not exact"
    )
    sha256: str = Field(description="of the file's bytes")
    width: int = Field(ge=1, description="pixels, upright, before cropping")
    height: int = Field(ge=1, description="pixels, upright, before cropping")
    resolution: int | None = Field(
        default=None, ge=1, description="side of the square picture that the model saw"
    )
    crop: str | None = Field(default=None, description="how it was made square: center, squash or pad")
    format: str | None = Field(default=None, description="of the file: PNG, JPEG …")
    mode: str | None = Field(default=None, description="colour mode of the file: RGB, RGBA, CMYK …")
    changes: tuple[str, ...] = Field(default=(), description="conversions made while reading, in order")

    @property
    def file(self) -> Path:
        """The path to open."""
        return decode_path(self.path, self.path_hex)


class Failure(Record):
    """One input that could not be used; the others go on."""

    path: str | None = None
    path_hex: str | None = None
    code: str = Field(description="stable: input, model, device, io, non-finite …")
    message: str
    hint: str = ""

    @classmethod
    def of(cls, problem: OrigError, path: str | os.PathLike[str] | None = None) -> Self:
        """A failure from the error that was raised."""
        shown, path_hex = (None, None) if path is None else encode_path(path)
        message = problem.message.encode("utf-8", "backslashreplace").decode()
        return cls(path=shown, path_hex=path_hex, code=problem.code, message=message, hint=problem.hint)


class ModelFacts(Record):
    """A model, metric or detector that took part."""

    name: str
    source: str | None = Field(default=None, description="package, hub id with revision, or directory")
    version: str | None = None
    weights_hash: str | None = Field(default=None, description="sha256 over the weights")


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
    seeds: tuple[int, ...] = Field(default=(), description="of the drawings; the same for every m")
    dataset_hash: str | None = None
    notes: tuple[str, ...] = Field((), description="choices made by the program, e.g. what `auto` took")


R = TypeVar("R", bound=Record)


class Report(Record, Generic[R]):
    """The envelope."""

    schema_id: str = Field(alias="schema", description="name and version of this format")
    status: Status
    provenance: Provenance
    results: tuple[R, ...]
    errors: tuple[Failure, ...] = ()
