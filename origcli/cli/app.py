"""The `origcli` application: its commands, and how errors become exit statuses."""

import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from origcli.cli import (
    cache,
    calibrate,
    compare,
    config,
    demo,
    detect,
    doctor,
    draw,
    fetch,
    fixed_location,
    generalize,
    import_,
    invert,
    popularity,
    present,
    rarity,
    report,
    schema,
    score,
    synth,
    train_detector,
    train_transformer,
    train_unet,
    train_vae,
)
from origcli.cli.binding import flag
from origcli.cli.help import WIDEST, Command, Group
from origcli.cli.mistakes import usage_error
from origcli.errors import DeviceError, ExitCode, OrigError
from origcli.runtime.distributed import alone
from origcli.runtime.waiting import wait_asleep

HELP = """How original is an image to a text-to-image diffusion model? Measured in learned tokens.

\b
First steps:
  origcli demo                score two bundled images; no GPU, no download
  origcli doctor              check that this machine is ready
  origcli score photo.jpg     how many tokens the model needs to redraw an image
"""
EPILOG = "The manual: man origcli, man origcli-score …"

MEASURE = "Measure images"
TRAINING = "Models of shapes: data, training, counting"
STUDIES = "Reproduce the paper's study"
SETUP = "Setup"

app = typer.Typer(
    name="origcli",
    cls=Group,
    help=HELP,
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": WIDEST},
)

# A function is a command, an application is a group of them; in the order of `--help`.
_COMMANDS: dict[str, tuple[Callable[..., Any] | typer.Typer, ...]] = {
    MEASURE: (
        score.score,
        demo.demo,
        compare.compare,
        draw.draw,
        invert.invert,
        import_.import_,
        fetch.fetch,
        doctor.doctor,
        report.app,
    ),
    TRAINING: (
        synth.synth,
        train_vae.train_vae,
        train_unet.train_unet,
        train_transformer.train_transformer,
        train_detector.train_detector,
        detect.detect,
    ),
    STUDIES: (
        generalize.generalize,
        rarity.rarity,
        fixed_location.fixed_location,
        popularity.popularity,
    ),
    SETUP: (calibrate.calibrate, schema.schema, config.app, cache.app),
}
for _panel, _entries in _COMMANDS.items():
    for _entry in _entries:
        if isinstance(_entry, typer.Typer):
            app.add_typer(_entry, rich_help_panel=_panel)
            continue
        name = _entry.__name__.rstrip("_").replace("_", "-")  # `import` is a word of Python
        app.command(name, cls=Command, rich_help_panel=_panel)(_entry)


def _version(asked: bool) -> None:
    if asked:
        from origcli import __version__

        present.write(f"origcli {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, flag("--version", "Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with one of `ExitCode`."""
    present.prepare_streams()
    wait_asleep()  # before a command loads torch; workers and launches inherit it
    # Pillow's warnings name no file; what is wrong with an image is an error of ours, which does.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    if "_ORIGCLI_COMPLETE" in os.environ:
        # A TAB has to be quick. Typer would load Rich to strip markup from our help, which has none.
        sys.modules["rich"] = None  # type: ignore[assignment]
    command = typer.main.get_command(app)
    words = sys.argv[1:] if arguments is None else arguments
    trains = next((word for word in words if not word.startswith("-")), "").startswith("train-")
    try:
        with alone(trains):  # a launch of several processes is for training alone
            status = command.main(arguments, prog_name="origcli", standalone_mode=False)
    except OrigError as problem:
        _stop(problem, problem)
    except typer.TyperException as problem:
        _stop(usage_error(problem), problem)
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(int(ExitCode.SIGINT)) from None
    except (MemoryError, RuntimeError) as problem:
        if not _is_out_of_memory(problem):
            raise
        _stop(DeviceError("out of memory", "free some memory, or choose a smaller model or batch"), problem)
    raise SystemExit(status if isinstance(status, int) else ExitCode.OK)


def _is_out_of_memory(problem: BaseException) -> bool:
    """Whether memory ran out, on the device or the host, where no smaller batch could help."""
    if isinstance(problem, MemoryError) or "torch" not in sys.modules:  # torch alone knows, and is heavy
        return isinstance(problem, MemoryError)
    from origcli.runtime.memory import is_out_of_memory

    return is_out_of_memory(problem)


def _stop(problem: OrigError, cause: BaseException) -> NoReturn:
    """Says what is wrong and exits; ORIGCLI_DEBUG=1 shows where it came from as well."""
    present.error(problem, cause if os.environ.get("ORIGCLI_DEBUG", "0") not in ("", "0") else None)
    raise SystemExit(int(problem.exit_code))
