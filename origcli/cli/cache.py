"""`origcli cache`: what is kept between runs, and how to be rid of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from origcli.cli import present
from origcli.cli.binding import argument
from origcli.cli.help import Command, Group
from origcli.cli.run import Run, command

app = typer.Typer(name="cache", cls=Group, help="See and clear what is kept between runs.")

COLUMNS = ("room", "files", "megabytes", "holds", "path")


def _holds() -> dict[str, str]:
    """What each room holds, those of metrics among them."""
    from origcli.perception import metrics
    from origcli.runtime.cache import ROOMS

    holds = dict(ROOMS)
    for metric in metrics.known():
        holds |= metric.rooms
    return holds


def _rooms(root: Path) -> list[dict[str, Any]]:
    holds = _holds()
    rooms = []
    for room in sorted(path for path in root.iterdir() if path.is_dir()):
        sizes = [path.stat().st_size for path in room.rglob("*") if path.is_file()]
        rooms.append(
            {
                "room": room.name,
                "files": len(sizes),
                "megabytes": round(sum(sizes) / 1e6, 3),
                "holds": holds.get(room.name),
                "path": str(room),
            }
        )
    return rooms


@app.command("show", cls=Command)
@command({"form"})
def show(*, run: Run) -> None:
    """Print what the cache holds. Models of the Hugging Face hub are in its own cache.

    \b
    Example:
      origcli cache show --format json
    """
    from origcli.runtime.cache import cache_directory

    present.rows(_rooms(cache_directory()), COLUMNS, run.form)


@app.command("clear", cls=Command)
def clear(
    rooms: Annotated[
        list[str] | None,
        argument(
            "ROOM",
            "What to clear; see `origcli cache show`. [default: score]",
            autocompletion=lambda: list(_holds()),
        ),
    ] = None,
) -> None:
    """Remove results of scores, or other rooms, from the cache; what is needed again is made again.

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
    known = {room["room"]: room for room in _rooms(root)}
    for name in rooms or [SCORES]:
        if name not in known and name != SCORES:
            raise UsageError(f"the cache has no {name!r}", nearest(name, {SCORES, *known}))
        try:
            shutil.rmtree(root / name, ignore_errors=name not in known)
        except OSError as error:
            raise storage_error(root / name, error) from error
        freed = known.get(name, {"megabytes": 0.0})["megabytes"]
        present.write(f"{name}: {freed} MB freed\n")
