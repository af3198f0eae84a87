"""Whole score runs, and what they leave."""

from pathlib import Path

from origcli.reports.schema import ScoreReport
from origcli.runtime.context import open_runtime
from origcli.scoring import run as originality
from origcli.scoring.run import Request

REPORTS = ("report.json", "report.csv", "report.html", "results.jsonl")


def score(settings, out: Path, inputs, listen=lambda outcome: None, **request) -> ScoreReport:
    with open_runtime(settings.runtime, out) as runtime:
        return originality.run(Request(inputs, **request), settings, runtime, listen)


def bytes_of(out: Path) -> dict[str, bytes]:
    pages = {f"pages/{path.name}": path.read_bytes() for path in (out / "pages").glob("*")}
    return {name: (out / name).read_bytes() for name in REPORTS} | pages


def count_calls(monkeypatch, module, name):
    calls, real = [], getattr(module, name)

    def counted(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls
