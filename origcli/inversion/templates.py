"""The prompts that the tokens are learned in: a list by name, or a file of one's own.

In a template, `{S}` stands for the learned tokens; everything else is taken as it is.
"""

from importlib import resources
from pathlib import Path

from origcli.errors import InputError, UsageError
from origcli.files import read_text

SLOT = "{S}"
OBJECT, ART = "object", "art"
LISTS = (OBJECT, ART, "photo")
AUTO = "auto"  # the object list, where nothing tells of art


def read_templates(name: str) -> tuple[str, ...]:
    """The templates of a list that ships with the program (`auto`: object), or of a text file.

    A file has one template a line; empty lines and lines that begin with `#` are skipped.

    Raises:
        InputError: the file cannot be read, holds no template, or one without a single `{S}`.
    """
    name = OBJECT if name == AUTO else name
    if name in LISTS:
        text = resources.files("origcli.inversion.prompts").joinpath(f"{name}.txt").read_text("utf-8")
    else:
        try:
            text = read_text(Path(name))
        except InputError as problem:
            raise InputError(
                f"cannot read the templates: {problem.message}",
                f"give a UTF-8 text file or one of {', '.join(LISTS)}",
            ) from problem
    lines = [line.strip() for line in text.splitlines()]
    templates = tuple(line for line in lines if line and not line.startswith("#"))
    if not templates:
        raise InputError(f"{name}: no templates in it", f"write one a line, e.g. a photo of {SLOT}")
    for template in templates:
        if template.count(SLOT) != 1:
            raise InputError(f"{name}: {template!r} must have one {SLOT}", f"e.g. a photo of {SLOT}")
    return templates


def fill(template: str, words: str) -> str:
    """A template with words in its slot.

    Raises:
        UsageError: it has no slot, or several.
    """
    if template.count(SLOT) != 1:
        raise UsageError(f"{template!r} must have one {SLOT}", f"e.g. a photo of {SLOT}")
    return template.replace(SLOT, words)


def without_slot(template: str) -> str:
    """The prompt that is left when the tokens are taken out: `a photo of {S}` becomes `a photo of`."""
    return " ".join(fill(template, " ").split())
