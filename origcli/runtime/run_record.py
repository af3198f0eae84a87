"""`run.json`: that a directory is a run's, and when, where and how long it ran."""

import datetime
import os
import platform
import sys
from pathlib import Path
from typing import Any

from origcli.errors import InputError, without_secrets
from origcli.runtime.atomic import read_json
from origcli.runtime.owned import RUN_NAME
from origcli.runtime.paths import path_text

SCHEMA = "origcli.run/1"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def run_record(seconds: float | None, request: str | None = None, begun: str | None = None) -> dict[str, Any]:
    """What differs between two equal runs: when, where, how long, which words.

    Args:
        seconds: what the run took; `None` while it is under way or after it was stopped.
        request: hash of what was asked for.
        begun: when the run began (`now`); now, where it is `None`.
    """
    at = now()
    return {
        "schema": SCHEMA,
        "state": "begun" if seconds is None else "finished",
        "request": request,
        "begun": begun or at,
        "at": at,
        "seconds": None if seconds is None else round(seconds, 3),
        "host": platform.node(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "command": [without_secrets(path_text(word)) for word in sys.argv],
    }


def read_run_record(directory: Path) -> dict[str, Any] | None:
    """The record of a directory; `None` if it has none of ours, whatever else its `run.json` may be."""
    try:
        record = read_json(directory / RUN_NAME)
    except InputError:
        return None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None
    return {"state": None, "request": None, **record}
