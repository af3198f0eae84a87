"""Detecting in picture files: read by several threads, looked at in batches, told one by one."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from PIL import Image

from origcli.detection.detector import Detection, Detector
from origcli.errors import OrigError
from origcli.images.inputs import Input
from origcli.images.reading import read_picture
from origcli.runtime import interrupts

_MAX_PIXELS = 1 << 24  # of the pictures that wait for the detector at one time, per batch
Read = tuple[Image.Image, dict[str, Any]] | OrigError


@dataclass(frozen=True)
class Seen:
    """A picture file and what is in it.

    Attributes:
        facts: of `models.images.read_picture`.
    """

    input: Input
    image: Image.Image
    facts: dict[str, Any]
    detections: tuple[Detection, ...]


@dataclass(frozen=True)
class Unreadable:
    """A picture file that could not be read."""

    input: Input
    problem: OrigError


def detect_files(
    inputs: Iterable[Input], detector: Detector, batch_size: int, threads: int | None = None
) -> Iterator[Seen | Unreadable]:
    """What is in each file, in the order of `inputs`; a file that cannot be read costs nothing but itself.

    Few pictures are in memory at one time, however many there are.

    Args:
        threads: that read and decode; one a core when `None`.
    """
    batch: list[tuple[Input, Read]] = []
    pixels = 0
    for entry, read in _read_ahead(inputs, 4 * batch_size, threads):
        interrupts.check()
        batch.append((entry, read))
        pixels += 0 if isinstance(read, OrigError) else read[0].width * read[0].height
        if len(batch) == batch_size or pixels >= _MAX_PIXELS:
            yield from _detect(batch, detector)
            batch, pixels = [], 0
    yield from _detect(batch, detector)


def _read(entry: Input) -> Read:
    try:
        return read_picture(entry.path)
    except OrigError as problem:
        return problem


def _read_ahead(inputs: Iterable[Input], ahead: int, threads: int | None) -> Iterator[tuple[Input, Read]]:
    """Files in order, `ahead` of which may be read before they are asked for."""
    entries = iter(inputs)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        waiting: deque[tuple[Input, Future[Read]]] = deque()
        try:
            while True:
                for entry in islice(entries, ahead - len(waiting)):
                    waiting.append((entry, pool.submit(_read, entry)))
                if not waiting:
                    return
                entry, future = waiting.popleft()
                yield entry, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _detect(batch: list[tuple[Input, Read]], detector: Detector) -> Iterator[Seen | Unreadable]:
    found = iter(detector.detect([read[0] for _, read in batch if not isinstance(read, OrigError)]))
    for entry, read in batch:
        if isinstance(read, OrigError):
            yield Unreadable(entry, read)
        else:
            yield Seen(entry, *read, tuple(next(found)))
