"""What a CI system learns of a score: one case per image, which passes or does not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class CaseState(StrEnum):
    """How the case of an image ends."""

    passed = "passed"
    failed = "failed"  # a condition holds, or nothing could be judged
    broken = "error"  # the image has no result
    skipped = "not measured"  # the model cannot show it, and this is allowed


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        name: its path.
        kind: why it did not pass: `gate`, `unmeasured`, or the code of an error; else empty.
        reason: the same in one line.
        verdict: in a few words.
        originality: with its interval; empty where there is none.
        words: the verdict in sentences.
        thumbnail: file, relative to the report.
        page: file, relative to the report.
    """

    name: str
    state: CaseState
    group: str | None = None
    kind: str = ""
    reason: str = ""
    verdict: str = ""
    originality: str = ""
    words: str = ""
    thumbnail: str | None = None
    page: str | None = None


@dataclass(frozen=True)
class Suite:
    """The cases of one run.

    Attributes:
        model: its name.
        directory: the run's.
        cases: goes through them; called more than once, so that they need not be in memory together.
        conditions: of `--fail-if`, as they were given.
        threshold: where the run's threshold comes from; may be empty.
        properties: facts for machines, by name.
        left_out: what was found beside the images, a line each.
    """

    model: str
    directory: Path
    cases: Callable[[], Iterator[Case]]
    conditions: Sequence[str] = ()
    threshold: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()
