"""`origcli config`: the effective settings, and where each of them came from."""

import json
from typing import Annotated, Any

import typer

from origcli.cli import options, present
from origcli.cli.binding import argument, flag
from origcli.cli.help import Command, Group
from origcli.cli.run import Run, command
from origcli.errors import UsageError, nearest

app = typer.Typer(name="config", cls=Group, help="Show the settings that presets, files and variables give.")

COLUMNS = ("setting", "value", "origin", "variable")


@app.command("show", cls=Command)
@command({"preset", "config", "form"})
def show(
    section: Annotated[
        str | None,
        argument("SECTION", "Show this section alone, e.g. score.", autocompletion=lambda: _sections()),
    ] = None,
    toml: Annotated[bool, flag("--toml", "Print a configuration file to start from (--config).")] = False,
    *,
    run: Run,
) -> None:
    """Print every setting, where it came from, and the variable that would change it.

    Flags of a command come on top of these. Precedence: flag, environment (ORIGCLI_*), --config, preset.

    \b
    Examples:
      origcli config show
      origcli config show score --preset paper
      origcli config show invert --toml > origcli.toml
      ORIGCLI_SCORE_SAMPLES=8 origcli config show score --format json
    """
    from origcli.settings import preset_names, resolve, variables_of

    settings, origins = resolve(presets=preset_names(run.preset), config=run.config)
    values = settings.model_dump(mode="json")
    if section is not None:
        if section not in values:
            raise UsageError(f"unknown section {section!r}", nearest(section, values))
        values = {section: values[section]}
    if toml:
        present.write(_toml(values))
        return
    rows = [
        {
            "setting": f"{name}.{field}",
            "value": value if run.form in (options.Format.json, options.Format.jsonl) else _shown(value),
            "origin": origins[f"{name}.{field}"],
            "variable": variables_of(name, field)[-1],
        }
        for name, table in values.items()
        for field, value in table.items()
    ]
    present.rows(rows, COLUMNS, run.form, drop=("variable", "origin"))


def _sections() -> list[str]:
    from origcli.settings import Settings

    return list(Settings.model_fields)


def _shown(value: Any) -> str:
    """A value as TOML writes it; nothing where it is not set."""
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _toml(values: dict[str, dict[str, Any]]) -> str:
    """The tables as TOML, whose strings, numbers, truth values and arrays are JSON's."""
    lines = []
    for section, table in values.items():
        lines.append(f"[{section}]")
        lines.extend(
            f"# {field} = " if value is None else f"{field} = {_shown(value)}"
            for field, value in table.items()
        )
        lines.append("")
    return "\n".join(lines)
