"""`origcli schema`: the JSON Schema of a command's report."""

from importlib import resources
from typing import Annotated

from origcli.cli import present
from origcli.cli.binding import argument
from origcli.errors import UsageError, nearest


def _names() -> list[str]:
    """The commands that write a report; read from the published files, so that it costs no import."""
    directory = resources.files("origcli") / "reports" / "schemas"
    return sorted(file.name.removesuffix(".json") for file in directory.iterdir())


def schema(
    command: Annotated[
        str | None,
        argument("COMMAND", "The command whose report it describes.", autocompletion=_names),
    ] = None,
) -> None:
    """Print the JSON Schema of a command's report; without a command, the commands that have one.

    \b
    Examples:
      origcli schema
      origcli schema score > score.schema.json
    """
    names = _names()
    if command is None:
        present.write("".join(f"{name}\n" for name in names))
        return
    if command not in names:
        raise UsageError(f"no report of {command!r}", nearest(command, names))
    file = resources.files("origcli") / "reports" / "schemas" / f"{command}.json"
    present.write(file.read_text("utf-8"))
