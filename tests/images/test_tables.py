import threading
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import InputError
from origcli.images.inputs import find_captioned, find_inputs
from origcli.images.reading import read_picture
from origcli.images.tables import _Reader
from tests.images.makers import COLORS, embedded, parquet, png

pytest.importorskip("pyarrow")


def test_each_row_is_an_image(tmp_path: Path) -> None:
    images = embedded(*(png(color) for color in COLORS))
    path = parquet(
        tmp_path / "train.parquet", {"image": images, "label": [1, 1, 2, None], "text": list("abcd")}
    )
    found = find_inputs([str(path)], group_column="label")
    assert [(one.name, one.group, Path(one.where).name) for one in found] == [
        ("train-0", "1", "train.parquet::0"),
        ("train-1", "1", "train.parquet::1"),
        ("train-2", "2", "train.parquet::2"),
        ("train-3", "", "train.parquet::3"),
    ]
    pixels = [read_picture(one.source)[0].getpixel((0, 0)) for one in found]
    assert pixels == [(255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)]
    captioned = find_captioned(str(path))
    assert captioned is not None and [caption for _, caption in captioned] == list("abcd")


def test_a_null_row_costs_itself(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"picture": [png("red"), None, png("blue")]})
    first, null, last = find_inputs([str(path)])
    with pytest.raises(InputError, match=r"a\.parquet::1: no image: the row is null"):
        read_picture(null.source)
    assert [read_picture(one.source)[0].getpixel((0, 0)) for one in (first, last)] == [
        (255, 0, 0),
        (0, 0, 255),
    ]


def test_a_path_in_a_row_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    rows = [{"bytes": None, "path": str(tmp_path / "secret.png")}, {"bytes": png(), "path": "a.png"}]
    one, _ = find_inputs([str(parquet(tmp_path / "a.parquet", {"image": rows}))])
    with pytest.raises(InputError, match="holds the path of an image and not the image"):
        read_picture(one.source)


@pytest.mark.parametrize(
    ("columns", "words", "hint"),
    [
        ({"text": ["a"], "n": [1]}, "no column of images", "it has text, n"),
        ({"image": [b"a"], "mask": [b"b"]}, "several columns of images: image, mask", "--image-column image"),
        ({"image": []}, "no column of images", ""),
    ],
)
def test_without_one_column_of_images_it_is_told(tmp_path: Path, columns: Any, words: str, hint: str) -> None:
    path = parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(InputError, match=words) as caught:
        find_inputs([str(path)])
    assert hint in caught.value.hint


def test_one_of_several_columns_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"image": [png("red")], "mask": [png("blue")]})
    (one,) = find_inputs([str(path)], image_column="mask")
    assert read_picture(one.source)[0].getpixel((0, 0)) == (0, 0, 255)
    for image, group in (("masks", None), ("mask", "set")):
        with pytest.raises(InputError, match="no column"):
            find_inputs([str(path)], image_column=image, group_column=group)


def test_what_is_no_parquet_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="not a Parquet file"):
        find_inputs([str(tmp_path / "a.parquet")])


def test_a_damaged_row_group_is_an_error_of_its_rows(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"image": [png("red", 64), png("blue", 65)]}, rows_a_group=1)
    start = path.read_bytes().index(b"\x89PNG")
    data = bytearray(path.read_bytes())
    data[4:start] = b"\xff" * (start - 4)
    path.write_bytes(data)
    first, second = find_inputs([str(path)])
    with pytest.raises(InputError):
        read_picture(first.source)
    assert read_picture(second.source)[0].size == (65, 65)


def test_rows_are_read_in_any_order_and_by_several_threads(tmp_path: Path) -> None:
    rows = [bytes([number]) * 10 for number in range(40)]
    reader = _Reader(parquet(tmp_path / "a.parquet", {"image": rows}, rows_a_group=15), "image")
    assert [reader.read(row) for row in (39, 0, 14, 15, 3)] == [rows[row] for row in (39, 0, 14, 15, 3)]
    read: dict[int, bytes] = {}

    def take(numbers: range) -> None:
        read.update({number: reader.read(number) for number in numbers})

    threads = [threading.Thread(target=take, args=(range(start, 40, 4),)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == dict(enumerate(rows))


def test_rows_in_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("origcli.images.tables._KEPT_BYTES", 2500)
    rows = [bytes([number]) * 1000 for number in range(20)]
    reader = _Reader(parquet(tmp_path / "a.parquet", {"image": rows}), "image")
    for number, row in enumerate(rows):
        assert reader.read(number) == row
        assert len(reader._kept) <= 2
