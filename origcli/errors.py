"""Every error that origcli reports on purpose: a stable code, an exit status and a remedy.

A command line that scripts rely on has exit statuses that mean one thing each (see `ExitCode`).
Anything that is raised and is not an `OrigError` is a bug, exit status 1.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum
from typing import Any

_USER = re.compile(r"://[^/\s@]*@")
_QUERY = re.compile(r"(\bhttps?://[^\s?\"'<>]+)\?[^\s\"'<>)]+")


class ExitCode(IntEnum):
    """The exit statuses of every subcommand."""

    OK = 0
    BUG = 1
    USAGE = 2
    INPUT = 3
    MODEL = 4
    DEVICE = 5
    IO = 6
    LOCKED = 7
    NON_FINITE = 8
    UNMEASURED = 9
    GATE = 10
    SIGINT = 130
    SIGTERM = 143


class OrigError(Exception):
    """An error with a remedy.

    Args:
        message: one line that names the thing that is wrong.
        hint: what to do about it; empty where the message already says.
    """

    code = "bug"
    exit_code = ExitCode.BUG

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = without_secrets(message)
        self.hint = without_secrets(hint)
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes it stays what it is, its remedy and status included."""
        return _rebuilt, (type(self), self.message, self.hint, self.exit_code)


def _rebuilt(kind: type[OrigError], message: str, hint: str, exit_code: ExitCode) -> OrigError:
    problem = kind.__new__(kind)
    OrigError.__init__(problem, message, hint)
    problem.exit_code = exit_code
    return problem


def without_secrets(text: str) -> str:
    """Text whose addresses show no user, password or query, which may hold a signature or a token."""
    return _QUERY.sub(r"\1?…", _USER.sub("://", text))


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint about a word that is unknown: the nearest known one, else all of them."""
    names = list(known)
    near = get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names)}"


class UsageError(OrigError):
    """The words of the command, a configuration value, or settings that do not go together."""

    code = "usage"
    exit_code = ExitCode.USAGE


class InputError(OrigError):
    """An image, list, data set or report that cannot be read or is not what it should be."""

    code = "input"
    exit_code = ExitCode.INPUT


class ModelError(OrigError):
    """A model, detector or metric that is missing, damaged, or cannot be fetched."""

    code = "model"
    exit_code = ExitCode.MODEL


class DeviceError(OrigError):
    """A device that is not there, or memory that ran out with the batch already at one."""

    code = "device"
    exit_code = ExitCode.DEVICE


class StorageError(OrigError):
    """A disk that is full, a directory that cannot be written."""

    code = "io"
    exit_code = ExitCode.IO


class LockedError(OrigError):
    """Another run owns the directory."""

    code = "locked"
    exit_code = ExitCode.LOCKED


class NonFiniteError(OrigError):
    """A loss or an image became NaN or infinite."""

    code = "non-finite"
    exit_code = ExitCode.NON_FINITE


class UnmeasuredError(OrigError):
    """An image that was asked for got no measurement, or none that a `--fail-if` condition could judge."""

    code = "unmeasured"
    exit_code = ExitCode.UNMEASURED


class GateError(OrigError):
    """A `--fail-if` condition held."""

    code = "gate"
    exit_code = ExitCode.GATE


def exit_code(codes: set[str]) -> ExitCode:
    """Of a run in which some images failed, by the codes of what went wrong.

    A breakdown outweighs a file that cannot be read.
    """
    if NonFiniteError.code in codes:
        return ExitCode.NON_FINITE
    return ExitCode.INPUT if codes else ExitCode.OK


class Interrupted(OrigError):
    """SIGINT or SIGTERM asked the run to stop; what was done is kept."""

    code = "interrupted"

    def __init__(self, signal_number: int) -> None:
        name = {2: "SIGINT", 15: "SIGTERM"}.get(signal_number, f"signal {signal_number}")
        super().__init__(f"stopped by {name}", "what was finished is kept; continue with --resume")
        self.exit_code = ExitCode(128 + signal_number)
