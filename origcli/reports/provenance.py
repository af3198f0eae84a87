"""The one place where a report's provenance is put together."""

from collections.abc import Mapping
from typing import Any

from origcli.reports.envelope import Provenance
from origcli.runtime.provenance import hash_value, package_versions
from origcli.settings import Section, Settings


def sections_of(
    settings: Settings, names: tuple[str, ...], exclude: set[str] | None = None
) -> dict[str, Any]:
    """Sections of the settings as JSON values.

    Args:
        exclude: fields to leave out, in whichever section they are.
    """
    return {name: section_facts(getattr(settings, name), exclude) for name in names}


def section_facts(section: Section, exclude: set[str] | None = None) -> dict[str, Any]:
    """A section of the settings as JSON values."""
    return section.model_dump(mode="json", exclude=exclude)


def build_provenance(
    command: str, settings: Mapping[str, Any], seed: int, dtype: object = None, **facts: Any
) -> Provenance:
    """What made a report: this version of the packages, and what is given.

    Args:
        command: the subcommand.
        settings: JSON values by section. They are sorted as in the file, so that a page that is made again of
            it has equal bytes.
        dtype: torch's, or its name.
        facts: the other fields of `Provenance`.
    """
    values = {
        name: dict(sorted(value.items())) if isinstance(value, dict) else value
        for name, value in sorted(settings.items())
    }
    return Provenance(
        command=command,
        versions=dict(sorted(package_versions().items())),
        settings=values,
        settings_hash=hash_value(values),
        seed=seed,
        dtype=None if dtype is None else str(dtype).removeprefix("torch."),
        **facts,
    )
