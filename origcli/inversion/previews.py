"""Images drawn from tokens that are still being learned, to watch them come about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from origcli.generation.sampling import draw
from origcli.inversion.embeddings import condition_with
from origcli.models.pipeline import DiffusionModel
from origcli.models.words import Vectors
from origcli.reports.sheets import sheet
from origcli.runtime.atomic import atomic_file, make_directory
from origcli.runtime.context import Runtime
from origcli.settings import DrawSettings

DRAWINGS = 2


@dataclass(frozen=True)
class Previews:
    """Writes `previews/NAME-step-NNNNNN.png`: the image, and a column of samples for each m.

    The seeds are the same at every step, so that what changes is what was learned.
    """

    model: DiffusionModel
    pictures: Mapping[str, Image.Image]
    prompt: str
    settings: DrawSettings
    runtime: Runtime

    def __call__(self, step: int, vectors: Mapping[str, Mapping[int, Vectors]]) -> None:
        """Draws from the current vectors of every image."""
        folder = make_directory(self.runtime.out / "previews")
        for name, by_count in vectors.items():
            drawn = [self._draw(learned) for learned in by_count.values()]
            rows = [[self.pictures[name], *column] for column in zip(*drawn, strict=True)]
            headings = [name, *(f"m = {m}" for m in by_count)]
            page = sheet([image for row in rows for image in row], columns=len(headings), headings=headings)
            with atomic_file(folder / preview_name(name, step)) as file:
                page.save(file, "PNG")

    def _draw(self, vectors: Vectors) -> Sequence[Image.Image]:
        given = condition_with(self.model, self.prompt, vectors)
        with torch.no_grad():
            return draw(
                self.model,
                given,
                range(DRAWINGS),
                self.settings,
                self.runtime,
                description="preview",
            )


def preview_name(name: str, step: int) -> str:
    """The file of an image's preview."""
    return f"{name}-step-{step:06d}.png"


def previews_of(directory: Path, name: str) -> tuple[str, ...]:
    """An image's previews so far, relative to the run directory, in the order of steps."""
    paths = sorted((directory / "previews").glob(f"{name}-step-??????.png"))
    return tuple(f"previews/{path.name}" for path in paths)
