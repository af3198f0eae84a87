"""Former names of options: still accepted, shown nowhere; a note says what the option is called now."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args


@dataclass(frozen=True, init=False)
class Formerly:
    """Marks an option, in its `Annotated`, with the names that it had."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


def former_names(parameters: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    """The former names of options, by the name of their parameter."""
    return {
        parameter.name: marker.names
        for parameter in parameters
        for marker in get_args(parameter.annotation)
        if isinstance(marker, Formerly)
    }


def current_words(
    words: Sequence[str], names: Mapping[str, str], taking: Collection[str]
) -> tuple[list[str], list[str]]:
    """The words of a command line with the names of today, and the former ones that were among them.

    Args:
        words: as they were typed.
        names: today's name of an option by a former one.
        taking: options whose value is the next word, which is no name then.
    """
    current: list[str] = []
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        former = _former(word, names)
        if former is not None:
            found.append(former)
            word = _replaced(word, former, names[former])
        current.append(word)
        if word == "--":
            current.extend(rest)
        elif word in taking:
            current.extend(_next(rest))
    return current, found


def _former(word: str, names: Mapping[str, str]) -> str | None:
    """The former name that a word begins with: `--images`, `--images=3`, `-M`, `-M3`."""
    name = word.partition("=")[0] if word.startswith("--") else word[:2]
    return name if name in names else None


def _replaced(word: str, former: str, name: str) -> str:
    value = word.removeprefix(former)
    return f"{name}={value.removeprefix('=')}" if value else name


def _next(words: Iterator[str]) -> Iterator[str]:
    """The next word, where there is one."""
    for word in words:
        yield word
        return
