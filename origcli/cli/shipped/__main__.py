"""`python -m origcli.cli.shipped --check | --update`: what a source checkout holds that the commands say.

completions/, man/ and docs/commands.md.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from origcli.cli import present
from origcli.cli.app import app
from origcli.cli.shipped.completions import completion_scripts
from origcli.cli.shipped.man import manual_pages
from origcli.cli.shipped.page import command_page

ROOT = Path(__file__).parents[3]


def shipped_files() -> dict[Path, str]:
    """Path in the checkout -> text, of every file that is written from the commands."""
    scripts = {Path("completions") / name: text for name, text in completion_scripts().items()}
    command = typer.main.get_command(app)
    pages = {Path("man") / name: text for name, text in manual_pages(command).items()}
    return scripts | pages | {Path("docs/commands.md"): command_page(command)}


def stale_files(root: Path = ROOT) -> list[Path]:
    """The files that differ from what the commands say, are missing, or belong to no command."""
    wanted = shipped_files()
    present_files = {
        path.relative_to(root) for folder in ("completions", "man") for path in (root / folder).glob("*")
    }
    return sorted(
        path
        for path in wanted.keys() | present_files
        if path not in wanted
        or not (root / path).is_file()
        or (root / path).read_bytes() != wanted[path].encode()
    )


def update_files(root: Path = ROOT) -> None:
    """Writes what is stale, and removes what belongs to no command."""
    wanted = shipped_files()
    for path in stale_files(root):
        if path in wanted:
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(wanted[path].encode())
        else:
            (root / path).unlink()


def main(
    update: Annotated[bool, typer.Option("--update", help="Write the files.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail where a file is stale.")] = False,
) -> None:
    """Write or check completions/, man/ and docs/commands.md."""
    if update:
        update_files()
    if stale := stale_files():
        present.write("".join(f"stale: {path}\n" for path in stale))
        sys.exit("run: python -m origcli.cli.shipped --update")


if __name__ == "__main__":
    typer.run(main)
