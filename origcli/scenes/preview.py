"""A contact sheet of a data set: images with the boxes of what can be seen, over their captions."""

from base64 import b64encode
from collections.abc import Iterator
from html import escape
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, ImageDraw, ImageFont

from origcli.runtime.atomic import make_directory, write_bytes
from origcli.scenes.png import Pixels

_CELL = 256
_GAP = 12
_TEXT_SIZE = 13
_WIDEST = 2200
_MOST = 24
_IN_A_NOTEBOOK = 8
_BOX = (255, 140, 0)
_HIDDEN = (150, 150, 150)  # the box of an element more than half of which is hidden


class Images(Protocol):
    """What a contact sheet is made of: a data set, or what reads like one."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def resolution(self) -> int:
        """Width and height of the images in pixels."""

    def __len__(self) -> int:
        """How many images there are."""

    def read_records(self) -> Iterator[dict[str, Any]]:
        """The metadata of each image in order."""

    def picture(self, record: dict[str, Any]) -> Pixels:
        """The image of a record."""


def write_preview(dataset: Images, path: Path) -> None:
    """Writes the contact sheet of a data set as a PNG file.

    Raises:
        StorageError: it cannot be written.
    """
    make_directory(path.absolute().parent)
    write_bytes(path, _png(contact_sheet(dataset)))


def html_preview(dataset: Images) -> str:
    """What the data set is, over its first images."""
    picture = b64encode(_png(contact_sheet(dataset, _IN_A_NOTEBOOK))).decode("ascii")
    told = f"{len(dataset):,} pictures of {dataset.resolution} pixels in {dataset.path}"
    return f'<p>{escape(told)}</p><img alt="its first pictures" src="data:image/png;base64,{picture}">'


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def contact_sheet(dataset: Images, most: int = _MOST) -> Image.Image:
    """A sheet of the first images, small ones enlarged without smoothing."""
    scale = max(_CELL // dataset.resolution, 1)
    side = scale * dataset.resolution
    count = min(len(dataset), most)
    columns = max(min(_WIDEST // (side + _GAP), count), 1)
    rows = max(-(-count // columns), 1)
    records = list(islice(dataset.read_records(), count))
    captions = [_lines(record, side) for record in records]
    height = side + max(map(len, captions), default=1) * (_TEXT_SIZE + 3) + _GAP
    sheet = Image.new("RGB", (_GAP + columns * (side + _GAP), _GAP + rows * height), (225, 225, 225))
    for index, (record, lines) in enumerate(zip(records, captions, strict=True)):
        corner = (_GAP + index % columns * (side + _GAP), _GAP + index // columns * height)
        picture = Image.fromarray(dataset.picture(record))
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), corner)
        _annotate(sheet, corner, side, record, lines)
    return sheet


def _annotate(
    sheet: Image.Image, corner: tuple[int, int], side: int, record: dict[str, Any], lines: list[str]
) -> None:
    draw = ImageDraw.Draw(sheet)
    for item in record["elements"]:
        if item["box"] is not None:
            x0, y0, x1, y1 = (round(corner[i % 2] + edge * side) for i, edge in enumerate(item["box"]))
            draw.rectangle((x0 - 1, y0 - 1, x1, y1), outline=_HIDDEN if item["covered"] > 0.5 else _BOX)
    font = ImageFont.load_default(_TEXT_SIZE)
    draw.multiline_text((corner[0], corner[1] + side + 2), "\n".join(lines), "black", font, spacing=3)


def _lines(record: dict[str, Any], side: int) -> list[str]:
    """The kind and the whole caption of an image, as wide as its cell."""
    text = record["text"] or "(empty)"
    return _wrap(f"{record['category']}: {text}", side, ImageFont.load_default(_TEXT_SIZE))


def _wrap(text: str, width: int, font: Any) -> list[str]:
    """Lines of whole words no wider than `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
