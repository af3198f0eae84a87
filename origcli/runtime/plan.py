"""What a run directory is for: written down at the start, and compared when the run is resumed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from origcli.errors import UsageError
from origcli.runtime.atomic import read_json, sweep, write_json

PLAN_NAME = "plan.json"
_SHOWN = 5  # differences


def record_plan(directory: Path, plan: Mapping[str, Any]) -> None:
    """Writes down what this run is; in a directory that knows already, makes sure that it is the same.

    Call it once all that may be refused is checked: a directory that has a plan is taken.

    Args:
        plan: JSON values that the run's results depend on.

    Raises:
        UsageError: the directory holds another run's; names the differences.
    """
    check_plan(directory, plan)
    sweep(directory)
    if not (directory / PLAN_NAME).exists():
        write_json(directory / PLAN_NAME, plan)


def check_plan(directory: Path, plan: Mapping[str, Any]) -> None:
    """Makes sure that a directory holds no other run's plan; one without any may take this.

    Raises:
        UsageError: it does; names the differences.
    """
    path = directory / PLAN_NAME
    if path.exists():
        refuse_changes(f"{directory}: holds a run with other settings", read_json(path), plan)


def refuse_changes(
    problem: str, before: Any, now: Mapping[str, Any], free: frozenset[str] = frozenset()
) -> None:
    """Makes sure that two runs are the same: all that their results depend on is equal.

    Args:
        problem: what to say where they are not; the differences follow.
        before, now: JSON values.
        free: names of values that may differ, in whichever section they are.

    Raises:
        UsageError: they differ.
    """
    changes = differences(before, now, free)
    if changes:
        more = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        raise UsageError(
            f"{problem}: {'; '.join(changes[:_SHOWN])}{more}",
            "repeat the first run's options, or overwrite the run with --force",
        )


def differences(before: Any, now: Any, free: frozenset[str] = frozenset()) -> list[str]:
    """What differs between two trees of JSON values: `invert.steps was 250, is 500`."""
    was, wanted = _flat(before), _flat(json.loads(json.dumps(now)))
    return [
        f"{name} was {was.get(name)!r}, is {wanted.get(name)!r}"
        for name in sorted(was.keys() | wanted.keys())
        if was.get(name) != wanted.get(name) and name.rpartition(".")[2] not in free
    ]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """A tree of JSON objects opened up: `invert.steps`."""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{name}.{key}".lstrip("."))
    return flat
