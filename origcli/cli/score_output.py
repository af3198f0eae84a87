"""What `origcli score` prints: results as they come where the format allows it, and its gates."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from origcli.cli import present
from origcli.cli.options import Format
from origcli.errors import GateError, InputError, UnmeasuredError
from origcli.reports.schema import Failure, ScoreReport, ScoreResult, VerdictKind
from origcli.reports.verdict import headline, more_samples, short, threshold_words
from origcli.scoring.gate import Gate

CURVE = ("m", "distance", "distance_low", "distance_high", "share_passing", "l_det")
_NAMED = 3


class ScoreOutput:
    """Prints outcomes and remembers which met a gate, and which were not measured.

    Args:
        form: of stdout.
        gates: conditions of `--fail-if`.
        say: where remarks go.
        verbose: print the curve of every image, not of a single one alone.

    Attributes:
        caught: images that met a condition, by its text.
        unmeasured: images that the model cannot show, and that were not measured.
        unjudged: images without the value that a condition asks for, by its text.
        threshold: where the run's threshold comes from, and its positive control; or empty.
        close: number of verdicts that are too close to call; `advice` says what makes them clear.
    """

    def __init__(
        self, form: Format, gates: Sequence[Gate], say: Callable[[str], None], *, verbose: bool = False
    ) -> None:
        self.form, self.gates, self.say, self.verbose = form, gates, say, verbose
        self.seen: list[ScoreResult | Failure] = []
        self.caught: dict[str, list[str]] = {gate.text: [] for gate in gates}
        self.unjudged: dict[str, list[str]] = {gate.text: [] for gate in gates}
        self.unmeasured: list[str] = []
        self.threshold = self.advice = ""
        self.close = 0
        if form in (Format.csv, Format.excel):
            present.csv((), ScoreReport.columns, mark=form is Format.excel)

    def see(self, outcome: ScoreResult | Failure) -> None:
        """Takes one outcome, in the order of the images."""
        if isinstance(outcome, ScoreResult):
            self._judge(outcome)
            self.threshold = threshold_words(outcome.threshold)  # of a run, all have the same
            if outcome.verdict.kind is VerdictKind.undecided:
                self.close += 1
                self.advice = more_samples(outcome.curve)
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
                self.seen.append(outcome if self.verbose or not self.seen else _light(outcome))

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
        present.remark_below(self.threshold, self.form, self.say)
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
        """The verdicts, curves where they are wanted, and what there is to say of all of them together."""
        model = report.provenance.model.name if report.provenance.model is not None else "the model"
        several = len(self.seen) > 1
        names = _names([_path(outcome) for outcome in self.seen])
        lines = [_line(name, model, outcome) for name, outcome in zip(names, self.seen, strict=True)]
        if several and not self.verbose:
            present.verdicts(lines)
        else:
            for number, (line, outcome) in enumerate(zip(lines, self.seen, strict=True)):
                present.write("\n" if number else "")
                present.verdicts([line])
                if isinstance(outcome, ScoreResult):
                    _details(outcome)
        if several:
            present.write("\n")
            present.paragraph(f"{self._counts()}; originality is between 0 (familiar) and 1 (original)")
            if self.close:
                present.paragraph(f"{self.close} too close to call. {self.advice}")

    def _counts(self) -> str:
        """`6 scored, 1 unreadable, 1 not measured`."""
        failures = [outcome for outcome in self.seen if isinstance(outcome, Failure)]
        unreadable = sum(failure.code == InputError.code for failure in failures)
        counts = {
            "scored": len(self.seen) - len(failures) - len(self.unmeasured),
            "unreadable": unreadable,
            "failed": len(failures) - unreadable,
            "not measured": len(self.unmeasured),
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _light(outcome: ScoreResult | Failure) -> ScoreResult | Failure:
    """An outcome without what grows with the number of samples: there may be millions of images."""
    if isinstance(outcome, Failure):
        return outcome
    return outcome.model_copy(update={"curve": (), "distances_0": (), "pictures": None})


def _path(outcome: ScoreResult | Failure) -> str:
    return outcome.image.path if isinstance(outcome, ScoreResult) else outcome.path or ""


def _names(paths: Sequence[str]) -> list[str]:
    """Paths as short as they can be told apart: without the directories that all share."""
    folders = {str(Path(path).parent) for path in paths}
    try:
        shared = Path(os.path.commonpath(folders))
    except ValueError:  # none, or both relative and absolute ones
        return list(paths)
    return [str(Path(path).relative_to(shared)) for path in paths]


def _line(name: str, model: str, outcome: ScoreResult | Failure) -> present.Verdict:
    """The line of an image: its verdict, and endings from the longest to the shortest."""
    if isinstance(outcome, Failure):
        words = outcome.message.removeprefix(f"{outcome.path}: ")
        return name, "failed", "unreadable" if outcome.code == InputError.code else "failed", [f" · {words}"]
    value = outcome.originality.value
    endings = ["", "", "", ""]
    if value is not None:
        number = f"{value:.2f}"
        endings = [
            f" · originality {short(outcome.originality)}",
            f" · originality {number}",
            f" · {number}",
            "",
        ]
    return name, str(outcome.verdict.kind), headline(model, outcome), endings


def _details(result: ScoreResult) -> None:
    """The curve of an image, and its verdict in sentences."""
    present.write("\n")
    if result.curve:
        present.rows(list(result.rows()), CURVE, Format.table)
        present.write("\n")
    present.paragraph(result.verdict.words)
    if result.in_distribution is not None:
        present.paragraph(result.in_distribution.words)


def _some(paths: Sequence[str]) -> str:
    """The first few of the names of images."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{', '.join(paths[:_NAMED])}{more}"
