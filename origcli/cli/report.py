"""`origcli report`: reports rendered again, and merged, from what their runs recorded."""

from pathlib import Path
from typing import Annotated

import typer

from origcli.cli import options, present
from origcli.cli.binding import argument, flag, option
from origcli.cli.help import Command, Group
from origcli.cli.run import Run, command
from origcli.errors import ExitCode, InputError, UsageError

app = typer.Typer(name="report", cls=Group, help="Merge sharded runs, or re-render a report.")

FiguresOption = Annotated[bool, flag("--figures", "Write figures for print for every image, too.")]


@app.command("merge", cls=Command)
@command({"force"})
def merge(
    runs: Annotated[
        list[Path],
        argument("DIR…", "Directories of finished runs."),
    ],
    out: Annotated[
        Path,
        option("-o --out", "DIR", "Directory of the merged run.", show_default=False),
    ],
    figures: FiguresOption = False,
    dated: options.DatedOption = False,
    *,
    run: Run,
) -> int:
    """Merge score runs, such as the shards of one run, into one report, byte for byte that of a single run.

    Missing shards are named, and the exit status is 3; merge them with the result later.

    \b
    Example:
      for i in 1 2 3 4; do origcli score list.csv --shard $i/4 --out shard-$i; done
      origcli report merge shard-* --out whole
    """
    from origcli.runtime.run_directory import RunDirectory
    from origcli.scoring import merging

    if out.resolve() in [run.resolve() for run in runs]:
        raise UsageError(f"{out}: would be written over while it is read", "give --out another directory")
    with RunDirectory(out, run.existing):
        report = merging.merge(runs, out, figures, dated)
    for failure in report.errors:
        run.progress.say(f"{failure.message}{f' ({failure.hint})' if failure.hint else ''}")
    present.write(f"{out / 'report.html'}\n")
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)


@app.command("render", cls=Command)
def render(
    run: Annotated[Path, argument("DIR", "Directory of a finished run.")],
    figures: FiguresOption = False,
    dated: options.DatedOption = False,
) -> None:
    """Re-render the reports and pages of a finished run; compute nothing.

    For score: pages, reports and figures. For rarity, popularity, fixed-location and generalize: report.html,
    report.json and report.csv.

    \b
    Examples:
      origcli report render runs/score-photo
      origcli report render runs/score-photo --figures
      origcli report render runs/rarity
    """
    from origcli.reports.study_page import render_study
    from origcli.runtime.run_directory import RunDirectory
    from origcli.runtime.run_record import read_run_record
    from origcli.scoring.run_archive import IMAGES, render_run

    if read_run_record(run) is None:
        raise InputError(f"{run}: not the directory of a finished run", "give one that has a run.json")
    with RunDirectory(run, record=False):
        if (run / IMAGES).is_file():
            render_run(run, figures, dated)
        else:
            render_study(run, dated)
    present.write(f"{run / 'report.html'}\n")
