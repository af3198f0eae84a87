"""`origcli demo`: the bundled images scored with the bundled model."""

from dataclasses import replace
from typing import TYPE_CHECKING

from origcli.cli import options
from origcli.cli.run import ALL, Run, command
from origcli.errors import exit_code

if TYPE_CHECKING:
    from origcli.images.inputs import Input


@command(ALL - {"dry_run"})
def demo(verbose: options.VerboseOption = False, *, run: Run) -> int:
    """Score two bundled images with the bundled model: no GPU, no download.

    `common` is a pair of shapes that is frequent in the model's training set, `unseen` one that is absent
    from it. Writes the same files as `origcli score`: open report.html. Takes minutes on two CPU cores.

    \b
    Examples:
      origcli demo
      origcli demo --out runs/example --force
    """
    with run.starting():
        from origcli.cli.score_output import ScoreOutput
        from origcli.runtime.cache import SCORES, find_cache
        from origcli.scoring.run import Request, score_images
        from origcli.weights.registry import BUNDLED

    run = replace(run, flags={**run.flags, "score": {"model": BUNDLED}})
    output = ScoreOutput(run.form, (), run.progress.say, verbose=verbose)
    with run.open(run.settings, run.place("demo", [BUNDLED])) as runtime:
        request = Request(examples(), cache=find_cache(SCORES, run.progress.say))
        report = score_images(request, run.settings, runtime, output.see)
        output.end(report, runtime.given)
    return exit_code({failure.code for failure in report.errors})


def examples() -> "list[Input]":
    """A pair of shapes that is common in the training set of the bundled model, and one that is not in it."""
    from origcli.images.inputs import Input
    from origcli.weights.registry import bundled_directory

    directory = bundled_directory()
    return [
        Input(directory / "example.png", "common", "common"),
        Input(directory / "unseen.png", "unseen", "unseen"),
    ]
