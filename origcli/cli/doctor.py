"""`origcli doctor`: what this machine has, and whether a score could run on it."""

from typing import TYPE_CHECKING, Annotated, Any

from origcli.cli import options, present
from origcli.cli.binding import flag
from origcli.cli.run import Run, command
from origcli.errors import ModelError

if TYPE_CHECKING:
    from origcli.scoring.readiness import Check

COLUMNS = ("check", "state", "detail", "remedy")


@command({"device", "form"})
def doctor(
    model: options.ModelOption = None,
    metric: options.MetricOption = None,
    detector: options.DetectorOption = None,
    as_json: Annotated[bool, flag("--json", "The same as --format json.")] = False,
    *,
    run: Run,
) -> None:
    """Show devices, memory, versions, caches, and which models and metrics are ready.

    Uses no network. Checks the files of the model, opens the metric, and says in one line whether this
    machine can measure photos and run the bundled demo. Exits with 0 if a score can run now without a
    network; with 4 if a model or metric that it needs is missing or damaged.

    \b
    Examples:
      origcli doctor
      origcli doctor --model sd15 --metric dreamsim:dino_vitb16
      origcli doctor --json
    """
    from origcli.scoring.diagnosis import diagnose

    readiness = diagnose(run.settings)
    report = {
        "score_ready": readiness.ready,
        "summary": readiness.summary,
        "model": readiness.model,
        "device": readiness.device,
        "checks": [vars(check) for check in readiness.checks],
        **_facts(),
    }
    rows = [_row(check) for check in readiness.checks]
    form = options.Format.json if as_json else run.form
    if form is options.Format.table:
        present.rows(rows, COLUMNS[:-1], form)
        present.write("\n")
        for check in readiness.checks:
            if check.remedy:
                present.paragraph(f"{check.name}: {check.remedy}")
        present.paragraph(readiness.summary)
    else:
        present.rows(rows, COLUMNS, form, whole=report)
    if not readiness.ready:
        raise ModelError(
            f"a score cannot run yet: {', '.join(check.name for check in readiness.missing)}",
            "; ".join(dict.fromkeys(check.remedy for check in readiness.missing)),
        )


def _row(check: "Check") -> dict[str, Any]:
    return {"check": check.name, "state": check.state, "detail": check.detail, "remedy": check.remedy or None}


def _facts() -> dict[str, Any]:
    """Versions, devices and everything that can be fetched, for scripts."""
    from origcli.runtime.machine import cores, device_facts, memory_facts
    from origcli.runtime.provenance import package_versions
    from origcli.scoring.fetching import names, state

    fetched = [state(name) for name in names()]
    return {
        "versions": package_versions(),
        "devices": device_facts(),
        "cores": cores(),
        "memory": memory_facts(),
        "fetched": {found.name: str(found.path) for found in fetched if found.path is not None},
        "not_fetched": [found.name for found in fetched if found.path is None],
    }
