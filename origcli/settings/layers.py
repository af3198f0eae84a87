"""How presets, files, environment and flags fill the sections.

Precedence, lowest first: presets, the `--config` file, `ORIGCLI_SECTION_FIELD` variables, flags.
The base is always `paper.toml`, which is complete; `small.toml` (scale of data and models) and
`fast.toml` (how long to invert) are layered on it.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from origcli.errors import InputError, UsageError, nearest
from origcli.files import expanded, read_text
from origcli.presets import DEFAULT_PRESETS, PRESETS
from origcli.settings.sections import Section, Settings

# Variables of the environment that are not settings; see `origcli --help` and the manual.
VARIABLES = {
    "ORIGCLI_CACHE": "directory of cached features and constants",
    "ORIGCLI_CONFIG": "the --config file",
    "ORIGCLI_DEBUG": "1: an error shows its traceback",
    "ORIGCLI_MIRROR": "address that serves published weights in place of their publishers",
    "ORIGCLI_PRESET": "the --preset",
}

# Names that settings had, which files, variables and programs may still use.
FORMER_NAMES = {
    "score": {"images": "samples", "ceiling_images": "ceiling_samples"},
    "generalize": {"images": "samples"},
    "fixed_location": {"images": "samples"},
}


class Origins(dict[str, str]):
    """Where each effective value came from: `section.field` -> "preset paper", "environment", "flag" …"""


def preset_names(text: str | None) -> tuple[str, ...] | None:
    """The presets that `small,fast` names; `None` names none."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


@cache
def preset_values(name: str) -> dict[str, dict[str, Any]]:
    """The tables of one preset file."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}", nearest(name, PRESETS))
    text = resources.files("origcli.presets").joinpath(f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text)


def config_values(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file.

    Raises:
        InputError: the file is missing, not UTF-8 or not TOML.
        UsageError: it names a section or a field that there is not.
    """
    text = read_text(path)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    for section, table in values.items():
        if section not in Settings.model_fields or not isinstance(table, dict):
            raise UsageError(f"{path}: unknown section [{section}]", nearest(section, Settings.model_fields))
        values[section] = current_names(section, table)
        for field in values[section]:
            if field not in fields_of(section):
                raise UsageError(f"{path}: [{section}] has no {field!r}", nearest(field, fields_of(section)))
    return values


def current_names(section: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a section under the names of today.

    Raises:
        UsageError: a setting is given under both of its names.
    """
    former = FORMER_NAMES.get(section, {})
    for old, name in former.items():
        if old in table and name in table:
            raise UsageError(f"{section}.{name} is set twice: {old} is its former name", f"leave out {old}")
    return {former.get(name, name): value for name, value in table.items()}


def fields_of(section: str) -> dict[str, FieldInfo]:
    """The fields of a section."""
    annotation = Settings.model_fields[section].annotation
    assert isinstance(annotation, type) and issubclass(annotation, Section)
    return annotation.model_fields


def environment_values(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """`ORIGCLI_SCORE_SAMPLES=8` sets `score.samples`; `runtime` needs no name (`ORIGCLI_DEVICE`).

    A variable that is empty counts as not set.

    Raises:
        UsageError: a variable starts with `ORIGCLI_` and sets nothing: a setting that is misspelt
            and ignored would be a wrong result.
    """
    values: dict[str, dict[str, Any]] = {}
    known = {*VARIABLES}
    accepted = {*known}
    for section in Settings.model_fields:
        fields = fields_of(section)
        former = FORMER_NAMES.get(section, {})
        for name in (*fields, *former):
            for variable in variables_of(section, name):
                accepted.add(variable)
                if name in fields:
                    known.add(variable)
                if environment.get(variable, "").strip():
                    field = fields[former.get(name, name)]
                    values.setdefault(section, {})[name] = _parse(environment[variable], field)
    for variable in environment:
        if variable.startswith("ORIGCLI_") and variable not in accepted and environment[variable].strip():
            raise UsageError(f"the environment variable {variable} sets nothing", nearest(variable, known))
    return {section: current_names(section, table) for section, table in values.items()}


def variables_of(section: str, field: str) -> tuple[str, ...]:
    """The environment variables that set a field; where there are two, the latter wins."""
    long = f"ORIGCLI_{section}_{field}".upper()
    return (long, f"ORIGCLI_{field}".upper()) if section == "runtime" else (long,)


def _parse(text: str, field: FieldInfo) -> Any:
    """A value written as in TOML; a string may go without its quotes."""
    if field.annotation is str:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def resolve(
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    presets: Sequence[str] | None = None,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Settings, Origins]:
    """Settings from all sources, and where each value came from.

    Args:
        flags: section -> field -> value; `None` values are flags not given.
        presets: names layered on `paper`; `None` is ("small", "fast"), ("paper",) is the paper alone.
        config: a TOML file with a table a section.
        environment: the process's own when `None`.

    Raises:
        UsageError: an unknown preset, section or field, or a value out of range.
    """
    environment = os.environ if environment is None else environment
    names = ("paper", *(n for n in (DEFAULT_PRESETS if presets is None else presets) if n != "paper"))
    layers = [(f"preset {name}", preset_values(name)) for name in names]
    if config is not None:
        layers.append((f"--config {config}", config_values(config)))
    layers.append(("environment", environment_values(environment)))
    given = {
        section: current_names(section, {name: value for name, value in table.items() if value is not None})
        for section, table in (flags or {}).items()
    }
    layers.append(("flag", given))
    merged: dict[str, dict[str, Any]] = {section: {} for section in Settings.model_fields}
    origins = Origins()
    for origin, tables in layers:
        for section, table in tables.items():
            if section not in merged:
                raise UsageError(f"unknown section {section!r}", nearest(section, merged))
            for field, value in table.items():
                merged[section][field] = expanded(value) if isinstance(value, str) else value
                origins[f"{section}.{field}"] = origin
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise _invalid(error, origins) from error
    for section, values in settings:
        for field in type(values).model_fields:
            origins.setdefault(f"{section}.{field}", "default")
    return settings, origins


def _invalid(error: ValidationError, origins: Origins) -> UsageError:
    """The first of pydantic's complaints: which setting, where it was set, to what, and what it may be."""
    first = error.errors()[0]
    where = _place(first["loc"])
    field = ".".join(str(part) for part in first["loc"][:2])
    if first["type"] == "missing":
        return UsageError(
            f"{where} is not set", "set it with a flag, in --config, or take a preset that has it"
        )
    origin = origins.get(field, "settings")
    given = f"{where} = {first['input']!r} ({origin})"
    section, _, name = field.partition(".")
    if first["type"] == "extra_forbidden":
        return UsageError(f"{given}: [{section}] has no {name!r}", nearest(name, fields_of(section)))
    kinds = [_may_be(problem["msg"]) for problem in error.errors() if _place(problem["loc"]) == where]
    may_be = " or ".join([kinds[0], *(kind.removeprefix("should be ") for kind in kinds[1:])])
    known = re.findall("'(.*?)'", may_be) if first["type"] == "literal_error" else []
    return UsageError(f"{given}: {may_be}", nearest(str(first["input"]), known) if known else "")


def _place(parts: Sequence[int | str]) -> str:
    """A setting and the place in its list; pydantic adds the names of the types that it tried."""
    return ".".join(str(part) for i, part in enumerate(parts) if i < 2 or isinstance(part, int))


def _may_be(message: str) -> str:
    return message.removeprefix("Input ").removeprefix("Value error, ").partition(", unable")[0]
