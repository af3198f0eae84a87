"""What a run directory is for: written down at the start, and compared when a run goes on in it."""

from pathlib import Path
from typing import Any

from origcli.errors import UsageError
from origcli.runtime.atomic import read_json, sweep, write_json

PLAN_NAME = "plan.json"


def record_plan(directory: Path, plan: dict[str, Any]) -> None:
    """Writes down what this run is; in a directory that knows already, makes sure that it is the same.

    Call it once all that may be refused is checked: a directory that has a plan is taken.

    Args:
        plan: JSON values that the run's results depend on.

    Raises:
        UsageError: the directory holds another run's; names the first difference.
    """
    check_plan(directory, plan)
    sweep(directory)
    if not (directory / PLAN_NAME).exists():
        write_json(directory / PLAN_NAME, plan)


def check_plan(directory: Path, plan: dict[str, Any]) -> None:
    """Makes sure that a directory holds no other run's plan; one without any may take this.

    Raises:
        UsageError: it does; names the first difference.
    """
    path = directory / PLAN_NAME
    if not path.exists():
        return
    before = read_json(path)
    if before != plan:
        raise UsageError(
            f"{directory}: holds a run with other settings: {first_difference(before, plan)}",
            "repeat its words to go on with it, or start over with --force",
        )


def first_difference(before: Any, now: Any, name: str = "") -> str:
    """The first value, by name, that differs between two trees of JSON values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                return first_difference(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    return f"{name} was {before}, is {now}"
