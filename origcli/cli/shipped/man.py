"""Manual pages, written from the commands themselves: one for origcli, one for each command."""

import inspect
from typing import Any

import origcli
from origcli.cli.help import argument_name, command_groups, help_record, parameter_groups, summary
from origcli.cli.shipped import roff
from origcli.errors import ExitCode
from origcli.settings import VARIABLES

EXIT_STATUS = {
    ExitCode.OK: "done",
    ExitCode.BUG: "a bug in origcli; please report it",
    ExitCode.USAGE: "the words of the command, or settings that do not go together",
    ExitCode.INPUT: "an image, list, data set or report that cannot be read; the others were processed",
    ExitCode.MODEL: "a model, detector or metric is missing or damaged, or cannot be fetched",
    ExitCode.DEVICE: "the device is not there, or memory ran out with one sample at a time",
    ExitCode.IO: "the disk is full, or a directory or stdout cannot be written",
    ExitCode.LOCKED: "another run is at work in the directory",
    ExitCode.NON_FINITE: "a loss or an image became NaN or infinite",
    ExitCode.UNMEASURED: "score could not measure an image, or a --fail-if condition could not judge one; "
    "--allow-unmeasured: no failure",
    ExitCode.GATE: "a --fail-if condition held",
    ExitCode.SIGINT: "stopped by SIGINT; what was finished is kept",
    ExitCode.SIGTERM: "stopped by SIGTERM; what was finished is kept",
}
EXIT_ORDER = "Where several of 3, 8, 9 and 10 apply to one run, the status is the first of 10, 8, 3, 9."
ENVIRONMENT = {
    **VARIABLES,
    "HF_HOME": "directory of the Hugging Face hub, whose cache holds fetched models",
    "NO_COLOR": "no colors",
    "FORCE_COLOR": "colors, also in a pipe",
    "OMP_WAIT_POLICY": "how CPU threads wait for each other; commands set PASSIVE, so that they sleep, "
    "unless this, GOMP_SPINCOUNT or KMP_BLOCKTIME is set",
}
FILES = {
    "runs/": "where runs go unless --out says otherwise: reports, images, checkpoints, run.json",
    "origcli.toml": "a usual name of the --config file; `origcli config show --toml` prints one",
    "~/.cache/origcli/": "what is fetched or computed once and kept: weights, constants, features",
    "~/.cache/huggingface/hub/": "models of the Hugging Face hub",
}
PRECEDENCE = (
    "Every setting that `origcli config show` lists has a variable, named after its section and itself: "
    "ORIGCLI_SCORE_SAMPLES sets score.samples. Those of the section runtime need no section: ORIGCLI_DEVICE. "
    "A flag goes before a variable, a variable before the --config file, and that before the preset."
)


def manual_pages(command: Any) -> dict[str, str]:
    """File name -> page, for an application and its commands."""
    context = command.make_context(command.name, [], resilient_parsing=True)
    pages = {f"{command.name}.1": _main_page(command, context)}
    for child in command.commands.values():
        if not child.hidden:
            name = f"{command.name}-{child.name}"
            pages[f"{name}.1"] = _command_page(name, child, _child_context(child, context))
    return pages


def _child_context(command: Any, parent: Any) -> Any:
    return command.make_context(command.name, [], parent=parent, resilient_parsing=True)


def _main_page(command: Any, context: Any) -> str:
    commands = "".join(
        roff.subsection(
            group, roff.items((roff.bold(f"{command.name}-{c.name}(1)"), summary(c)) for c in children)
        )
        for group, children in command_groups(command).items()
    )
    others = (c for children in command_groups(command).values() for c in children)
    return "".join(
        [
            *_head(command.name, command),
            roff.section("Synopsis", _synopsis(command, context)),
            roff.section("Description", _description(command)),
            roff.section("Commands", commands),
            roff.section("Options", _options(command, context)),
            _exit_status(),
            _environment(),
            _files(),
            roff.section("Examples", _examples(command)),
            roff.section("See also", _see_also(f"{command.name}-{c.name}" for c in others)),
        ]
    )


def _command_page(name: str, command: Any, context: Any) -> str:
    children = getattr(command, "commands", {}).values()
    contexts = [(child, _child_context(child, context)) for child in children]
    return "".join(
        [
            *_head(name, command),
            roff.section(
                "Synopsis",
                *(_synopsis(c, x) for c, x in contexts or [(command, context)]),
            ),
            roff.section(
                "Description",
                _description(command),
                *(roff.subsection(x.command_path, _description(c)) for c, x in contexts),
            ),
            roff.section(
                "Options",
                _options(command, context),
                *(roff.subsection(x.command_path, _options(c, x, nested=True)) for c, x in contexts),
            ),
            _exit_status(),
            _environment(),
            _files(),
            roff.section("Examples", _examples(command), *(_examples(c) for c, _ in contexts)),
            roff.section("See also", _see_also(["origcli"])),
        ]
    )


def _head(name: str, command: Any) -> tuple[str, str]:
    line = summary(command).rstrip(".")
    return (
        roff.title(name, origcli.__version__),
        roff.section("Name", f"{roff.words(name)} \\- {roff.escape(line[0].lower() + line[1:])}\n"),
    )


def _synopsis(command: Any, context: Any) -> str:
    pieces = " ".join(roff.italic(piece) for piece in command.collect_usage_pieces(context))
    return f".PP\n{roff.bold(context.command_path)} {pieces}\n"


def _paragraphs(command: Any) -> list[str]:
    """The help of a command but for its first paragraph, which is the name line."""
    return inspect.cleandoc(command.help or "").partition("\f")[0].split("\n\n")


def _is_example(paragraph: str) -> bool:
    return paragraph.startswith(("\b\nExample", "\b\nFirst steps"))


def _description(command: Any) -> str:
    return "".join(
        roff.verbatim(paragraph.removeprefix("\b\n"))
        if paragraph.startswith("\b\n")
        else roff.paragraph(paragraph)
        for paragraph in _paragraphs(command)
        if not _is_example(paragraph)
    )


def _examples(command: Any) -> str:
    lines = [p.split("\n", 2)[2] for p in _paragraphs(command) if _is_example(p)]
    return "".join(roff.verbatim(inspect.cleandoc(line)) for line in lines)


def _options(command: Any, context: Any, nested: bool = False) -> str:
    parts = []
    for group, parameters in parameter_groups(command, context).items():
        entries = roff.items(_entry(parameter, context) for parameter in parameters)
        heading = f".PP\n{roff.italic(group)}\n" if nested else f'.SS "{roff.escape(group)}"\n'
        parts.append(heading + entries)
    return "".join(parts)


def _entry(parameter: Any, context: Any) -> tuple[str, str]:
    """The tag and the text of an option or argument; the text is what `--help` says of it."""
    _, text = help_record(parameter, context)
    if parameter.param_type_name == "argument":
        return roff.italic(argument_name(parameter)), text
    names = sorted(parameter.opts, key=len) + parameter.secondary_opts
    kind = "" if parameter.is_flag or parameter.count else parameter.display_type_rich(context).strip("<>")
    return f"{', '.join(map(roff.bold, names))}{f' {roff.italic(kind)}' if kind else ''}", text


def _exit_status() -> str:
    pairs = ((roff.bold(str(int(code))), text) for code, text in EXIT_STATUS.items())
    return roff.section("Exit status", roff.items(pairs), roff.paragraph(EXIT_ORDER))


def _environment() -> str:
    pairs = ((roff.bold(name), text) for name, text in ENVIRONMENT.items())
    return roff.section("Environment", roff.paragraph(PRECEDENCE), roff.items(pairs))


def _files() -> str:
    return roff.section("Files", roff.items((roff.italic(name), text) for name, text in FILES.items()))


def _see_also(names: Any) -> str:
    return ".PP\n" + ",\n".join(f"{roff.bold(name)}(1)" for name in names) + "\n"
