"""How `--help` is laid out: plain text under headings, the same on a terminal, in a log and in a pipe.

Options stand in the groups that their `rich_help_panel` names, commands in the groups of the
application. The manual pages are written from the same groups (`cli/shipped`).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from origcli.cli import mistakes, present
from origcli.cli.completion import show_instructions
from origcli.cli.options import COMPUTE, OUTPUT, RUN
from origcli.cli.renamed import current_words
from origcli.files import expanded

WIDEST = 100
ARGUMENTS = "Arguments"
OPTIONS = "Options"
COMMANDS = "Commands"
SHARED_GROUPS = (RUN, COMPUTE, OUTPUT)


def parameter_groups(command: Any, context: Any) -> dict[str, list[Any]]:
    """The visible parameters of a command by group: its own groups first, then those that all share."""
    groups: dict[str, list[Any]] = {ARGUMENTS: [], OPTIONS: []}
    for parameter in command.get_params(context):
        if not getattr(parameter, "hidden", False):
            usual = ARGUMENTS if parameter.param_type_name == "argument" else OPTIONS
            groups.setdefault(parameter.rich_help_panel or usual, []).append(parameter)
    for name in SHARED_GROUPS:
        groups[name] = groups.pop(name, [])
    help_option = groups[OPTIONS].pop()
    last = next((name for name in reversed(groups) if groups[name] and name != ARGUMENTS), OPTIONS)
    groups[last].append(help_option)  # --help comes last of all
    return {name: parameters for name, parameters in groups.items() if parameters}


def command_groups(group: TyperGroup) -> dict[str, list[Any]]:
    """The visible commands of an application by group, in the order of registration."""
    groups: dict[str, list[Any]] = {}
    for command in group.commands.values():
        if not command.hidden:
            groups.setdefault(getattr(command, "rich_help_panel", None) or COMMANDS, []).append(command)
    return groups


def summary(command: Any) -> str:
    """The first paragraph of a command's help, on one line."""
    return " ".join((command.help or "").strip().split("\n\n")[0].split())


def short_summary(command: Any) -> str:
    """The summary up to its first full stop, colon or semicolon: for a list of commands."""
    return re.split(r"(?<=[?])\s|[.:;](?:\s|$)", summary(command))[0]


@contextmanager
def _section(formatter: Any, name: str) -> Iterator[None]:
    with formatter.section(present.heading(name)):
        yield


def _write_parameters(command: Any, context: Any, formatter: Any) -> None:
    for name, parameters in parameter_groups(command, context).items():
        with _section(formatter, name):
            formatter.write_dl([help_record(parameter, context) for parameter in parameters])


def argument_name(argument: Any) -> str:
    """An argument as the usage line and the list of arguments call it."""
    return argument.display_name_raw.rstrip("…").upper() + ("..." if argument.nargs != 1 else "")


def help_record(parameter: Any, context: Any) -> tuple[str, str]:
    """The names of an option or argument, and what is said of it: its help, then its default.

    The default of an option that sets something is that of the setting (`Sets`), read from the presets.
    """
    names, text = parameter.get_help_record(context)
    if parameter.param_type_name == "argument":
        names = argument_name(parameter)
    bound = getattr(context.command.callback, "bindings", None)
    default = bound.default(parameter) if bound is not None else ""
    return names, f"{text} [default: {default}]" if default else text


def _write_commands(commands: Iterable[Any], formatter: Any, column: int) -> None:
    rows = [(command.name.ljust(column), short_summary(command)) for command in commands]
    formatter.write_dl(rows)


def _printed(option: Any) -> Any:
    """`--help` that writes where all results go: to a pipe that closes, to a disk that is full."""
    if option is not None:
        option.callback = _show_help
    return option


def _show_help(context: Any, parameter: Any, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        present.write(f"{context.get_help()}\n")
        raise typer.Exit


def _at_home(value: Any) -> Any:
    """A value of the command line with `~` expanded, which a shell does not do in `--out=~/o`."""
    if isinstance(value, Path):
        return Path(expanded(str(value)))
    if isinstance(value, list | tuple):
        return type(value)(_at_home(each) for each in value)
    return expanded(value) if type(value) is str else value  # members of an Enum stay what they are


class Command(TyperCommand):
    """A command whose options are listed in groups."""

    def get_help_option(self, ctx: Any) -> Any:
        """`--help`, printed as all results are."""
        return _printed(super().get_help_option(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the usage line after the command's."""
        pieces = ["[OPTIONS]"]
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            if parameter.param_type_name == "argument":
                name = argument_name(parameter)
                pieces.append(name if parameter.required else f"[{name}]")
            elif parameter.required:
                pieces.append(f"{max(parameter.opts, key=len)} {parameter.display_type_rich(ctx)}")
        return pieces

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """A mistake among the words is one of this command's; `~` in any of them is a home directory."""
        options: list[Any] = [
            parameter for parameter in self.get_params(ctx) if parameter.param_type_name == "option"
        ]
        former = getattr(self.callback, "former_names", {})
        names = {
            old: max(parameter.opts, key=len)
            for parameter in options
            for old in former.get(parameter.name, ())
        }
        taking = {name for parameter in options if not parameter.is_flag for name in parameter.opts}
        words, found = current_words(args, names, taking)
        with mistakes.about(ctx):
            rest = super().parse_args(ctx, words)
        if not (ctx.resilient_parsing or ctx.params.get("quiet")):
            present.remark(*(f"{old} is now called {names[old]}" for old in found))
        ctx.params = {name: _at_home(value) for name, value in ctx.params.items()}
        return rest

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the groups of arguments and options."""
        _write_parameters(self, ctx, formatter)


class Group(TyperGroup):
    """Commands in groups, then options; without a command it prints its help."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Typer's `--install-completion` would write to the user's start-up files; ours says what to add."""
        parameters: list[Any] = super().get_params(ctx)
        for parameter in parameters:
            if parameter.name == "install_completion":
                parameter.callback = show_instructions
                parameter.help = "Print how to turn on completion in your shell."
        return parameters

    def get_help_option(self, ctx: Any) -> Any:
        """`--help`, printed as all results are."""
        return _printed(super().get_help_option(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the groups of commands, then the options."""
        column = max((len(name) for name in self.commands), default=0)
        for name, commands in command_groups(self).items():
            with _section(formatter, name):
                _write_commands(commands, formatter, column)
        _write_parameters(self, ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Asks for help where no command is given."""
        with mistakes.about(ctx):
            return super().parse_args(ctx, args or ([] if ctx.resilient_parsing else ["--help"]))
