"""The line of a page that says when it was made, and with which command.

Pages have it on request alone: equal runs have equal pages. What it says is kept in run.json.
"""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from origcli.runtime.run_record import read_run_record

_LONGEST = 400  # characters of a command


def date_line(directory: Path) -> str:
    """`2026-03-01 12:00 UTC: origcli score photo.jpg`; empty for a directory that is no run's."""
    record = read_run_record(directory)
    if record is None:
        return ""
    return ": ".join(filter(None, (_moment(record.get("begun")), _command(record.get("command")))))


def _moment(text: Any) -> str:
    """The time in UTC to the minute; empty where there is none, as in directories of earlier versions."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (TypeError, ValueError, OverflowError):
        return ""


def _command(words: Any) -> str:
    """A command as it can be typed again, cut where it is long."""
    if not isinstance(words, list) or not words:
        return ""
    line = shlex.join(["origcli", *map(str, words[1:])])
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
