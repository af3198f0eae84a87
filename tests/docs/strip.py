"""The picture that explains the method: images, and what a model generates without and with learned tokens.

A row an image of a score run, from its files: the image, a sample without tokens, one for each number of
tokens (that with the median distance), and the originality.
"""

import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

CELL, GAP, HEAD, LABEL = 112, 12, 36, 150
THEMES = {"light": ("#ffffff", "#1f2328"), "dark": ("#0d1117", "#e6edf3")}


def strip(run: Path, theme: str) -> Image.Image:
    """The picture of a finished run, light or dark.

    Args:
        run: its directory.
        theme: of `THEMES`.
    """
    results = json.loads((run / "report.json").read_text("utf-8"))["results"]
    paper, ink = THEMES[theme]
    titles = ["image", "without it", *_titles(results[0])]
    size = (GAP + len(titles) * (CELL + GAP) + LABEL, HEAD + len(results) * (CELL + GAP))
    picture = Image.new("RGB", size, paper)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for column, title in enumerate([*titles, "originality"]):
        draw.text((GAP + column * (CELL + GAP), GAP), title, fill=ink, font=font)
    for row, result in enumerate(results):
        top = HEAD + row * (CELL + GAP)
        for column, name in enumerate(_files(result)):
            with Image.open(run / name) as image:
                shown = image.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
            place = (GAP + column * (CELL + GAP), top)
            picture.paste(shown, place)
            draw.rectangle((*place, place[0] + CELL - 1, place[1] + CELL - 1), outline="#8b949e")
        said = f"{result['originality']['value']:.2f}  {result['group']}"
        draw.text((GAP + len(titles) * (CELL + GAP), top + CELL // 2 - 8), said, fill=ink, font=font)
    return picture


def _titles(result: dict[str, Any]) -> list[str]:
    counts = [point["m"] for point in result["curve"]]
    return [f"{m} token" if m == 1 else f"{m} tokens" for m in counts]


def _files(result: dict[str, Any]) -> list[str]:
    """Relative to the run; the sample with the median distance stands for each number of tokens."""
    typical = []
    for point in result["curve"]:
        by_distance = sorted(zip(point["distances"][0], point["drawings"], strict=False))
        typical.append(by_distance[len(by_distance) // 2][1])
    return [result["pictures"]["query"], result["pictures"]["without_tokens"][0], *typical]
