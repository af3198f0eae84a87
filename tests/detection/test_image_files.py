import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from origcli.detection.detector import Detection
from origcli.detection.image_files import Seen, Unreadable, detect_files
from origcli.images.inputs import Input
from origcli.scenes.elements import ALL_ELEMENTS


class Widths:
    """Finds in each picture one thing as wide as the picture; remembers the batches that it was given."""

    weights_hash, confidence = "", 0.5

    def __init__(self) -> None:
        self.batches: list[int] = []

    def detect(self, images: Any) -> Any:
        self.batches.append(len(images))
        return [[Detection(ALL_ELEMENTS[0], 0.9, (0.0, 0.0, float(i.width), 1.0))] for i in images]


@pytest.fixture
def files(tmp_path: Path) -> list[Input]:
    inputs = []
    for number in range(7):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (10 + number, 8)).save(path)
        inputs.append(Input(path, f"picture-{number}"))
    return inputs


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_each_file_gets_its_own_detections_in_order(
    files: list[Input], batch_size: int, threads: int
) -> None:
    detector = Widths()
    seen = list(detect_files(files, detector, batch_size, threads))
    assert [s.input for s in seen] == files
    assert [s.detections[0].box[2] for s in seen if isinstance(s, Seen)] == [
        10.0 + number for number in range(7)
    ]
    assert max(detector.batches) <= batch_size


@pytest.mark.fault(1, "its row has the error; its neighbors are detected")
def test_a_bad_file_costs_only_itself(files: list[Input], tmp_path: Path) -> None:
    files[2].path.write_bytes(files[2].path.read_bytes()[:40])
    files[4].path.unlink()
    (tmp_path / "5.png").write_bytes(b"")
    seen = list(detect_files(files, Widths(), 3, 2))
    assert [isinstance(s, Unreadable) for s in seen] == [i in (2, 4, 5) for i in range(7)]
    assert [s.input for s in seen] == files
    assert all(str(s.input.path) in s.problem.message for s in seen if isinstance(s, Unreadable))
    assert [s.detections[0].box[2] for s in seen if isinstance(s, Seen)] == [10.0, 11.0, 13.0, 16.0]


def test_large_pictures_go_in_smaller_batches(tmp_path: Path) -> None:
    inputs = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.new("1", (4000, 3000)).save(path)
        inputs.append(Input(path, f"picture-{number}"))
    detector = Widths()
    assert len(list(detect_files(inputs, detector, 32, 1))) == 4
    assert detector.batches[0] == 2  # 12 of 16 million pixels are not enough to stop at, 24 are


def test_few_files_are_read_ahead(files: list[Input], monkeypatch: pytest.MonkeyPatch) -> None:
    from origcli.detection import image_files

    read: list[Any] = []
    original = image_files._read

    def counted(entry: Any, *rest: Any) -> Any:
        read.append(entry)
        return original(entry, *rest)

    monkeypatch.setattr(image_files, "_read", counted)
    stream = detect_files(files, Widths(), 1, 1)
    assert isinstance(stream, Generator)
    next(stream)
    assert len(read) <= 5
    stream.close()


@pytest.mark.fault(14, "decoded images that wait for the detector are bounded by their bytes")
@pytest.mark.parametrize("room", [1, 3 * 400 * 300 * 4])
def test_decoded_pictures_are_bounded_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: Any
) -> None:
    """The width and height of 40 pictures are many times the room; at no time is more than it decoded."""
    from origcli.detection import image_files

    inputs = []
    for number in range(40):
        path = tmp_path / f"{number}.png"
        Image.new("1", (400, 300)).save(path)
        inputs.append(Input(path, f"picture-{number}"))
    inputs[7].path.write_bytes(b"damaged")
    inputs[8].path.unlink()

    most, lock = [0], threading.Lock()
    enter = image_files._Room.enter

    def entered(self: Any, place: Any, size: Any) -> None:
        enter(self, place, size)
        with lock:
            most[0] = max(most[0], sum(self._held.values()))

    monkeypatch.setattr(image_files, "_MAX_BYTES", room)
    monkeypatch.setattr(image_files._Room, "enter", entered)
    seen = list(detect_files(inputs, Widths(), 32, 4))
    assert [isinstance(one, Unreadable) for one in seen] == [i in (7, 8) for i in range(40)]
    assert 0 < most[0] <= max(room, 400 * 300 * 4)


def test_a_reader_that_stops_early_leaves_no_thread_waiting(
    files: list[Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    from origcli.detection import image_files

    monkeypatch.setattr(image_files, "_MAX_BYTES", 1)
    before = threading.active_count()
    stream = detect_files(files, Widths(), 1, 4)
    assert isinstance(stream, Generator)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_no_files_are_no_batches() -> None:
    assert list(detect_files([], Widths(), 4)) == []
