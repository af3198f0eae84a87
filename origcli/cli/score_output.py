"""What `origcli score` prints: results as they come where the format allows it, and its gates."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from origcli.cli import present
from origcli.cli.options import Format
from origcli.errors import GateError, UnmeasuredError
from origcli.reports.schema import Failure, ScoreReport, ScoreResult
from origcli.scoring.gate import Gate

CURVE = ("m", "distance", "distance_low", "distance_high", "share_passing", "l_det")
OVERVIEW = ("path", "group", "verdict", "tokens_needed", "originality", "originality_low", "originality_high")
_NAMED = 3


class ScoreOutput:
    """Prints outcomes and remembers which met a gate, and which were not measured.

    Args:
        form: of stdout.
        gates: conditions of `--fail-if`.
        say: where remarks go.

    Attributes:
        caught: images that met a condition, by its text.
        unmeasured: images that the model cannot show, and that were not measured.
        unjudged: images without the value that a condition asks for, by its text.
    """

    def __init__(self, form: Format, gates: Sequence[Gate], say: Callable[[str], None]) -> None:
        self.form, self.gates, self.say = form, gates, say
        self.rows: list[dict[str, Any]] = []
        self.caught: dict[str, list[str]] = {gate.text: [] for gate in gates}
        self.unjudged: dict[str, list[str]] = {gate.text: [] for gate in gates}
        self.unmeasured: list[str] = []
        if form in (Format.csv, Format.excel):
            present.csv((), ScoreReport.columns, mark=form is Format.excel)

    def see(self, outcome: ScoreResult | Failure) -> None:
        """Takes one outcome, in the order of the images."""
        if isinstance(outcome, ScoreResult):
            self._judge(outcome)
            rows = list(outcome.rows())
        else:
            self.say(f"{outcome.message}{f' ({outcome.hint})' if outcome.hint else ''}")
            rows = [outcome.row()]
        match self.form:
            case Format.jsonl:
                kind = "result" if isinstance(outcome, ScoreResult) else "error"
                present.write(present.json_text({kind: outcome.to_json()}, None))
            case Format.csv | Format.excel:
                present.csv(rows, ScoreReport.columns, header=False)
            case Format.table:
                self.rows.append({name: rows[0].get(name) for name in (*OVERVIEW, "error")})

    def _judge(self, result: ScoreResult) -> None:
        if not result.curve:
            self.unmeasured.append(result.image.path)
        for gate in self.gates:
            holds = gate.holds(result)
            if holds:
                self.caught[gate.text].append(result.image.path)
            elif holds is None and result.curve:
                self.unjudged[gate.text].append(result.image.path)

    def end(self, report: ScoreReport, directory: Path) -> None:
        """Prints what had to wait for the end."""
        match self.form:
            case Format.json:
                with (directory / "report.json").open(encoding="utf-8") as file:
                    for line in file:
                        present.write(present.visible_json(line))
            case Format.table:
                self._table(report)
        self.say(f"report: {directory / 'report.html'}")

    def check_caught(self, directory: Path) -> None:
        """Ends a run in which a condition held.

        Raises:
            GateError: names it and images that met it.
        """
        for text, paths in self.caught.items():
            if paths:
                raise GateError(
                    f"--fail-if {text!r} holds for {_some(paths)}", f"{directory / 'report.html'} shows why"
                )

    def check_measured(self, explain: Callable[[], tuple[str, str]]) -> None:
        """Ends a run in which an image was not measured, or could not be judged.

        Args:
            explain: gives why images were not measured, and what measures them.

        Raises:
            UnmeasuredError: names the images.
        """
        if self.unmeasured:
            reason, remedy = explain()
            raise UnmeasuredError(f"{_some(self.unmeasured)}: not measured: {reason}", remedy)
        for text, paths in self.unjudged.items():
            if paths:
                raise UnmeasuredError(
                    f"--fail-if {text!r} cannot be judged for {_some(paths)}: it has no such value",
                    "report.html says why; --allow-unmeasured lets it pass",
                )

    def _table(self, report: ScoreReport) -> None:
        if len(report.results) == 1 and not report.errors:
            (result,) = report.results
            if result.curve:
                present.rows(list(result.rows()), CURVE, Format.table)
                present.write("\n")
            present.paragraph(result.verdict.words)
            if result.in_distribution is not None:
                present.paragraph(result.in_distribution.words)
            return
        shown = [name for name in (*OVERVIEW, "error") if any(row.get(name) is not None for row in self.rows)]
        present.rows(self.rows, shown, Format.table)


def _some(paths: Sequence[str]) -> str:
    """The first few of the names of images."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{', '.join(paths[:_NAMED])}{more}"
