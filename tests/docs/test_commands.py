"""Every command in the README and the pages of docs/ is run, and those that cannot be here are parsed."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from origcli.cli.app import app
from tests.cli.command_line import PROGRAM, commands
from tests.docs.pages import NEEDS, PAGES, ROOT, Block, blocks, origcli_words

BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [(block.page.name, line) for block in BLOCKS for line in block.commands]

HEADINGS = 3  # lines of an output among which its heading is

# Enough of everything to go all the way, and no more.
TINY = {
    "ORIGCLI_SYNTH_COUNT": "60",
    "ORIGCLI_INVERT_STEPS": "2",
    "ORIGCLI_INVERT_BATCH_SIZE": "2",
    "ORIGCLI_SCORE_SAMPLES": "2",
    "ORIGCLI_SCORE_CEILING_SAMPLES": "8",  # fewer may be alike, and an image is then out of domain
    "ORIGCLI_SCORE_BOOTSTRAP": "20",
    "ORIGCLI_DRAW_STEPS": "5",  # fewer draw nothing
    "ORIGCLI_VAE_EPOCHS": "0.1",
    "ORIGCLI_VAE_HELD_OUT": "10",
    "ORIGCLI_TEXT_ENCODER_STEPS": "2",
    "ORIGCLI_UNET_EPOCHS": "0.1",
    "ORIGCLI_TRANSFORMER_EPOCHS": "0.1",
    "ORIGCLI_DETECTOR_EPOCHS": "0.1",
    "ORIGCLI_DETECTOR_HELD_OUT": "20",
    "ORIGCLI_RARITY_QUERIES": "2",
    "ORIGCLI_FIXED_LOCATION_QUERIES": "2",
    "ORIGCLI_POPULARITY_QUERIES": "2",
    "ORIGCLI_DEVICE": "cpu",
    "ORIGCLI_OFFLINE": "true",
}


def test_fences_say_what_they_need() -> None:
    assert {block.need for block in BLOCKS} <= set(NEEDS)


def test_no_command_hides_in_a_plain_fence() -> None:
    for page in PAGES:
        fence = ""
        for line in page.read_text("utf-8").splitlines():
            if line.startswith("```"):
                fence = "" if fence else line.removeprefix("```") or "text"
            elif line.startswith(("origcli ", "$ origcli ")):
                assert fence.startswith("sh"), f"{page.name}: {line}"


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda value: value)
def test_the_words_are_right(page: str, line: str) -> None:
    for words in origcli_words(line):
        parse(typer.main.get_command(app), "origcli", words)


def test_every_command_stands_in_a_page() -> None:
    shown = [" ".join(words) for _, line in COMMANDS for words in origcli_words(line)]
    absent = [
        " ".join(words)
        for words in commands()
        if not any(f"{s} ".startswith(f"{' '.join(words)} ") for s in shown)
    ]
    assert absent == []


def test_outputs_are_shown_of_what_every_test_run_runs() -> None:
    assert all(block.need == "" for block in BLOCKS if block.shown is not None)
    assert all(block.shown.strip() for block in BLOCKS if block.shown is not None)


def parse(command: Any, name: str, words: list[str], parent: Any = None) -> None:
    """Parses the words of a command as the program would, and stops before it does anything."""
    if not hasattr(command, "commands"):
        command.make_context(name, list(words), parent=parent)
        return
    if not words or words[0].startswith("-"):
        return
    context = command.make_context(name, list(words), parent=parent)
    inner, child, rest = command.resolve_command(context, list(words))
    parse(child, inner, rest, context)


def run_page(found: list[Block], directory: Path, **variables: str) -> None:
    """Runs the commands of some fences, one after the other, in a directory."""
    environment = {**os.environ, **variables, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    for block in found:
        printed = []
        for line in block.commands:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line],
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                timeout=1800,
            )
            assert done.returncode == 0, f"{block.page.name}: {line}\n{done.stdout}\n{done.stderr}"
            printed.append(done.stdout)
        if block.shown is not None:
            # Figures and verdicts differ with budgets and machines. Headings do not, but for columns that
            # tiny budgets leave empty, and that are then left out, and for those that a page has no room for.
            text = "".join(printed)
            # A line of nothing but a path, such as a report's, is like another such line alone.
            assert any(
                bool(one) == bool(line) and (one <= line or line <= one)
                for one in _first(text)
                for line in _first(block.shown)
            ), f"{block.page.name}: {block.commands[-1]} prints\n{text}\nwhich is not shown: make docs"


def _first(text: str) -> list[set[str]]:
    """The words of the first lines that are not blank."""
    lines = [line for line in text.splitlines() if line.strip()]
    return [set(_kind(line)) for line in lines[:HEADINGS]]


def _kind(line: str) -> list[str]:
    """The words of a line, each figure as good as another; no paths."""
    return [re.sub(r"\d+", "0", word) for word in line.split() if "/" not in word]


def needing(need: str) -> pytest.MarkDecorator:
    """The pages that have commands with such a need."""
    pages = [page for page in PAGES if any(block.need == need for block in blocks(page))]
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.name)


@needing("")
def test_the_commands_work(page: Path, tmp_path: Path) -> None:
    run_page([block for block in blocks(page) if block.need == ""], tmp_path, **TINY)


@pytest.mark.slow
@needing("slow")
def test_the_long_commands_work(page: Path, tmp_path: Path) -> None:
    run_page([block for block in blocks(page) if block.need in ("", "slow")], tmp_path, **TINY)


@pytest.mark.gpu
@pytest.mark.weights
@needing("gpu")
def test_the_commands_for_a_gpu_work(page: Path, tmp_path: Path) -> None:
    run_page([block for block in blocks(page) if block.need in ("", "gpu")], tmp_path)


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@needing("install")
def test_the_commands_that_install_are_right(page: Path) -> None:
    """make targets exist; what pip is told to install is there."""
    for block in blocks(page):
        if block.need != "install":
            continue
        for line in block.commands:
            words = line.split()
            if words[0] == "make":
                assert (
                    subprocess.run([*words, "-n"], cwd=ROOT, capture_output=True, timeout=60).returncode == 0
                )
            for word in words:
                if word.endswith(".txt"):
                    assert (ROOT / word).is_file()
