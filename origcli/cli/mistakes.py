"""What Typer complains of in the words of a command, as errors of ours that name a remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import typer

from origcli.errors import UsageError, nearest


@contextmanager
def about(context: Any) -> Iterator[None]:
    """Lets a complaint know which command it is about: those of the parser itself do not."""
    try:
        yield
    except typer.TyperException as problem:
        if getattr(problem, "ctx", None) is None:
            problem.ctx = context  # type: ignore[attr-defined]
        raise


def usage_error(problem: typer.TyperException) -> UsageError:
    """A complaint of Typer's. Its suggestions of nearest commands and options are in its message."""
    context: Any = getattr(problem, "ctx", None)
    see = f"see {context.command_path if context is not None else 'origcli'} --help"
    parameter = getattr(problem, "param", None)
    faults = getattr(problem.__cause__, "errors", None)  # pydantic's
    if parameter is None or faults is None:
        return UsageError(problem.format_message(), see)
    first = faults()[0]
    given = f"{max(parameter.opts, key=len)} = {first['input']!r}"
    if words := _choices(parameter):
        may_be = f"should be one of {', '.join(words)}"
        return UsageError(f"{given}: {may_be}", nearest(str(first["input"]), words))
    return UsageError(f"{given}: {first['msg'].removeprefix('Input ').partition(', unable')[0]}", see)


def _choices(parameter: Any) -> list[str]:
    """The words of which an option takes one; empty where it takes others."""
    kind = parameter.type_descriptor.annotation
    return [str(member.value) for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
