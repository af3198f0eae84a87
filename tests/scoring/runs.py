"""Whole score runs, and what they leave."""

from pathlib import Path
from typing import Any

import pytest

from origcli.reports.schema import ScoreReport
from origcli.runtime.context import open_runtime
from origcli.scoring.run import Request, score_images
from origcli.settings import Settings

REPORTS = ("report.json", "report.csv", "report.html", "results.jsonl")


def score(
    settings: Settings,
    out: Path,
    inputs: Any,
    listen: Any = lambda outcome: None,
    **request: Any,
) -> ScoreReport:
    with open_runtime(settings.runtime, out) as runtime:
        return score_images(Request(inputs, **request), settings, runtime, listen)


def bytes_of(out: Path) -> dict[str, bytes]:
    pages = {f"pages/{path.name}": path.read_bytes() for path in (out / "pages").glob("*")}
    return {name: (out / name).read_bytes() for name in REPORTS} | pages


def count_calls(monkeypatch: pytest.MonkeyPatch, module: Any, name: Any) -> Any:
    calls, real = [], getattr(module, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls
