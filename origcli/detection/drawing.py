"""Visual output: boxes over an image, and a sheet that shows what each confidence looks like."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from PIL import Image, ImageColor, ImageDraw, ImageFont

from origcli.detection.detector import Detection

# Bands of confidence, the lowest first: narrow where the threshold is likely to be.
BANDS = (0.25, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)
PER_BAND = 12
_SMALLEST = 384  # pixels: smaller images are enlarged, or no label could be read
_CELL, _GAP, _HEAD = 84, 6, 150
_MARGIN = 0.35  # of the box's longer side, around it in a crop
_INK = {"red": "#b00000", "green": "#006a00", "blue": "#0000b0"}
_PAPER, _LINE, _TEXT = "white", "#d08000", "#202020"


def annotate(image: Image.Image, detections: Sequence[Detection]) -> Image.Image:
    """A copy of an image with a box and a label for each detection; small images are enlarged."""
    scale = max(1, -(-_SMALLEST // max(image.size)))
    size = (image.width * scale, image.height * scale)
    canvas = image.convert("RGB").resize(size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(11, max(canvas.size) // 45))
    for detection in detections:
        x0, y0, x1, y1 = (side * scale for side in detection.box)
        color = _INK[detection.element.color]
        draw.rectangle((x0 - 1, y0 - 1, x1, y1), outline=color, width=max(1, max(canvas.size) // 300))
        label = f"{detection.element.phrase} {detection.confidence:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
        x = min(max(0, x0), max(0, canvas.width - right))
        y = y0 - bottom - 3 if y0 > bottom + 3 else min(y1 + 2, canvas.height - bottom)
        draw.rectangle((x + left - 1, y + top - 1, x + right + 1, y + bottom + 1), fill=_PAPER)
        draw.text((x, y), label, fill=color, font=font)
    return canvas


@dataclass
class AuditSheet:
    """Collects detections of any number of images and keeps a few of each band of confidence.

    Args:
        threshold: a line is drawn where it lies.
        random: picks which are kept, each with the same chance.
    """

    threshold: float
    random: Random = field(default_factory=lambda: Random(0))
    counts: list[int] = field(default_factory=lambda: [0] * (len(BANDS) - 1))
    kept: list[list[tuple[Detection, Image.Image]]] = field(default_factory=lambda: [[] for _ in BANDS[1:]])

    def add(self, image: Image.Image, detections: Iterable[Detection]) -> None:
        """Takes in the detections of an image; those under the lowest band are left out."""
        for detection in detections:
            if detection.confidence < BANDS[0]:
                continue
            band = sum(detection.confidence >= edge for edge in BANDS[1:-1])
            self.counts[band] += 1
            place = len(self.kept[band])
            if place >= PER_BAND:
                # Algorithm R: the n-th of a stream takes a place with chance PER_BAND / n.
                place = self.random.randrange(self.counts[band])
            if place < PER_BAND:
                self.kept[band][place : place + 1] = [(detection, _crop(image, detection))]

    @property
    def lowest(self) -> float:
        """The least confidence that the sheet shows."""
        return BANDS[0]

    def draw(self) -> Image.Image:
        """The sheet: a row a band, the most confident first, with the number of detections in it."""
        row = _CELL + 18 + _GAP
        bands = range(len(BANDS) - 2, -1, -1)
        sheet = Image.new("RGB", (_HEAD + PER_BAND * (_CELL + _GAP) + _GAP, 34 + row * len(bands)), _PAPER)
        draw = ImageDraw.Draw(sheet)
        big, small = ImageFont.load_default(15), ImageFont.load_default(10)
        title = f"{sum(self.counts)} detections by confidence; the line is the threshold, {self.threshold:g}"
        draw.text((_GAP, _GAP), title, fill=_TEXT, font=big)
        for number, band in enumerate(bands):
            top = 34 + number * row
            low, high = BANDS[band], BANDS[band + 1]
            draw.text((_GAP, top + 18), f"{low:g} to {high:g}", fill=_TEXT, font=big)
            draw.text((_GAP, top + 40), f"{self.counts[band]} detections", fill=_TEXT, font=small)
            shown = sorted(self.kept[band], key=lambda pair: -pair[0].confidence)
            for column, (detection, crop) in enumerate(shown):
                left = _HEAD + column * (_CELL + _GAP)
                sheet.paste(crop, (left, top))
                element = detection.element
                for line, words in enumerate(
                    (f"{detection.confidence:.3f} {element.size}", f"{element.texture} {element.shape}")
                ):
                    place = (left, top + _CELL + 10 * line)
                    draw.text(place, words, fill=_INK[element.color], font=small)
            if low <= self.threshold < high:
                line = top + row - 3 if low == self.threshold else top + row // 2
                draw.line((0, line, sheet.width, line), fill=_LINE, width=2)
        return sheet


def _crop(image: Image.Image, detection: Detection) -> Image.Image:
    """What is around a box, square and enlarged, with the box drawn."""
    x0, y0, x1, y1 = detection.box
    side = max(x1 - x0, y1 - y0, 1.0) * (1 + 2 * _MARGIN)
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    # Gray beyond the image's edge, so that the edge can be seen.
    crop = Image.new("RGB", (_CELL, _CELL), ImageColor.getrgb("#c8c8c8"))
    seen = (max(0.0, left), max(0.0, top), min(image.width, left + side), min(image.height, top + side))
    scale = _CELL / side
    size = tuple(max(1, round((seen[i + 2] - seen[i]) * scale)) for i in (0, 1))
    part = image.convert("RGB").resize((size[0], size[1]), Image.Resampling.NEAREST, box=seen)
    crop.paste(part, (round((seen[0] - left) * scale), round((seen[1] - top) * scale)))
    box = [(x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale]
    ImageDraw.Draw(crop).rectangle(box, outline="#808080")
    return crop
