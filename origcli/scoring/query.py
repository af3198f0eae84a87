"""One image under measurement: what it looks like to the model, and what has been found so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from origcli.images.inputs import Input
from origcli.images.reading import read_image
from origcli.inversion.embeddings import hash_vectors
from origcli.inversion.preparation import image_key
from origcli.models.pipeline import DiffusionModel
from origcli.models.vae import to_images, to_pixels
from origcli.models.words import Vectors
from origcli.perception.distance import Distance
from origcli.reports.schema import DomainCheck, Estimate
from origcli.scoring.assessment import Scale, Trial, check_domain
from origcli.scoring.measure import psnr
from origcli.settings import ScoreSettings

Attempt = tuple[int, int]  # (repeat, m)


@dataclass(frozen=True)
class Learned:
    """The tokens of one image at one m, and how they came about.

    Attributes:
        vectors: by text encoder, each (m, d), fp32, on the CPU.
        l_det, l_det_none: deterministic loss with the tokens and without any; `None` where not measured.
    """

    vectors: Vectors
    l_det: float | None
    l_det_none: float | None
    steps: int
    stop_reason: str

    @property
    def hash(self) -> str:
        """sha256 of the vectors."""
        return hash_vectors(self.vectors)


@dataclass(frozen=True)
class Drawn:
    """Samples from one set of tokens, measured against the query, one a seed.

    Attributes:
        distances: to the query.
        pictures: encoded images: to look at, or exact.
        facts: what else was measured of them: `layouts`, `similarity`.
    """

    distances: Sequence[float]
    pictures: Sequence[bytes]
    facts: dict[str, Any]


@dataclass
class Query:
    """An image, the scale that it stands on, and its attempts.

    Attributes:
        source: which image.
        image: as the model sees it.
        facts: of reading it.
        key: hash of its pixels.
        round_trip: through the VAE and back.
        feature: of the metric.
        floor: distance of the round trip.
        domain: whether the model can show it.
    """

    source: Input
    image: Image.Image
    facts: dict[str, Any]
    key: str
    round_trip: Image.Image
    feature: Any
    floor: float
    domain: DomainCheck
    learned: dict[Attempt, Learned] = field(default_factory=dict)
    drawn: dict[Attempt, Drawn] = field(default_factory=dict)

    @property
    def trials(self) -> dict[int, list[Trial]]:
        """What was measured so far, by m, one trial a repeat."""
        trials: dict[int, list[Trial]] = {}
        for (repeat, m), drawn in sorted(self.drawn.items()):
            tokens = self.learned[repeat, m]
            trials.setdefault(m, []).append(
                Trial(drawn.distances, tokens.l_det, tokens.steps, tokens.stop_reason)
            )
        return trials


def read_query(
    source: Input, model: DiffusionModel, metric: Distance, scale: Scale, settings: ScoreSettings
) -> Query:
    """Reads an image and decides whether the model can show it at all.

    Raises:
        InputError: the image cannot be read.
        NonFiniteError: its round trip is not finite.
    """
    image, facts = read_image(source.source, model.resolution, settings.crop)
    query = query_of(source, image, facts, model, metric)
    decibels = psnr(np.asarray(image), np.asarray(query.round_trip))
    query.domain = check_domain(decibels, query.floor, scale, settings.measure_anyway)
    return query


def query_of(
    source: Input, image: Image.Image, facts: dict[str, Any], model: DiffusionModel, metric: Distance
) -> Query:
    """An image at the model's size as a query, taken to be one that the model can show.

    Raises:
        NonFiniteError: its round trip is not finite.
    """
    shown = round_trip(model, image)
    feature, of_shown = metric.features([image, shown])
    floor = metric.between(feature, of_shown)
    inside = DomainCheck(inside=True, psnr=Estimate.missing("not looked at"))
    return Query(source, image, facts, image_key(image), shown, feature, floor, inside)


@torch.inference_mode()
def round_trip(model: DiffusionModel, image: Image.Image) -> Image.Image:
    """An image through the VAE and back, at the mean of its posterior.

    Raises:
        NonFiniteError: the VAE gave NaN or infinite pixels.
    """
    family = model.family
    mean, _ = family.encode(to_pixels([image], model.device))  # (1, c, h/f, w/f)
    return to_images(family.decode(family.to_denoiser(mean)))[0]
