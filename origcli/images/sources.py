"""Images that are no files of their own: in memory, in an archive, in a table, at an address.

A source gives the bytes of one image each time it is asked, or the decoded image where it is one in memory.
Nothing is kept between two images but what its kind needs to come to the next one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

from PIL import Image

from origcli.errors import InputError
from origcli.files import read_file
from origcli.reports.envelope import LeftOut
from origcli.runtime.paths import path_text

CAPTION_COLUMNS = ("caption", "text")
INSIDE = "::"  # between the name of what holds an image and the image's own name or number in it

Content = bytes | Image.Image
Say = Callable[[str], None]


class Source(Protocol):
    """Where the content of one image is."""

    @property
    def where(self) -> str:
        """How reports and errors name it; valid UTF-8, without passwords, the same in each run."""

    def read(self) -> Content:
        """The bytes of an image file, or an image that is decoded already.

        Raises:
            InputError: there is no content; names the image and the reason.
        """


@dataclass(frozen=True)
class MemoryImage:
    """An image that a program holds.

    Attributes:
        where: its name, given or numbered.
    """

    where: str
    content: Content

    def read(self) -> Content:
        """The image itself."""
        return self.content


@dataclass(frozen=True)
class Missing:
    """An image, or the rest of an archive, that was found not to be there when the list was made."""

    where: str
    problem: str
    hint: str = ""

    def read(self) -> NoReturn:
        """Raises what is wrong with it."""
        raise InputError(self.problem, self.hint)


class Found(NamedTuple):
    """An image of a list, before it has its name.

    Attributes:
        source: its file, or what else gives its content.
        group: the set that it belongs to; empty for none.
        stem: what it is called after; empty for the name of its file.
        caption: empty for none.
    """

    source: Path | Source
    group: str = ""
    stem: str = ""
    caption: str = ""


class Remarks:
    """What there is to say of a search for images: remarks, and what is left out.

    Args:
        say: where they go.

    Attributes:
        left_out: in the order in which it was found.
    """

    def __init__(self, say: Say) -> None:
        self.say = say
        self.left_out: list[LeftOut] = []

    def leave_out(self, where: Path, what: str, remedy: str = "") -> None:
        """Something is left out."""
        # Names of files are bytes, and need not be text.
        what, remedy = (text.encode("utf-8", "backslashreplace").decode() for text in (what, remedy))
        self.left_out.append(LeftOut(where=path_text(where), what=what, remedy=remedy))
        self.say(self.left_out[-1].text)


def counted(number: int, one: str, several: str = "") -> str:
    """`1 image`, `2 images`."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def where_is(image: Path | Source) -> str:
    """How reports and errors name an image."""
    return path_text(image) if isinstance(image, Path) else image.where


def read_content(image: Path | Source) -> Content:
    """The content of an image, from a file or another source.

    Raises:
        InputError: it cannot be read.
    """
    return read_file(image) if isinstance(image, Path) else image.read()
