"""Pictures beside a report: exact where small, readable back, and never from outside of it."""

import os
from pathlib import Path

import pytest
from PIL import Image

from origcli.errors import StorageError
from origcli.reports.picture_files import contained
from origcli.reports.saved_images import DRAWING, encoded, read_saved_image, save_images
from tests.reports import samples


def test_small_pictures_are_kept_exactly(tmp_path: Path) -> None:
    query = samples.picture(1)
    saved = save_images(tmp_path, "a", query=query, round_trip=query, drawings={1: [samples.picture(2)]})
    read = read_saved_image(tmp_path, saved.files.query)
    assert read is not None and read.tobytes() == query.tobytes()
    assert saved.drawings == {1: ("pictures/a/m1-00.png",)}
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        saved.files.query,
        saved.files.round_trip,
        saved.files.thumbnail,
        *saved.drawings[1],
    }


def test_large_drawings_are_copies_to_look_at_unless_kept_in_full(tmp_path: Path) -> None:
    large = samples.picture(1, 512)
    light = save_images(tmp_path / "light", "a", query=large, drawings={1: [large]})
    full = save_images(tmp_path / "full", "a", query=large, drawings={1: [large]}, full=True)
    copy = read_saved_image(tmp_path / "light", light.drawings[1][0])
    whole = read_saved_image(tmp_path / "full", full.drawings[1][0])
    assert copy is not None and copy.size == (DRAWING, DRAWING)
    assert whole is not None and whole.tobytes() == large.tobytes()


def test_encoded_pictures_are_written_as_they_are(tmp_path: Path) -> None:
    for size, suffix in ((64, "png"), (300, "webp")):
        kind, data = encoded(samples.picture(1, size), DRAWING)
        saved = save_images(tmp_path, "a", query=samples.picture(1), drawings={1: [data]})
        assert kind == suffix and saved.drawings[1][0].endswith(suffix)
        assert (tmp_path / saved.drawings[1][0]).read_bytes() == data


def test_equal_pictures_are_equal_bytes() -> None:
    assert encoded(samples.picture(3, 300), 256) == encoded(samples.picture(3, 300), 256)


def test_nothing_outside_the_report_is_a_picture_of_it(tmp_path: Path) -> None:
    inside = tmp_path / "report"
    inside.mkdir()
    samples.picture(1).save(tmp_path / "secret.png")
    (inside / "text.txt").write_text("secret")
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    samples.picture(1).save(inside / "own.png")
    for name in (
        "../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "text.txt",
        "nosuch.png",
        "",
        "a\0b.png",
    ):
        assert contained(inside, name) is None, name
        assert read_saved_image(inside, name) is None
    assert contained(inside, "own.png") == (inside / "own.png").resolve()
    assert contained(inside, None) is None


def test_a_fifo_named_like_a_picture_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert contained(tmp_path, "pipe.png") is None


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_a_damaged_picture_counts_as_absent(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(data)
    assert read_saved_image(tmp_path, "bad.png") is None


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("in the way")
    with pytest.raises(StorageError):
        save_images(tmp_path, "a", query=Image.new("RGB", (8, 8)))
