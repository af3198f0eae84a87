"""`origcli doctor`: what this machine has, and whether a score could run on it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from origcli.cli import options, present
from origcli.cli.binding import flag
from origcli.cli.run import Run, command
from origcli.errors import ModelError

if TYPE_CHECKING:
    from origcli.scoring.readiness import Check

COLUMNS = ("check", "state", "detail", "remedy")
_ENOUGH_DISK = 10e9
_ENOUGH_MEMORY = 4e9


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

    Asks no network. Checks the files of the model, opens the metric, and says in one line whether this
    machine can measure photos and run the bundled demo. Exits with 0 if a score could run now, also without
    a network; with 4 if a model or metric that it needs is missing or damaged.

    \b
    Examples:
      origcli doctor
      origcli doctor --model sd15 --metric dreamsim:dino_vitb16
      origcli doctor --json
    """
    from origcli.runtime.device import select_device
    from origcli.scoring.readiness import check_fetched, check_score, chosen_model, in_one_line

    settings = run.settings
    chosen = select_device(settings.runtime.device)
    needed = check_score(settings, chosen.type)
    summary = in_one_line(settings, chosen.type, needed)
    checks = [*_machine(str(chosen)), *_caches(), check_fetched(), *needed]
    missing = [check for check in needed if check.state == "missing"]
    ready = not missing
    report = {
        "score_ready": ready,
        "summary": summary,
        "model": chosen_model(settings.score.model, chosen.type),
        "device": str(chosen),
        "checks": [vars(check) for check in checks],
        **_facts(),
    }
    rows = [_row(check) for check in checks]
    form = options.Format.json if as_json else run.form
    if form is options.Format.table:
        present.rows(rows, COLUMNS[:-1], form)
        present.write("\n")
        for check in checks:
            if check.remedy:
                present.paragraph(f"{check.name}: {check.remedy}")
        present.paragraph(summary)
    else:
        present.rows(rows, COLUMNS, form, whole=report)
    if not ready:
        raise ModelError(
            f"a score cannot run yet: {', '.join(check.name for check in missing)}",
            "; ".join(dict.fromkeys(check.remedy for check in missing)),
        )


def _row(check: "Check") -> dict[str, Any]:
    return {"check": check.name, "state": check.state, "detail": check.detail, "remedy": check.remedy or None}


def _machine(chosen: str) -> "list[Check]":
    """Python, torch, devices and memory."""
    import shutil

    import torch

    from origcli.runtime.machine import device_facts
    from origcli.scoring.readiness import Check

    version = ".".join(map(str, sys.version_info[:3]))
    cuda = f", built for CUDA {torch.version.cuda}" if torch.version.cuda else ", built without CUDA"
    checks = [Check("python", "ok", version), Check("torch", "ok", f"{torch.__version__}{cuda}")]
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        checks.append(
            Check(
                "cuda",
                "warning",
                "there is an NVIDIA driver, but this torch sees no device",
                "install torch for CUDA",
            )
        )
    for facts in device_facts():
        free, total = facts["memory_available"] / 1e9, facts["memory_total"] / 1e9
        detail = f"{facts['name']}, {free:.1f} of {total:.1f} GB free, {'/'.join(facts['dtypes'])}"
        label = f"device {facts['device']}" + (" (chosen)" if facts["device"] == chosen else "")
        if facts["memory_available"] < _ENOUGH_MEMORY:
            checks.append(Check(label, "warning", detail, "free some memory"))
        else:
            checks.append(Check(label, "ok", detail))
    return checks


def _caches() -> "list[Check]":
    """Where things are kept, and how much room there is."""
    from huggingface_hub import constants

    from origcli.errors import StorageError
    from origcli.runtime.cache import cache_directory
    from origcli.runtime.machine import free_disk
    from origcli.scoring.readiness import Check

    checks, paths = [], {"hub cache": Path(constants.HF_HUB_CACHE)}
    try:
        paths = {"cache": cache_directory(), **paths}
    except StorageError as error:
        checks.append(Check("cache", "warning", f"none: {error.message}", error.hint))
    for label, path in paths.items():
        free = free_disk(path)
        detail = f"{path}, {free / 1e9:.1f} GB free"
        if free < _ENOUGH_DISK:
            checks.append(
                Check(label, "warning", detail, "free some space, or set ORIGCLI_CACHE and HF_HOME")
            )
        else:
            checks.append(Check(label, "ok", detail))
    return checks


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
