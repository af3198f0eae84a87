from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from origcli.errors import InputError
from origcli.images.contents import content_hash
from origcli.images.given import given_images
from origcli.images.inputs import Input, find_inputs
from origcli.images.reading import read_picture
from tests.images.makers import embedded, png

RED = Image.new("RGB", (8, 6), "red")


def found(images: Any, **options: Any) -> list[Input]:
    return find_inputs(given_images(images, **options))


def names(images: Any, **options: Any) -> list[tuple[str, str, str]]:
    return [(one.name, one.where, one.group) for one in found(images, **options)]


@pytest.mark.parametrize(
    "image",
    [
        RED,
        RED.convert("RGBA"),
        png("red"),
        bytearray(png("red")),
        np.asarray(RED),
        np.asfortranarray(RED),
        torch.from_numpy(np.array(RED)),
        {"image": RED, "label": 3},
        {"bytes": png("red"), "path": "a.png"},
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_image_of_each_kind(image: Any) -> None:
    given = [image] if isinstance(image, dict) else image
    (one,) = found(given)
    picture, facts = read_picture(one.source)
    assert (one.name, one.where) == ("image-1", "memory::1") and facts["path"] == "memory::1"
    assert picture.mode == "RGB" and picture.getpixel((5, 5)) == (255, 0, 0)
    assert facts["sha256"] == content_hash(one.source) == content_hash(found(given)[0].source)


def test_the_content_of_an_image_in_memory_is_what_is_measured() -> None:
    (first,), (same,), (other,) = (
        found(image) for image in (RED, np.asarray(RED), Image.new("RGB", (6, 8), "red"))
    )
    assert content_hash(first.source) == content_hash(same.source) != content_hash(other.source)


def test_an_image_in_memory_stays_as_it_was() -> None:
    image = Image.new("P", (4, 4), 3)
    before = (image.mode, image.tobytes(), dict(image.info))
    read_picture(found(image)[0].source)
    assert (image.mode, image.tobytes(), dict(image.info)) == before


def test_paths_addresses_and_images_in_memory_go_together(tmp_path: Path) -> None:
    RED.save(tmp_path / "a.png")
    given = [tmp_path / "a.png", RED, "http://localhost/b%20c.jpg", png()]
    assert names(given) == [
        ("a", str(tmp_path / "a.png"), ""),
        ("image-2", "memory::2", ""),
        ("b-c", "http://localhost/b%20c.jpg", ""),
        ("image-4", "memory::4", ""),
    ]


def test_names_and_groups_are_given(tmp_path: Path) -> None:
    RED.save(tmp_path / "a.png")
    expected = [("my-cat", "memory::My cat", "x"), ("dog", str(tmp_path / "a.png"), "y")]
    assert names({"My cat": RED, "dog": tmp_path / "a.png"}, groups=["x", "y"]) == expected
    assert names([RED, tmp_path / "a.png"], names=["My cat", "dog"], groups=("x", "y")) == expected
    assert [group for *_, group in names([RED, RED], groups="all")] == ["all", "all"]


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (7, {}, "int is not accepted: give a path"),
        ([RED, None], {}, "NoneType is not accepted"),
        (np.zeros((8, 8, 3), np.float32), {}, r"image 1 is an array of float32 \(8, 8, 3\): give uint8"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), {}, r"uint8 \(3, 8, 8\): .*permute"),
        (torch.zeros(3, 8, 8), {}, "float32 .* give uint8"),
        (np.zeros((2, 8, 8, 3), np.uint8), {}, "as a list"),
        (np.zeros((8, 8), np.uint8), {}, "PIL image"),
        (np.zeros((0, 8, 3), np.uint8), {}, "no pixels"),
        ([RED], {"names": ["a", "b"]}, "2 names for 1 images"),
        ([RED], {"groups": []}, "0 groups for 1 images"),
        ({"a": RED}, {"names": ["b"]}, "names are given twice"),
        ([{"label": 3}], {}, "no image: it has label"),
        ([{"a": RED, "b": RED}], {}, "several images: a, b; choose with image_column="),
        ([{"a": RED}], {"image_column": "b"}, "a row without 'b': it has a"),
    ],
)
def test_what_is_no_image_is_refused_by_what_it_is(images: Any, options: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        given_images(images, **options)


def test_damaged_bytes_cost_themselves() -> None:
    good, bad = found([png(), b"nothing"])
    assert read_picture(good.source)[0].size == (8, 8)
    with pytest.raises(InputError, match=r"memory::2: unsupported image format"):
        read_picture(bad.source)


def test_a_data_set_its_column_and_its_rows_are_images() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(image=datasets.Image(), kind=datasets.Value("string"))
    rows = {"image": embedded(png("red"), png("blue")), "kind": ["x", "y"]}
    data = datasets.Dataset.from_dict(rows, features=features)
    assert names(data, group_column="kind") == [
        ("dataset-0", "dataset::0", "x"),
        ("dataset-1", "dataset::1", "y"),
    ]
    for given in (data, data["image"], [data[0], data[1]], list(data["image"])):
        pixels = [read_picture(one.source)[0].getpixel((0, 0)) for one in found(given)]
        assert pixels == [(255, 0, 0), (0, 0, 255)]
    with pytest.raises(TypeError, match="give one of its splits: train"):
        given_images(datasets.DatasetDict(train=data))
    with pytest.raises(TypeError, match="not streamed"):
        given_images(data.to_iterable_dataset())
