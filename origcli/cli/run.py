"""The options of a run, which nearly all commands share, and the decorator that gives them to a command.

    @command(takes=ALL - {"dry_run"})
    def invert(images: …, model: options.ModelOption = None, *, run: Run) -> int:
        with run.open(run.settings, target) as runtime: …

To the command line such a function has the options of `Run` as well as its own; in it they are one object,
whose `settings` hold what all options say that set something (`Sets`).
"""

import inspect
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from origcli.cli.binding import Presets, Sets, Tree, bindings, flag, option
from origcli.cli.options import COMPUTE, OUTPUT, RUN, Format
from origcli.cli.renamed import former_names
from origcli.presets import DEFAULT_PRESETS

if TYPE_CHECKING:
    from origcli.runtime.context import Runtime
    from origcli.runtime.progress import Progress, Task
    from origcli.runtime.run_place import Existing, RunPlace
    from origcli.settings import Settings


@dataclass(frozen=True)
class Run:
    """What was asked of a run. Every field that is annotated with an option is one of the command line."""

    out: Annotated[
        Path | None,
        option(
            "-o --out",
            "DIR",
            "Directory of the run: reports, images, checkpoints. [default: one under runs/]",
            RUN,
        ),
    ] = None
    resume: Annotated[bool, flag("--resume", "Resume the run in --out.", RUN)] = False
    force: Annotated[bool, flag("--force", "Overwrite --out: remove what earlier runs wrote there.", RUN)] = (
        False
    )
    dry_run: Annotated[
        bool,
        flag("--dry-run", "Print the plan and its cost; compute nothing.", RUN),
    ] = False
    preset: Annotated[
        str | None,
        option(
            "--preset",
            "NAMES",
            "Settings preset, or several: paper, small, fast, each layered on `paper`. "
            f"[default: {','.join(DEFAULT_PRESETS)}]",
            RUN,
            words=("paper", "small", "fast", "small,fast"),
            envvar="ORIGCLI_PRESET",
        ),
    ] = None
    config: Annotated[
        Path | None,
        option(
            "--config",
            "FILE",
            "TOML file with a table for each section of settings (origcli config show).",
            RUN,
            envvar="ORIGCLI_CONFIG",
        ),
    ] = None
    seed: Annotated[
        int | None,
        option("--seed", "N", "Random seed.", RUN),
        Sets("runtime.seed"),
    ] = None
    device: Annotated[
        str | None,
        option(
            "--device",
            "NAME",
            "auto, cpu, mps, cuda or cuda:N.",
            COMPUTE,
            words=("auto", "cpu", "mps", "cuda", "cuda:0"),
        ),
        Sets("runtime.device"),
    ] = None
    dtype: Annotated[
        str | None,
        option(
            "--dtype",
            "NAME",
            "auto, fp32, fp16 or bf16. auto: bf16 or fp16 on CUDA, fp32 elsewhere.",
            COMPUTE,
            words=("auto", "fp32", "fp16", "bf16"),
        ),
        Sets("runtime.dtype"),
    ] = None
    threads: Annotated[
        int | None,
        option("--threads", "N", "CPU threads.", COMPUTE),
        Sets("runtime.threads", unset="one per core"),
    ] = None
    compile: Annotated[
        bool | None,
        flag("--compile/--no-compile", "Compile the models first: slower to start, faster on CUDA.", COMPUTE),
        Sets("runtime.compile"),
    ] = None
    offline: Annotated[
        bool | None,
        flag("--offline/--online", "Use no network.", COMPUTE),
        Sets("runtime.offline"),
    ] = None
    form: Annotated[
        Format,
        option(
            "-f --format",
            "FORM",
            "What to write to stdout: table, json, jsonl, csv, or excel (csv with a byte order mark).",
            OUTPUT,
        ),
    ] = Format.table
    quiet: Annotated[
        bool,
        flag("-q --quiet", "No progress and no remarks on stderr.", OUTPUT),
    ] = False
    verbose: Annotated[bool, flag("-v --verbose", "Show the progress of each part.", OUTPUT)] = False
    flags: Tree = field(default_factory=dict)  # what the options of the command set, these included
    layered: Callable[[Presets], Presets] = lambda names: names

    @cached_property
    def settings(self) -> "Settings":
        """The effective settings: presets, --config, environment, options.

        Raises:
            UsageError: an unknown preset, or a value out of range.
        """
        from origcli.settings import preset_names, resolve

        names = self.layered(preset_names(self.preset) or DEFAULT_PRESETS)
        return resolve(self.flags, presets=names, config=self.config)[0]

    @cached_property
    def progress(self) -> "Progress":
        """Progress on stderr in the form that fits."""
        from origcli.runtime.progress import open_progress

        return open_progress(self.quiet, verbose=self.verbose)

    def starting(self) -> "AbstractContextManager[Task | None]":
        """What is shown while torch is imported, which takes seconds; nothing where it is loaded."""
        return nullcontext() if "torch" in sys.modules else self.progress.task("starting …", None)

    @property
    def existing(self) -> "Existing":
        """What to do with an --out that holds something."""
        from origcli.runtime.run_place import existing

        return existing(self.resume, self.force)

    def place(self, command: str, names: Sequence[str], **more: Any) -> "RunPlace":
        """Where a run of a command over the named images goes.

        Args:
            more: what changes results and is no setting; a run is resumed with the same.
        """
        from origcli.runtime.run_place import place_of, request_of

        request = request_of(command, self.settings, names, **more)
        return place_of(command, self.out, names, request, self.resume, self.force)

    def open(
        self, settings: "Settings", target: "Path | RunPlace | None"
    ) -> "AbstractContextManager[Runtime]":
        """Opens the device and the run directory; `None` for a command that writes none."""
        with self.starting():
            from origcli.runtime.context import open_runtime

        return open_runtime(settings.runtime, target, self.progress, self.existing)


COMPUTING = frozenset({"device", "dtype", "threads", "compile", "offline"})
ALL = frozenset(entry.name for entry in fields(Run)) - {"flags", "layered"}

Command = Callable[..., int | None]


def command(
    takes: Collection[str] = ALL, *, layered: Callable[[Presets], Presets] = lambda names: names
) -> Callable[[Command], Command]:
    """Gives a command the options of `Run`, and one `Run` of their values as its argument `run`.

    A parameter of the command's own that is called like one of `Run` takes its place, and its value goes
    into the `Run` too.

    Args:
        takes: the fields of `Run` that are options of this command.
        layered: from the presets that are asked for to those that the command takes.
    """
    assert set(takes) <= ALL, f"Run has no {set(takes) - ALL}"

    def decorate(function: Command) -> Command:
        written = inspect.signature(function, eval_str=True).parameters
        own = {name: parameter for name, parameter in written.items() if name != "run"}
        shared = [p for name, p in _SHARED.items() if name in takes and name not in own]
        parameters = [*own.values(), *shared]
        bound = bindings(parameters, layered)

        @wraps(function)
        def called(**values: Any) -> int | None:
            of_run = {name: value for name, value in values.items() if name in ALL}
            run = Run(**of_run, flags=bound.tree(values), layered=layered)
            return function(**{name: values[name] for name in own}, run=run)

        by_name = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        called.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined]
        called.bindings = bound  # type: ignore[attr-defined]
        called.former_names = former_names(parameters)  # type: ignore[attr-defined]
        return called

    return decorate


_SHARED = {
    name: parameter
    for name, parameter in inspect.signature(Run, eval_str=True).parameters.items()
    if name in ALL
}
