"""Runs origcli as a user does, in a separate process or in this one."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROGRAM = Path(sys.executable).with_name("origcli")


def origcli(*words: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """`origcli WORDS`, its output as text."""
    options = {"capture_output": True, "text": True, "timeout": 120, **options}
    return subprocess.run([PROGRAM, *words], check=False, **options)


class Ran(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


def run_here(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Ran:
    """`origcli WORDS` in this process, where a test may have changed something."""
    from origcli.cli.app import main

    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    return Ran(int(stopped.value.code or 0), captured.out, captured.err)


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
