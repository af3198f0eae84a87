"""Detection in image files: threads read them, the detector takes batches, results come one by one."""

import threading
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
from origcli.runtime.machine import cores

_MAX_PIXELS = 1 << 24  # of the images that wait for the detector at one time, per batch
_MAX_BYTES = 1 << 27  # of the decoded images that wait for their turn
Read = tuple[Image.Image, dict[str, Any]] | OrigError


@dataclass(frozen=True)
class Seen:
    """An image file and what is in it.

    Attributes:
        facts: of `images.reading.read_picture`.
    """

    input: Input
    image: Image.Image
    facts: dict[str, Any]
    detections: tuple[Detection, ...]


@dataclass(frozen=True)
class Unreadable:
    """An image file that could not be read."""

    input: Input
    problem: OrigError


def detect_files(
    inputs: Iterable[Input], detector: Detector, batch_size: int, threads: int | None = None
) -> Iterator[Seen | Unreadable]:
    """What is in each file, in the order of `inputs`; a file that cannot be read costs nothing but itself.

    Decoded images in memory are bounded by their bytes, however many files there are and however large.

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


class _Room:
    """Lets decoded images in, in the order of their files, while they fit into a number of bytes.

    The first that was not taken out yet is always let in: it may be larger than all the room.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: dict[int, int] = {}  # place in order -> bytes
        self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, place: int, size: int) -> None:
        """Waits until the files before have entered and there is room."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (place == self._next and self._fits(size)))
            self._held[place] = size
            self._next = max(self._next, place + 1)
            self._changed.notify_all()

    def leave(self, place: int) -> None:
        """Makes room: the image was taken, or there is none."""
        with self._changed:
            self._held.pop(place, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Lets all in that wait: nobody wants their images any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        held = sum(self._held.values())
        return not held or held + size <= self._size


def _read(entry: Input, place: int, room: _Room) -> Read:
    entered = False

    def admit(size: int) -> None:
        nonlocal entered
        entered = True
        room.enter(place, size)

    try:
        return read_picture(entry.source, admit)
    except OrigError as problem:
        return problem
    finally:
        if not entered:  # those behind it wait for its turn to be over
            room.enter(place, 0)


def _read_ahead(inputs: Iterable[Input], ahead: int, threads: int | None) -> Iterator[tuple[Input, Read]]:
    """Files in order, `ahead` of which may be read before they are asked for, as far as there is room."""
    entries = enumerate(inputs)
    room = _Room(_MAX_BYTES)
    with ThreadPoolExecutor(threads or cores()) as pool:
        waiting: deque[tuple[int, Input, Future[Read]]] = deque()
        try:
            while True:
                for place, entry in islice(entries, ahead - len(waiting)):
                    waiting.append((place, entry, pool.submit(_read, entry, place, room)))
                if not waiting:
                    return
                place, entry, future = waiting.popleft()
                read = future.result()
                del future  # it holds the image
                room.leave(place)
                yield entry, read
        finally:
            room.close()
            pool.shutdown(wait=False, cancel_futures=True)


def _detect(batch: list[tuple[Input, Read]], detector: Detector) -> Iterator[Seen | Unreadable]:
    detections = iter(detector.detect([read[0] for _, read in batch if not isinstance(read, OrigError)]))
    for entry, read in batch:
        if isinstance(read, OrigError):
            yield Unreadable(entry, read)
        else:
            yield Seen(entry, *read, tuple(next(detections)))
