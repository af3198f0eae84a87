"""The `origcli` application: its commands, and how errors become exit statuses."""

import importlib
import os
import sys
from typing import Annotated, Any

import typer

from origcli.errors import ExitCode, OrigError

EPILOG = "Start with: origcli score photo.jpg   (manual: man origcli)"

app = typer.Typer(
    name="origcli",
    help="How original is an image to a text-to-image diffusion model? Measured in learned tokens.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Until every command is there; plain imports follow.
_COMMANDS = (
    "score",
    "invert",
    "draw",
    "detect",
    "calibrate",
    "synth",
    "train-vae",
    "train-unet",
    "train-detector",
    "generalize",
    "fetch",
    "doctor",
)
for _name in _COMMANDS:
    _module = _name.replace("-", "_")
    try:
        _function = getattr(importlib.import_module(f"origcli.cli.{_module}"), _module)
    except Exception as _problem:
        if "ORIGCLI_DEBUG" in os.environ:
            print(f"{_name}: {_problem!r}", file=sys.stderr)
    else:
        app.command(_name)(_function)


def _version(asked: bool) -> None:
    if asked:
        from origcli import __version__
        from origcli.cli import present

        present.write(f"origcli {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with one of `ExitCode`."""
    from origcli.cli import present

    command = typer.main.get_command(app)
    try:
        status: Any = command.main(arguments, prog_name="origcli", standalone_mode=False)
    except OrigError as problem:
        present.error(problem)
        raise SystemExit(int(problem.exit_code)) from (problem if "ORIGCLI_DEBUG" in os.environ else None)
    except KeyboardInterrupt:
        raise SystemExit(int(ExitCode.SIGINT)) from None
    except typer.Abort:
        raise SystemExit(int(ExitCode.SIGINT)) from None
    except Exception as problem:
        if hasattr(problem, "format_message") and hasattr(problem, "exit_code"):
            problem.show(file=sys.stderr)  # Typer's own usage errors, with its nearest-word suggestions
            raise SystemExit(int(ExitCode.USAGE)) from None
        raise
    raise SystemExit(status if isinstance(status, int) else 0)
