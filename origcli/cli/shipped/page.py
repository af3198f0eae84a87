"""docs/commands.md, written from `--help` of every command; its examples are commands that the tests parse."""

import re
from typing import Any

from origcli.cli.help import WIDEST, command_groups

_EXAMPLES = re.compile(r"^  Examples?:\n(?P<lines>(?:    .*\n)+)\n?", re.MULTILINE)
_BOLD = re.compile(r"\x1b\[\d+m")  # of headings, where this runs on a terminal
_HEAD = """# Commands

What `origcli COMMAND --help` says, for every command. This page is generated: `python -m origcli.cli.shipped
--update` writes it, and the tests compare it. [Usage](usage.md) shows the commands at work, with their output.
`man origcli` has exit statuses, environment variables and files as well.
"""


def command_page(command: Any) -> str:
    """The page, for an application and its commands."""
    context = command.make_context(command.name, [], resilient_parsing=True)
    parts = [_HEAD]
    for group, children in command_groups(command).items():
        parts.append(f"## {group}\n")
        parts.extend(part for child in children for part in _sections(child, context))
    return "\n".join(parts)


def _sections(command: Any, parent: Any) -> list[str]:
    """A command, or each command of a group."""
    context = command.make_context(
        command.name, [], parent=parent, resilient_parsing=True, terminal_width=WIDEST
    )
    children = getattr(command, "commands", None)
    if children is not None:
        return [part for child in children.values() for part in _sections(child, context)]

    text = f"{_BOLD.sub('', context.get_help()).strip()}\n"
    lines = (line for match in _EXAMPLES.finditer(text) for line in match["lines"].splitlines())
    examples = "".join(f"{line[4:]}\n" for line in lines)
    rest = re.sub(r"\n{3,}", "\n\n", _EXAMPLES.sub("", text))
    return [f"### {context.command_path}\n", f"```text\n{rest}```\n", f"```sh example\n{examples}```\n"]
