"""A strip of images that shows the method: the image, a sample without tokens, one per number of tokens.

Drawn with Pillow, with the font that matplotlib ships: text that does not fit gets smaller, then shorter, and
characters that the font lacks, or that Pillow cannot set, become `…`.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from origcli.reports.chosen_samples import typical, with_tokens, without_tokens
from origcli.reports.saved_images import read_saved_image
from origcli.reports.score import ScoreResult
from origcli.reports.verdict import tokens

DOTS = "…"
Font = ImageFont.FreeTypeFont
_EXACT = 128  # up to this width an image is enlarged pixel by pixel
_RIGHT_TO_LEFT = ("R", "AL", "AN")


@dataclass(frozen=True)
class Theme:
    """Colors of a strip."""

    paper: str
    ink: str
    soft: str
    rule: str
    accent: str


LIGHT = Theme("#ffffff", "#1b1d1f", "#5b6168", "#c9cdd1", "#1d5a8a")
DARK = Theme("#0d1117", "#e6e4df", "#a4aab0", "#3d444d", "#82b6e3")


@dataclass(frozen=True)
class Cell:
    """An image of a strip; `None` where its file is gone."""

    title: str
    image: Image.Image | None


def cells(directory: Path, result: ScoreResult, counts: Sequence[int]) -> list[Cell]:
    """The image, a typical sample without tokens, and one for each of `counts` that was measured.

    Args:
        directory: the report's; image files are read from it, and only from it.
    """
    files = result.pictures
    shown = [Cell("the image", read_saved_image(directory, files.query if files else None))]
    chosen = [("without it", typical(without_tokens(result)))]
    chosen += [
        (f"after {tokens(point.m)}", typical(with_tokens(point)))
        for point in result.curve
        if point.m in counts
    ]
    shown += [
        Cell(title, read_saved_image(directory, sample.file))
        for title, sample in chosen
        if sample is not None
    ]
    return shown


def paste(
    canvas: Image.Image, image: Image.Image | None, place: tuple[int, int], side: int, theme: Theme
) -> None:
    """Puts an image into a square with a thin frame; one that is gone leaves the frame."""
    if image is not None:
        filter = Image.Resampling.NEAREST if image.width <= _EXACT else Image.Resampling.LANCZOS
        canvas.paste(image.resize((side, side), filter), place)
    x, y = place
    ImageDraw.Draw(canvas).rectangle((x, y, x + side - 1, y + side - 1), outline=theme.rule, width=2)


def ruler(
    draw: ImageDraw.ImageDraw,
    span: tuple[int, int],
    y: int,
    value: float,
    ends: tuple[float, float] | None,
    theme: Theme,
) -> None:
    """A value between 0 and 1 on a line from `span[0]` to `span[1]`, with its interval."""
    left, right = span

    def x(number: float) -> float:
        return left + min(max(number, 0.0), 1.0) * (right - left)

    draw.line((left, y, right, y), fill=theme.soft, width=2)
    for tenth in range(11):
        draw.line((x(tenth / 10), y, x(tenth / 10), y + (6 if tenth % 5 else 12)), fill=theme.soft, width=2)
    if ends is not None:
        draw.line((x(ends[0]), y, x(ends[1]), y), fill=theme.accent, width=8)
    draw.circle((x(value), y), 11, fill=theme.accent, outline=theme.paper, width=3)


@cache
def font(size: int, bold: bool = False) -> Font:
    """The font; without ligatures and other features that not every build of Pillow has."""
    package = find_spec("matplotlib")  # found and not imported: that takes a while
    assert package is not None and package.submodule_search_locations
    name = f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    path = Path(package.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _has(character: str) -> bool:
    """Whether the font has a character that is set from left to right."""
    if not character.isprintable() or unicodedata.bidirectional(character) in _RIGHT_TO_LEFT:
        return False
    shape, missing = (bytes(font(20).getmask(glyph)) for glyph in (character, "\uffff"))
    return shape != missing


def drawable(text: str) -> str:
    """Text with `…` for each run of characters that cannot be drawn."""
    kept = ""
    for character in unicodedata.normalize("NFC", text):
        if _has(character):
            kept += character
        elif not kept.endswith(DOTS):
            kept += DOTS
    return kept


def fitted(text: str, width: float, sizes: Sequence[int], bold: bool = False) -> tuple[str, Font]:
    """Text as it fits into a width: at the largest of `sizes`, else shortened in the middle at the last."""
    text = drawable(text)
    for size in sizes:
        if font(size, bold).getlength(text) <= width:
            return text, font(size, bold)
    return _shortened(text, width, font(sizes[-1], bold)), font(sizes[-1], bold)


def _shortened(text: str, width: float, face: Font) -> str:
    kept = len(text)
    while kept > 0:
        kept -= 1
        head, tail = text[: (kept + 1) // 2].rstrip(), text[len(text) - kept // 2 :].lstrip()
        if face.getlength(head + DOTS + tail) <= width:
            return head + DOTS + tail
    return ""


def wrapped(
    text: str, width: float, sizes: Sequence[int], lines: int, bold: bool = False
) -> tuple[list[str], Font]:
    """Text in at most so many lines, at the largest of `sizes` that fits, else shortened."""
    text = drawable(text)
    for size in sizes:
        broken = _broken(text, width, font(size, bold))
        if len(broken) <= lines and all(font(size, bold).getlength(line) <= width for line in broken):
            return broken, font(size, bold)
    face = font(sizes[-1], bold)
    broken = _broken(text, width, face)
    kept = [*broken[: lines - 1], " ".join(broken[lines - 1 :])]
    return [line if face.getlength(line) <= width else _shortened(line, width, face) for line in kept], face


def _broken(text: str, width: float, face: Font) -> list[str]:
    """Lines broken between words alone."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
