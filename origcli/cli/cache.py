"""`origcli cache`: show and clear what is kept between runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from origcli.cli import present
from origcli.cli.binding import argument
from origcli.cli.help import Command, Group
from origcli.cli.run import Run, command

app = typer.Typer(name="cache", cls=Group, help="Show and clear the cache.")

COLUMNS = ("section", "files", "megabytes", "holds", "path")


def _holds() -> dict[str, str]:
    """What each section of the cache holds, those of metrics included."""
    from origcli.perception import metrics
    from origcli.runtime.cache import SECTIONS

    holds = dict(SECTIONS)
    for metric in metrics.known():
        holds |= metric.sections
    return holds


def _sections(root: Path) -> list[dict[str, Any]]:
    holds = _holds()
    sections = []
    for section in sorted(path for path in root.iterdir() if path.is_dir()):
        sizes = [path.stat().st_size for path in section.rglob("*") if path.is_file()]
        sections.append(
            {
                "section": section.name,
                "files": len(sizes),
                "megabytes": round(sum(sizes) / 1e6, 3),
                "holds": holds.get(section.name),
                "path": str(section),
            }
        )
    return sections


@app.command("show", cls=Command)
@command({"form"})
def show(*, run: Run) -> None:
    """Print what the cache holds. Models of the Hugging Face hub are in its own cache.

    \b
    Example:
      origcli cache show --format json
    """
    from origcli.runtime.cache import cache_directory

    present.rows(_sections(cache_directory()), COLUMNS, run.form, drop=("path", "files"))


@app.command("clear", cls=Command)
def clear(
    sections: Annotated[
        list[str] | None,
        argument(
            "SECTION",
            "What to clear; see `origcli cache show`. [default: score]",
            autocompletion=lambda: list(_holds()),
        ),
    ] = None,
) -> None:
    """Delete cached results of scores, or other sections of the cache.

    What is needed later is computed or downloaded again.

    \b
    Examples:
      origcli cache clear
      origcli cache clear score dreamsim
    """
    import shutil

    from origcli.errors import UsageError, nearest
    from origcli.runtime.atomic import storage_error
    from origcli.runtime.cache import SCORES, cache_directory

    root = cache_directory()
    known = {section["section"]: section for section in _sections(root)}
    for name in sections or [SCORES]:
        if name not in known and name != SCORES:
            raise UsageError(f"the cache has no {name!r}", nearest(name, {SCORES, *known}))
        try:
            shutil.rmtree(root / name, ignore_errors=name not in known)
        except OSError as error:
            raise storage_error(root / name, error) from error
        freed = known.get(name, {"megabytes": 0.0})["megabytes"]
        present.write(f"{name}: {freed} MB freed\n")
