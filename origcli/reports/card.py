"""An image of a result to share: what the model generates, the verdict, and the model."""

import io
from pathlib import Path

from PIL import Image, ImageDraw

from origcli.reports.envelope import Provenance
from origcli.reports.numerals import interval, number
from origcli.reports.saved_images import read_saved_image
from origcli.reports.score import ScoreResult
from origcli.reports.strip import DOTS, LIGHT, Cell, cells, drawable, fitted, font, paste, ruler, wrapped
from origcli.reports.verdict import headline
from origcli.reports.views import file_name, named, sentence

CARD = "card.png"
WIDTH = 1200
SIZE = (WIDTH, 630)  # what links are shown with
_EDGE, _GAP = 56, 20
_TOP, _LARGEST, _BOTTOM = 168, 230, 590  # of the strip, of one of its images, of the last line
_HEADLINE = (46, 42, 38, 34, 30, 26)
_MOST = 6  # images


def card(directory: Path, result: ScoreResult, provenance: Provenance) -> bytes:
    """The PNG file: equal for equal results.

    Args:
        directory: the report's; image files are read from it, and only from it.
    """
    model = named(provenance.model, "the model")
    canvas = Image.new("RGB", SIZE, LIGHT.paper)
    draw = ImageDraw.Draw(canvas)
    inner = WIDTH - 2 * _EDGE
    words = sentence(headline(model, result))
    line, face = fitted(words, inner, _HEADLINE[:3], bold=True)
    lines = [line]
    if line != drawable(words):  # not on one line
        lines, face = wrapped(words, inner, _HEADLINE, 2, bold=True)
    height = int(face.size * 1.2)
    top = (_TOP - height * len(lines)) // 2
    for row, line in enumerate(lines):
        draw.text((_EDGE, top + row * height), line, fill=LIGHT.ink, font=face)

    _draw_strip(canvas, draw, _pictures(directory, result))
    if result.originality.value is not None:
        _draw_scale(draw, result)
    else:
        said = "This says nothing about whether the image is original."
        draw.text((_EDGE, 500), said, fill=LIGHT.soft, font=font(24))

    made, right = fitted(f"measured with {model} · origcli", inner * 0.45, (20, 18, 16))
    draw.text((WIDTH - _EDGE, _BOTTOM), made, fill=LIGHT.soft, font=right, anchor="rs")
    name, left = fitted(_name(result), inner * 0.5, (20, 18, 16))
    draw.text((_EDGE, _BOTTOM), name, fill=LIGHT.soft, font=left, anchor="ls")
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _name(result: ScoreResult) -> str:
    """The image's file name; its name in the report, which is plain, where too little of it can be drawn."""
    shown = drawable(file_name(result.image))
    return result.id if shown.startswith(DOTS) else shown


def _pictures(directory: Path, result: ScoreResult) -> list[Cell]:
    """The image, a sample without tokens and those of the first and the last numbers of tokens."""
    counts = [point.m for point in result.curve]
    some = counts if len(counts) <= _MOST - 2 else [*counts[: _MOST - 3], counts[-1]]
    shown = cells(directory, result, some)
    if not result.curve and result.pictures and result.pictures.round_trip:
        shown.append(Cell("the best it can show", read_saved_image(directory, result.pictures.round_trip)))
    return shown


def _draw_strip(canvas: Image.Image, draw: ImageDraw.ImageDraw, shown: list[Cell]) -> None:
    inner = WIDTH - 2 * _EDGE
    side = min(_LARGEST, (inner - _GAP * (len(shown) - 1)) // len(shown))
    for place, cell in enumerate(shown):
        x = _EDGE + place * (side + _GAP)
        paste(canvas, cell.image, (x, _TOP), side, LIGHT)
        title, face = fitted(cell.title, side, (21, 19, 17, 15))
        draw.text((x, _TOP + side + 26), title, fill=LIGHT.ink, font=face, anchor="ls")


def _draw_scale(draw: ImageDraw.ImageDraw, result: ScoreResult) -> None:
    originality = result.originality
    assert originality.value is not None
    y, left, right = 486, _EDGE + 250, WIDTH - _EDGE - 12
    draw.text(
        (_EDGE, y + 14), number(originality.value), fill=LIGHT.ink, font=font(52, bold=True), anchor="ls"
    )
    said = "originality" if originality.low is None else f"originality {interval(originality)}"
    draw.text((_EDGE, y + 44), said, fill=LIGHT.soft, font=font(19), anchor="ls")
    ends = (
        None if originality.low is None or originality.high is None else (originality.low, originality.high)
    )
    ruler(draw, (left, right), y, originality.value, ends, LIGHT)
    draw.text((left, y + 44), "0 familiar", fill=LIGHT.ink, font=font(19), anchor="ls")
    draw.text((right, y + 44), "original 1", fill=LIGHT.ink, font=font(19), anchor="rs")
