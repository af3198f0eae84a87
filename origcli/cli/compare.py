"""`origcli compare`: the same images under two or more models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from origcli.cli import options, present
from origcli.cli.binding import argument
from origcli.cli.ci_files import CiFiles, SummaryOption
from origcli.cli.run import Run, command

if TYPE_CHECKING:
    from origcli.reports.compare import CompareReport

COLUMNS = (
    *("path", "run", "tokens_needed", "originality", "originality_low", "originality_high"),
    *("difference", "difference_low", "difference_high"),
)
DROP = ("tokens_needed", "originality")


@command({"out", "force", "form", "quiet"})
def compare(
    runs: Annotated[
        list[Path],
        argument("RUN RUN…", "Directories of score runs, or their report.json; the first is the base."),
    ],
    summary: SummaryOption = None,
    *,
    run: Run,
) -> None:
    """Compare score runs of the same images: what has a fine-tuned model learned that its base had not?

    Images are matched by content. The runs must share metric, prompt, seeds, numbers of tokens and samples,
    and how long tokens were learned; the model and how it is sampled may differ. For each image: originality,
    tokens needed and distances side by side, and the difference with a paired interval; over images, a paired
    test. Writes report.json, report.csv and report.html with the samples beside each other.

    \b
    Examples:
      origcli score art/ --model sd15 --out runs/base
      origcli score art/ --model my-finetune/ --out runs/tuned
      origcli compare runs/base runs/tuned
      origcli score art/ --model sd15 --model my-finetune/     # all of it at once
    """
    from origcli.runtime.run_directory import RunDirectory
    from origcli.scoring.compare import compare_runs, write_comparison

    files = CiFiles(summary=summary)
    files.check()
    report, compared = compare_runs(runs)
    place = run.place("compare", [compared[-1].directory.resolve().name])
    with RunDirectory(place) as directory:
        target = directory.given
        files.begin()
        write_comparison(target, report, compared)
        files.write([], (report, target, compared))
    print_comparison(report, target, run)


def print_comparison(report: "CompareReport", target: Path, run: Run) -> None:
    """The table, and below it the sentences; or the report in another form."""
    present.report(report, run.form, COLUMNS, drop=DROP)
    if run.form is options.Format.table and report.summary is not None:
        present.write("\n")
        for result in report.results if len(report.results) == 1 else ():
            for difference in result.differences:
                present.paragraph(difference.words)
        for group in report.summary.groups:
            present.paragraph(f"{group.group}: {group.words}" if group.group else group.words)
    run.progress.say(f"report: {target / 'report.html'}")
