"""`origcli rarity`: does the measure rank what a model saw often, seldom and never?"""

from pathlib import Path
from typing import Annotated, Any

from origcli.cli import options, present
from origcli.cli.binding import Sets, option
from origcli.cli.run import ALL, Run, command
from origcli.errors import ExitCode

COLUMNS = ("score", "images", "common", "rare", "unseen", "in_order", "kendall_tau", "low", "high", "p_value")
SHOWN = (*COLUMNS[:7], "kendall_tau_low", "kendall_tau_high", "p_value")  # its interval in its cell


@command(ALL - {"dry_run"})
def rarity(
    model: options.ShapesModelOption = None,
    queries: Annotated[
        int | None,
        option("--queries", "N", "Images per category."),
        Sets("rarity.queries"),
    ] = None,
    max_tokens: options.MaxTokensOption = None,
    samples: options.SamplesOption = None,
    detector: options.DetectorOption = None,
    calibrate: options.CalibrateOption = None,
    cache: options.CacheOption = True,
    *,
    run: Run,
) -> int:
    """Does the measure rank common < rare < unseen? Score pairs that a model saw often, rarely and never.

    For a model trained on `synth --mixture originality` (the bundled one is). Makes images of the
    three kinds from separate seeds, scores them into OUT/score, and tests the order of originality,
    tokens needed, distance and loss: Kendall's tau, ROC-AUC, permutation tests. Writes report.html,
    report.json, report.csv and the categories' curves to --out.

    \b
    Examples:
      origcli rarity --out runs/rarity
      origcli rarity --out runs/rarity --resume
      origcli rarity --model runs/unet/pipeline --detector runs/detector/detector --preset small
    """
    with run.starting():
        from origcli.runtime.cache import SCORES, find_cache
        from origcli.studies.queries import shapes_alone
        from origcli.studies.rarity import run_rarity

    settings = shapes_alone(run.settings)
    target = run.out or Path("runs") / "rarity"
    with run.open(settings, target) as runtime:
        report = run_rarity(settings, runtime, find_cache(SCORES, run.progress.say) if cache else None)
    rows: list[dict[str, Any]] = [
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
    shown = COLUMNS
    if run.form is options.Format.table:
        from origcli.reports.study_page import SCORES as WORDS

        shown = SHOWN
        rows = [
            {
                **row,
                "score": WORDS[row["score"]],
                "kendall_tau_low": row["low"],
                "kendall_tau_high": row["high"],
            }
            for row in rows
        ]
    present.rows(rows, shown, run.form, whole=report.to_json(), drop=("images", "p_value"))
    present.failures(report.errors, run.form, run.progress.say)
    run.progress.say(f"report: {target / 'report.html'}; every image: {target / 'score' / 'report.html'}")
    return int(ExitCode.INPUT if report.errors else ExitCode.OK)
