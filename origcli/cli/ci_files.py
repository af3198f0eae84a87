"""`--junit` and `--summary`: files that CI systems show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from origcli.cli.binding import option
from origcli.cli.options import OUTPUT
from origcli.errors import UsageError

if TYPE_CHECKING:
    from origcli.reports.cases import Suite
    from origcli.reports.compare import CompareReport
    from origcli.scoring.compare import Run as ComparedRun

    Comparison = tuple[CompareReport, Path, Sequence[ComparedRun]]  # the report, its directory, the runs

JunitOption = Annotated[
    Path | None,
    option("--junit", "FILE", "Write the results as JUnit XML, a test case per image.", OUTPUT),
]
SummaryOption = Annotated[
    Path | None,
    option("--summary", "FILE", "Write the results as Markdown, for a CI job's summary page.", OUTPUT),
]


@dataclass(frozen=True)
class CiFiles:
    """The files that were asked for."""

    junit: Path | None = None
    summary: Path | None = None

    def check(self) -> None:
        """Makes sure that no file of another kind would be replaced.

        Raises:
            UsageError: one would be.
        """
        from origcli.reports.job_summary import SUMMARY_START
        from origcli.reports.junit import JUNIT_START

        if self.junit is not None and self.junit == self.summary:
            raise UsageError("--junit and --summary name the same file", "give each its own")
        for name, path, start in (
            ("--junit", self.junit, JUNIT_START),
            ("--summary", self.summary, SUMMARY_START),
        ):
            if path is not None:
                _refuse_foreign(name, path, start.encode())

    def begin(self) -> None:
        """Removes what an earlier run wrote: no run that fails leaves the results of another."""
        from origcli.runtime.atomic import make_directory, remove

        for path in filter(None, (self.junit, self.summary)):
            make_directory(path.parent)
            remove(path)

    def write(self, suites: "Sequence[Suite]", comparison: "Comparison | None" = None) -> None:
        """Writes the results of runs, one suite each, and a comparison of them.

        Raises:
            StorageError: a file cannot be written.
        """
        from origcli.reports.job_summary import SUMMARY_START, comparison_section, suite_section
        from origcli.reports.junit import junit_chunks
        from origcli.runtime.atomic import atomic_file, write_text

        if self.junit is not None:
            with atomic_file(self.junit) as file:
                for chunk in junit_chunks(suites):
                    file.write(chunk.encode())
        if self.summary is not None:
            here = self.summary.parent
            sections = [suite_section(suite, here) for suite in suites]
            if comparison is not None:
                report, directory, runs = comparison
                sections.append(comparison_section(report, directory, list(_thumbnails(report, runs)), here))
            write_text(self.summary, SUMMARY_START + "\n".join(sections))


def _thumbnails(report: "CompareReport", runs: "Sequence[ComparedRun]") -> "Iterator[Path | None]":
    """Of the images of a comparison, those that the first run has."""
    base = runs[0]
    results = base.by_hash
    for result in report.results:
        pictures = results[result.image.sha256].pictures
        yield base.directory / pictures.thumbnail if pictures else None


def _refuse_foreign(name: str, path: Path, start: bytes) -> None:
    """Refuses to replace a file that origcli did not write; an empty one may be."""
    from origcli.files import read_file

    if not path.exists():
        return
    text = read_file(path, size=len(start))
    if text and text != start:
        raise UsageError(
            f"{name} {path}: exists, and is not a file that {name} wrote", "remove it or name another file"
        )
