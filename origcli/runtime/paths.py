"""Paths as text that is valid UTF-8, whatever bytes a file name is made of, and back."""

import os
import urllib.parse
from pathlib import Path

_SCHEME = "file:"


def path_text(path: Path | str) -> str:
    """A path for JSON, CSV and HTML: itself, or a `file:` URI where its bytes are not UTF-8.

    A relative path stays relative: `file:caf%E9.png`. `path_of` reads both back.
    """
    raw = os.fsencode(path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _SCHEME + urllib.parse.quote_from_bytes(raw)
    return _SCHEME + urllib.parse.quote_from_bytes(raw) if text.startswith(_SCHEME) else text


def path_of(text: str) -> Path:
    """The path that `path_text` wrote; any other text is a path as it is."""
    if not text.startswith(_SCHEME):
        return Path(text)
    try:
        encoded = os.fsencode(text.removeprefix(_SCHEME).removeprefix("//"))
    except UnicodeEncodeError:  # half a character, as JSON can hold it: no path of ours is written so
        return Path(text)
    return Path(os.fsdecode(urllib.parse.unquote_to_bytes(encoded)))


def from_here(path: Path) -> Path:
    """A path below the working directory relative to it, so that reports do not tell where that is."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
