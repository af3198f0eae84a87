"""The little of roff's man macros that the manual pages need."""

import re
from collections.abc import Iterable


def escape(text: str) -> str:
    """Text as roff prints it: backslashes and leading dots are text, and what is not ASCII is named."""
    text = text.replace("\\", "\\e")
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def words(text: str) -> str:
    """Words to type: their dashes stay the dashes that can be copied."""
    return escape(text).replace("-", "\\-")


def prose(text: str) -> str:
    """A sentence, with the words to type in it in bold."""
    pieces = re.split(r"(`[^`]+`|(?<![\w-])--?[a-z][\w-]*)", text)
    return "".join(
        f"\\fB{words(piece.strip('`'))}\\fR" if index % 2 else escape(piece)
        for index, piece in enumerate(pieces)
    )


def title(page: str, version: str) -> str:
    """The head of a page."""
    return f'.TH {words(page.upper())} 1 "" "origcli {version}" "origcli manual"\n'


def section(name: str, *parts: str) -> str:
    """A section, or nothing where it would be empty."""
    body = "".join(part for part in parts if part)
    return f'.SH "{escape(name.upper())}"\n{body}' if body else ""


def subsection(name: str, *parts: str) -> str:
    """A section in a section."""
    body = "".join(part for part in parts if part)
    return f'.SS "{escape(name)}"\n{body}' if body else ""


def paragraph(text: str) -> str:
    """A paragraph of prose."""
    return f".PP\n{prose(' '.join(text.split()))}\n"


def verbatim(text: str) -> str:
    """Lines that stay as they are."""
    return f".PP\n.nf\n{words(text.rstrip())}\n.fi\n"


def items(pairs: Iterable[tuple[str, str]]) -> str:
    """Tagged paragraphs: a tag that is roff already, and prose."""
    return "".join(f".TP\n{tag}\n{prose(' '.join(text.split()))}\n" for tag, text in pairs)


def bold(text: str) -> str:
    """Words to type."""
    return f"\\fB{words(text)}\\fR"


def italic(text: str) -> str:
    """A word to replace."""
    return f"\\fI{words(text)}\\fR"
