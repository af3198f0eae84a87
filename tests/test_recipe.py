"""The recipe of the bundled model: its commands are right, and one that stops stops it."""

import os
import subprocess
from pathlib import Path

import typer

from origcli.cli.app import app
from tests.docs.pages import ROOT, Block, origcli_words
from tests.docs.test_commands import parse

RECIPE = ROOT / "origcli" / "assets" / "train-shapes.sh"


def test_the_words_are_right_and_a_second_call_resumes() -> None:
    lines = Block(RECIPE, "", RECIPE.read_text("utf-8")).commands
    commands = [words for line in lines for words in origcli_words(line)]
    assert [words[0] for words in commands].count("train-unet") == 7
    for words in commands:
        parse(typer.main.get_command(app), "origcli", words)
        assert words[-1] == "--resume" or words[0] == "calibrate"


def test_it_ends_where_a_command_stops(tmp_path: Path) -> None:
    program = tmp_path / "origcli"
    program.write_text('#!/bin/sh\necho "$1" >> "$LOG"\n[ "$1" != train-unet ] || exit 130\n')
    program.chmod(0o755)
    log = tmp_path / "log"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}
    done = subprocess.run(["sh", RECIPE], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 130
    assert log.read_text().split() == ["synth", "synth", "train-vae", "train-vae", "train-unet"]


def test_make_runs_it() -> None:
    assert f"sh {RECIPE.relative_to(ROOT)}\n" in (ROOT / "Makefile").read_text("utf-8")
