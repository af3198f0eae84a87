"""Runs origcli as a user does, in a process of its own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("origcli")


def origcli(*words: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """`origcli WORDS`, its output as text."""
    options = {"capture_output": True, "text": True, "timeout": 120, **options}
    return subprocess.run([PROGRAM, *words], check=False, **options)


def commands() -> "dict[Sequence[str], Any]":
    """Words -> live command, for every command and every command of a group."""
    import typer

    from origcli.cli.app import app

    found: dict[Sequence[str], Any] = {}
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        inner = getattr(command, "commands", {})
        found |= {(name, child): inner[child] for child in inner}
        if not inner:
            found[(name,)] = command
    return found
