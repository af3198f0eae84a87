"""Sheets of images (Pillow alone): samples to look at, and the supplement's figures 4 and 5."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

_GAP, _TEXT, _RULE = 6, 13, "#dfe1e3"


def sheet(
    images: Sequence[Image.Image],
    labels: Sequence[str] = (),
    columns: int = 10,
    *,
    size: int | None = None,
    headings: Sequence[str] = (),
) -> Image.Image:
    """Images side by side on white, row by row, each with a hairline around it and its label below.

    Args:
        images: of any sizes; each is fitted into a square cell.
        labels: one per image, or none.
        columns: images a row.
        size: side of a cell in pixels; the largest image's when `None`.
        headings: one a column, or none.

    Raises:
        ValueError: no images, or not one label an image.
    """
    if not images:
        raise ValueError("a sheet needs an image")
    if labels and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images")
    side = size or max(max(image.size) for image in images)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    top, below = (_TEXT + _GAP if headings else 0), (_TEXT + 3 if labels else 0)
    step = side + _GAP
    canvas = Image.new("RGB", (columns * step + _GAP, top + rows * (step + below) + _GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for column, heading in enumerate(headings[:columns]):
        _write(draw, font, heading, _GAP + column * step, _GAP, side)
    for i, image in enumerate(images):
        x, y = _GAP + i % columns * step, top + _GAP + i // columns * (step + below)
        fitted = _fitted(image, side)
        canvas.paste(fitted, (x + (side - fitted.width) // 2, y + (side - fitted.height) // 2))
        draw.rectangle((x - 1, y - 1, x + side, y + side), outline=_RULE)
        if labels:
            _write(draw, font, labels[i], x, y + side + 2, side)
    return canvas


def _fitted(image: Image.Image, side: int) -> Image.Image:
    image = image.convert("RGB")
    scale = side / max(image.size)
    if scale == 1:
        return image
    # Small images are enlarged pixel by pixel, so that no smoothness is shown that is not there.
    resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return image.resize([max(1, round(edge * scale)) for edge in image.size], resample)


def _write(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    x: int,
    y: int,
    width: int,
) -> None:
    line = text.replace("\n", " ")
    while line and draw.textlength(line, font=font) > width:
        line = f"{line[:-2].rstrip('…')}…" if len(line) > 2 else ""
    draw.text((x + (width - draw.textlength(line, font=font)) / 2, y), line, fill="#1b1d1f", font=font)


def block_sheet(
    rows: Sequence[str],
    blocks: Sequence[str],
    pictures: Mapping[tuple[str, str], Sequence[Image.Image]],
    *,
    columns: int = 4,
    size: int = 64,
) -> Image.Image:
    """Blocks of images side by side, one row a label.

    The supplement's figure 4 has the held-out classes as rows and the diversity levels as blocks (for 30 and
    60, prompted and then empty); its figure 5 has the models as rows and the two conditions as blocks.

    Args:
        rows: labels from top to bottom.
        blocks: headings from left to right.
        pictures: (row, block) -> up to `columns` images; a missing one leaves its place white.
        columns: images a block.
        size: side of an image in pixels.
    """
    draw_font = ImageFont.load_default(11)
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left = int(max((ruler.textlength(row, font=draw_font) for row in rows), default=0)) + 3 * _GAP
    step, top = size + _GAP // 2, _TEXT + 2 * _GAP
    block_width = columns * step + 3 * _GAP
    canvas = Image.new("RGB", (left + len(blocks) * block_width, top + len(rows) * step + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for b, block in enumerate(blocks):
        x0 = left + b * block_width
        _write(draw, draw_font, block, x0, _GAP, columns * step)
        for r, row in enumerate(rows):
            for c, image in enumerate(pictures.get((row, block), ())[:columns]):
                x, y = x0 + c * step, top + r * step
                canvas.paste(_fitted(image, size), (x, y))
                draw.rectangle((x - 1, y - 1, x + size, y + size), outline=_RULE)
    for r, row in enumerate(rows):
        draw.text((_GAP, top + r * step + size / 2 - 6), row, fill="#1b1d1f", font=draw_font)
    return canvas
