"""The table of faults in docs/reliability.md, made of the marks on the tests that bring them about.

`python -m tests.reliability --update` writes the page, `--check` says whether it is up to date.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by tests/reliability.py: -->\n", "<!-- end -->\n"

FAULTS = {
    1: "an image is cut short",
    2: "an image's header claims an enormous size",
    3: "an image is EPS or another format that is not read",
    4: "an image is turned, transparent, CMYK, has a palette, 16 bits or several frames",
    5: "a file is missing, empty, a directory or a pipe; a directory holds no image",
    6: "the disk fills up in the middle of a write",
    7: "stdout is full or closed",
    8: "the output may not be written",
    9: "SIGINT or SIGTERM",
    10: "SIGKILL at any point of a save",
    11: "a run is stopped in the middle and resumed",
    12: "a run is resumed with other settings",
    13: "a loss or an image is NaN or infinite",
    14: "memory runs out, on the device or the host",
    15: "a data worker dies",
    16: "another number of workers",
    17: "two runs share a directory",
    18: "a pickle or a data set that would run code when it is read",
    19: "a model's name leads somewhere else",
    20: "an archive would write elsewhere, or fill the disk",
    21: "a link leads out of the directory",
    22: "weights are changed, cut, or have keys too many or too few",
    23: "there is no network and nothing was fetched",
    24: "a download is cut, changed or refused",
    25: "a number of a report is NaN or infinite",
    26: "a file's name is a formula or a script",
    27: "a file's name is not UTF-8",
    28: "a placeholder is taken, a prompt is too long, more tokens than fit",
    29: "a process of a distributed run dies",
    30: "a worker of a Ray cluster dies",
    31: "variables of a launch without a launch, or a launch that is not whole",
    32: "stderr is full, or its reader leaves",
    33: "--compile without a compiler",
    34: "an address holds a password or a token",
    40: "a model is of a kind that cannot be measured",
    41: "a detector's card names other layers, or any size",
    42: "a part of a model lacks a file",
    43: "a library would ask the network",
    44: "a configuration asks for memory without bound",
    45: "a machine has no graphics libraries",
    46: "other software opens the bundled model",
    50: "a model cannot show an image",
    51: "a --fail-if condition cannot be met, or cannot be judged",
    52: "a setting takes the calibrated threshold away",
    53: "a report of others is damaged or made up",
    54: "report.html is lost",
    60: "a run directory is removed or moved under a run",
    61: "a command would remove files of others",
    62: "a file system has no fsync of directories, or no locks",
    63: "a bit of the cache flips",
    64: "there is no home directory, or no cache that can be written",
    65: "an image is exchanged under its name, or images are moved",
    66: "parts of a run are missing when it is joined",
}


class Tested(NamedTuple):
    """One behavior of a fault and the test that shows it."""

    fault: int
    behavior: str
    test: str  # as pytest takes it
    slow: bool = False  # marked so: not in the default suite


def fault_marks(root: Path = ROOT) -> list[Tested]:
    """All marks `fault(number, behavior)` by fault and then by test.

    They are read from the source, so that no test has to be imported.
    """
    found = [
        Tested(*mark, f"{path.relative_to(root).as_posix()}::{function.name}", _is_slow(function))
        for path in sorted((root / "tests").rglob("test_*.py"))
        for function in ast.parse(path.read_text("utf-8")).body
        if isinstance(function, ast.FunctionDef)
        for mark in _marks(function)
    ]
    return sorted(found, key=lambda one: one.fault)


def _marks(function: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
            number, behavior = (ast.literal_eval(argument) for argument in decorator.args)
            yield number, behavior


def _is_slow(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator) == "pytest.mark.slow" for decorator in function.decorator_list)


def table(rows: list[Tested]) -> str:
    """The rows as a table in Markdown; a fault's name stands in its first row alone, slow tests say so."""
    lines = ["| # | fault | what happens | test |", "|---|---|---|---|"]
    before = 0
    for fault, behavior, test, slow in rows:
        name = f"{fault} | {FAULTS[fault]}" if fault != before else " | "
        lines.append(f"| {name} | {behavior} | `{test}`{' (slow)' if slow else ''} |")
        before = fault
    return "\n".join(lines) + "\n"


def page(now: str) -> str:
    """The page with its table made anew; the words around it stay."""
    head, _, rest = now.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(fault_marks())}\n{END}{tail}"


def main(words: list[str]) -> int:
    """`--update` or `--check`."""
    now = PAGE.read_text("utf-8")
    if words == ["--update"]:
        PAGE.write_text(page(now), "utf-8")
    elif words != ["--check"]:
        sys.stderr.write("python -m tests.reliability --update | --check\n")
        return 2
    elif page(now) != now:
        sys.stderr.write(f"{PAGE}: out of date; python -m tests.reliability --update\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
