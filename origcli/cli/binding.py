"""How options are declared, and which setting an option sets: said once, beside the option.

    samples: Annotated[int | None, option("--samples", "N", "Number …"), Sets("score.samples")] = None

What the settings of a call are, and the default that `--help` shows, both follow from that marker.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import typer

from origcli.presets import DEFAULT_PRESETS

Tree = dict[str, dict[str, Any]]  # section -> field -> value
Presets = Sequence[str]


def argument(metavar: str, text: str, *, words: Sequence[str] = (), **rest: Any) -> Any:
    """A word of the command itself, or several; `words` as of an `option`."""
    if words:
        rest["autocompletion"] = lambda: list(words)
    return typer.Argument(metavar=metavar, help=text, show_default=False, **rest)


def option(
    names: str, metavar: str, text: str, group: str | None = None, *, words: Sequence[str] = (), **rest: Any
) -> Any:
    """An option that takes a value.

    Args:
        names: separated by spaces, such as `-o --out`.
        metavar: what stands for the value in `--help`.
        text: what `--help` says of it; its default comes from `Sets`.
        group: the heading that it stands under; by default "Options".
        words: values that a TAB offers.
        rest: as `typer.Option` takes it.
    """
    if words:
        rest["autocompletion"] = lambda: list(words)
    return typer.Option(*names.split(), metavar=metavar, help=text, rich_help_panel=group, **rest)


def flag(names: str, text: str, group: str | None = None, **rest: Any) -> Any:
    """An option that takes no value; `--yes/--no` is one that can be refused."""
    return typer.Option(*names.split(), help=text, rich_help_panel=group, **rest)


@dataclass(frozen=True)
class Sets:
    """Marks an option, in its `Annotated`, as the flag of a setting.

    Args:
        setting: `section.field`.
        convert: from what was typed to the setting's value.
        unset: what happens where neither the option nor a preset gives a value, for `--help`.
    """

    setting: str
    convert: Callable[[Any], Any] | None = None
    unset: str = ""

    @property
    def path(self) -> tuple[str, str]:
        """Section and field."""
        section, _, field = self.setting.partition(".")
        return section, field

    def value(self, typed: Any) -> Any:
        """The setting's value of what was typed; `None` where nothing was."""
        if typed is None or typed == []:
            return None
        return typed if self.convert is None else self.convert(typed)


@dataclass(frozen=True)
class Bindings:
    """The options of a command that set something.

    Args:
        sets: by the name of the parameter.
        presets: from the presets that were named, if any, to those that the command takes.
    """

    sets: Mapping[str, Sets]
    presets: Callable[[Presets], Presets]

    def tree(self, values: Mapping[str, Any]) -> Tree:
        """The settings that a call gives, from the values of its parameters."""
        tree: Tree = {}
        for name, sets in self.sets.items():
            value = sets.value(values[name])
            if value is not None:
                section, field = sets.path
                tree.setdefault(section, {})[field] = value
        return tree

    def default(self, option: Any) -> str:
        """What holds without an option, as `--help` says it; empty where there is nothing to say."""
        sets = self.sets.get(option.name)
        if sets is None or option.default is not None:  # of the latter Typer tells the default itself
            return ""
        usual = _shown(self._value(sets, DEFAULT_PRESETS), option, sets.unset)
        paper = _shown(self._value(sets, ("paper",)), option, sets.unset)
        return usual if usual == paper else f"{usual}; paper: {paper}"

    def _value(self, sets: Sets, presets: Presets) -> Any:
        from origcli.settings import resolve

        section, field = sets.path
        settings, _ = resolve(presets=self.presets(presets), environment={})
        return getattr(getattr(settings, section), field)


def bindings(
    parameters: Iterable[inspect.Parameter], presets: Callable[[Presets], Presets] = lambda names: names
) -> Bindings:
    """The markers of a command's parameters."""
    markers = {
        parameter.name: marker
        for parameter in parameters
        for marker in get_args(parameter.annotation)
        if isinstance(marker, Sets)
    }
    return Bindings(markers, presets)


def _shown(value: Any, option: Any, unset: str) -> str:
    """A setting's value as one would type it."""
    match value:
        case None | ():
            return unset
        case bool():
            names = option.opts if value else option.secondary_opts
            return names[0].lstrip("-") if names and option.secondary_opts else ""
        case float():
            return f"{value:g}".replace("e-0", "e-")
        case tuple():
            return ",".join(map(str, value))
    return str(value)
