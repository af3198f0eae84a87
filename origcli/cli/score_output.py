"""What `origcli score` prints: results as they come where the format allows it, and its gates."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from origcli.cli import present
from origcli.cli.options import Format
from origcli.errors import GateError
from origcli.reports import tables
from origcli.reports.schema import Failure, ScoreReport, ScoreResult
from origcli.reports.writers import csv_text
from origcli.scoring.gate import Gate

CURVE = ("m", "distance", "distance_low", "distance_high", "share_passing", "l_det")
OVERVIEW = ("path", "group", "verdict", "tokens_needed", "originality", "originality_low", "originality_high")
_NAMED = 3


class ScoreOutput:
    """Prints outcomes and remembers which met a gate.

    Args:
        form: of stdout.
        gates: conditions of `--fail-if`.
        say: where remarks go.
    """

    def __init__(self, form: Format, gates: Sequence[Gate], say: Callable[[str], None]) -> None:
        self.form, self.gates, self.say = form, gates, say
        self.rows: list[dict[str, Any]] = []
        self.caught: dict[str, list[str]] = {gate.text: [] for gate in gates}
        if form is Format.csv:
            present.write(csv_text((), tables.COLUMNS["score"]))

    def see(self, outcome: ScoreResult | Failure) -> None:
        """Takes one outcome, in the order of the images."""
        if isinstance(outcome, ScoreResult):
            for gate in self.gates:
                if gate.holds(outcome):
                    self.caught[gate.text].append(outcome.image.path)
            rows = list(tables.result_rows(outcome))
        else:
            self.say(f"{outcome.message}{f' ({outcome.hint})' if outcome.hint else ''}")
            rows = [tables.failure_row(outcome)]
        match self.form:
            case Format.jsonl:
                kind = "result" if isinstance(outcome, ScoreResult) else "error"
                present.write(present.json_text({kind: outcome.to_json()}, None))
            case Format.csv:
                present.write(csv_text(rows, tables.COLUMNS["score"], header=False))
            case Format.table:
                self.rows.append({name: rows[0].get(name) for name in (*OVERVIEW, "error")})

    def end(self, report: ScoreReport, directory: Path) -> None:
        """Prints what had to wait for the end.

        Raises:
            GateError: a gate was met; names it and images that met it.
        """
        match self.form:
            case Format.json:
                with (directory / "report.json").open(encoding="utf-8") as file:
                    for line in file:
                        present.write(line)
            case Format.table:
                self._table(report)
        self.say(f"report: {directory / 'report.html'}")
        for text, paths in self.caught.items():
            if paths:
                more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
                raise GateError(
                    f"--fail-if {text!r} holds for {', '.join(paths[:_NAMED])}{more}",
                    f"{directory / 'report.html'} shows why",
                )

    def _table(self, report: ScoreReport) -> None:
        if len(report.results) == 1 and not report.errors:
            (result,) = report.results
            if result.curve:
                present.rows(list(tables.result_rows(result)), CURVE, Format.table)
                present.write("\n")
            present.paragraph(result.verdict.words)
            if result.in_distribution is not None:
                present.paragraph(result.in_distribution.words)
            return
        shown = [name for name in (*OVERVIEW, "error") if any(row.get(name) is not None for row in self.rows)]
        present.rows(self.rows, shown, Format.table)
