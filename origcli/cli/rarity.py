"""`origcli rarity`: does the measure rank what a model saw often, seldom and never?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from origcli.cli import options, present
from origcli.cli.score import CACHE
from origcli.errors import ExitCode

COLUMNS = ("score", "images", "common", "rare", "unseen", "in_order", "kendall_tau", "low", "high", "p_value")


def rarity(
    model: options.ShapesModelOption = None,
    queries: Annotated[
        int | None, typer.Option("--queries", metavar="N", help="Pictures a category. [default: 20]")
    ] = None,
    max_tokens: options.MaxTokensOption = None,
    images: Annotated[
        int | None,
        typer.Option("--images", metavar="N", help="Drawings for each number of tokens. [default: 20]"),
    ] = None,
    detector: options.DetectorOption = None,
    cache: options.CacheOption = True,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    force: options.ForceOption = False,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    dtype: options.DtypeOption = None,
    threads: options.ThreadsOption = None,
    offline: options.OfflineOption = None,
    form: options.FormatOption = options.Format.table,
    quiet: options.QuietOption = False,
) -> int:
    """Does the measure rank common < rare < unseen? Score pairs that a model saw often, seldom and never.

    For a model trained on `synth --mixture originality` (the bundled one is). Makes query pictures of the
    three kinds from seeds of their own, scores them into OUT/score, and tests the order of originality,
    tokens needed, distance and loss: Kendall's tau, ROC-AUC, permutation tests. Writes report.json,
    report.csv and the categories' curves to --out.

    \b
    Examples:
      origcli rarity --out runs/rarity
      origcli rarity --out runs/rarity --resume
      origcli rarity --model runs/unet/pipeline --detector runs/detector/detector --preset small
    """
    flags: dict[str, dict[str, Any]] = {
        "rarity": {"queries": queries},
        "score": {
            "model": model,
            "max_tokens": max_tokens,
            "images": images,
            "detector": detector,
        },
        "runtime": {
            "seed": seed,
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "offline": offline,
        },
    }
    settings = options.load_shapes_settings(preset, config, flags)
    from origcli.runtime.cache import cache_directory
    from origcli.runtime.context import open_runtime
    from origcli.studies.rarity import run

    target = out or Path("runs") / "rarity"
    progress = present.progress(quiet)
    with open_runtime(settings.runtime, target, progress, options.existing(resume, force)) as runtime:
        report = run(settings, runtime, cache_directory(CACHE) if cache else None)
    rows = [
        {
            "score": test.score,
            "images": test.images,
            **test.means,
            "in_order": test.in_order,
            "kendall_tau": test.kendall_tau.value,
            "low": test.kendall_tau.low,
            "high": test.kendall_tau.high,
            "p_value": test.p_value,
        }
        for test in (report.summary.tests if report.summary else ())
    ]
    present.rows(rows, COLUMNS, form, whole=report.to_json())
    progress.say(f"report: {target / 'report.json'}; every picture: {target / 'score' / 'report.html'}")
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)
