"""Which images are measured together: fixed before the work begins.

Numbers computed in one batch can differ in their last digits from those of another composition, so
the batches depend on the list of images and the settings alone: a run that was killed, a shard and a
worker of a cluster then repeat the digits of an unbroken run.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from origcli.errors import UsageError
from origcli.images.inputs import Input
from origcli.inversion.templates import ART, AUTO, OBJECT
from origcli.reports.score import Parts

_DIGITS = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Batch:
    """Images whose tokens are learned together.

    Attributes:
        number: its place in the plan, from 0.
        inputs: the images.
        templates: the list of prompts that their tokens are learned in.
    """

    number: int
    inputs: tuple[Input, ...]
    templates: str


def domain_of(group: str) -> str | None:
    """The domain of a group: `houses` of `houses/common`; a group alone belongs to none."""
    domain, _, _ = group.rpartition("/")
    return domain or None


def templates_for(group: str, templates: str) -> str:
    """The list asked for; of itself, the art list for images of the domain `art` (supplement 6.2)."""
    if templates != AUTO:
        return templates
    return ART if ART in group.lower().split("/") else OBJECT


def make_batches(inputs: Sequence[Input], size: int, templates: str) -> list[Batch]:
    """Images in their order, `size` at a time, those with other templates apart."""
    runs = groupby(inputs, key=lambda image: templates_for(image.group, templates))
    parts = [(chosen, list(run)) for chosen, run in runs]
    chunks = [
        (chosen, tuple(run[start : start + size]))
        for chosen, run in parts
        for start in range(0, len(run), size)
    ]
    return [Batch(number, chunk, chosen) for number, (chosen, chunk) in enumerate(chunks)]


def parts_of(shard: str | None) -> Parts | None:
    """The part that a shard `i/N` is, i from 1 to N; `None` for a whole list.

    Raises:
        UsageError: it is not of this form.
    """
    if shard is None:
        return None
    index, _, count = shard.partition("/")
    digits = _DIGITS.fullmatch(index) and _DIGITS.fullmatch(count)
    if not (digits and 1 <= int(index) <= int(count)):
        raise UsageError(f"--shard {shard!r} is not i/N with i from 1 to N", "e.g. --shard 2/8")
    return None if int(count) == 1 else Parts(of=int(count), held=(int(index),))


def take_parts(batches: Sequence[Batch], parts: Parts | None) -> list[Batch]:
    """The batches of some parts of a list; all of them for all of it. A part may be empty."""
    if parts is None:
        return list(batches)
    return [batch for batch in batches if batch.number % parts.of + 1 in parts.held]
