"""`--install-completion`: says what to add to a shell's start-up files, and writes none of them."""

import os
from pathlib import Path
from typing import Any

import typer

from origcli.cli import present

_EVALUATED = 'eval "$(_ORIGCLI_COMPLETE=source_{shell} origcli)"'
_WAYS = {
    "bash": ("add this line to ~/.bashrc", _EVALUATED.format(shell="bash")),
    "zsh": ("add this line to ~/.zshrc, after compinit", _EVALUATED.format(shell="zsh")),
    "fish": (
        "run this once",
        "_ORIGCLI_COMPLETE=source_fish origcli > ~/.config/fish/completions/origcli.fish",
    ),
    "powershell": (
        "add this line to $PROFILE",
        '$Env:_ORIGCLI_COMPLETE = "source_powershell"; origcli | Out-String | Invoke-Expression; '
        "$Env:_ORIGCLI_COMPLETE = $null",
    ),
}


def instructions(shell: str) -> str:
    """How to turn on completion in a shell; in all that are known, where it is another."""
    wanted = {shell: _WAYS[shell]} if shell in _WAYS else _WAYS
    return "".join(f"{name}: {what}\n  {line}\n" for name, (what, line) in wanted.items())


def show_instructions(context: Any, parameter: Any, asked: bool) -> None:
    """Prints them for the shell that the user logs in with."""
    if asked and not context.resilient_parsing:
        present.write(instructions(Path(os.environ.get("SHELL", "")).name))
        raise typer.Exit
