"""The picture that explains the method: what a model generates without an image, and after learned tokens.

A row an image of a score run, from its files: the image, a typical sample without tokens, one after one token
and one after two, and the originality on its scale.
"""

from pathlib import Path

from PIL import Image, ImageDraw

from origcli.reports.numerals import number
from origcli.reports.strip import DARK, LIGHT, cells, font, paste, ruler
from origcli.reports.writers import read_report

THEMES = {"light": LIGHT, "dark": DARK}
COUNTS = (1, 2)
SIDE, GAP, HEAD, SCALE = 264, 44, 58, 440  # pixels; shown at half of them


def strip(run: Path, theme: str) -> Image.Image:
    """The picture of a finished run, light or dark.

    Args:
        run: its directory.
        theme: of `THEMES`.
    """
    results = read_report(run, "score").results
    colors = THEMES[theme]
    columns = 2 + len(COUNTS)
    left = columns * (SIDE + GAP)  # of the scale
    canvas = Image.new("RGB", (left + SCALE, HEAD + len(results) * (SIDE + GAP) - GAP + 8), colors.paper)
    draw = ImageDraw.Draw(canvas)
    draw.text((left, HEAD - 22), "originality", fill=colors.ink, font=font(28), anchor="ls")
    for row, result in enumerate(results):
        top = HEAD + row * (SIDE + GAP)
        for column, cell in enumerate(cells(run, result, COUNTS)):
            x = column * (SIDE + GAP)
            paste(canvas, cell.image, (x, top), SIDE, colors)
            draw.text(
                (x + SIDE + GAP // 2, top + SIDE // 2), "›", fill=colors.soft, font=font(44), anchor="mm"
            )
            if row == 0:
                draw.text((x, HEAD - 22), cell.title, fill=colors.ink, font=font(28), anchor="ls")
        found = result.originality
        assert found.value is not None
        middle, right = top + SIDE // 2, left + SCALE - 16
        draw.text(
            (left, middle - 24), number(found.value), fill=colors.ink, font=font(64, bold=True), anchor="ls"
        )
        ends = None if found.low is None or found.high is None else (found.low, found.high)
        ruler(draw, (left + 12, right), middle + 26, found.value, ends, colors)
        for place, anchor, words in ((left, "ls", "0 familiar"), (right, "rs", "original 1")):
            draw.text((place, middle + 76), words, fill=colors.soft, font=font(24), anchor=anchor)
    return canvas
