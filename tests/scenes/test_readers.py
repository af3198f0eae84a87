"""Data sets are read by those for whom they are written: datasets, ultralytics, webdataset."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from origcli.scenes.dataset import Dataset, read_dataset
from origcli.scenes.elements import ALL_ELEMENTS
from origcli.scenes.png import decode_png
from origcli.scenes.records import LABELLED_SHARE
from origcli.scenes.writing import write_dataset
from tests.scenes.recipes import recipe

COUNT = 40


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(recipe(count=COUNT, max_elements=6), tmp_path_factory.mktemp("readers") / "set")


def run_python(code: str, *arguments: Any, **environment: str) -> str:
    """What a fresh Python says, without a network."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMAGEFOLDER = """
import hashlib, json, sys
from datasets import load_dataset
options = {"data_dir": sys.argv[1]} if sys.argv[3] == "imagefolder" else {}
rows = load_dataset(sys.argv[3], cache_dir=sys.argv[2], split="train", **options)
print(json.dumps([
    [r["text"], r["category"], r["elements"], r["image"].mode, r["image"].size,
     hashlib.sha256(r["image"].tobytes()).hexdigest()] for r in rows
]))
"""


@pytest.mark.parametrize("by", ["imagefolder", "its card"])
def test_datasets_reads_pictures_captions_and_elements(small: Dataset, tmp_path: Path, by: str) -> None:
    import hashlib

    pytest.importorskip("datasets")
    loaded = by if by == "imagefolder" else small.path
    rows = json.loads(run_python(IMAGEFOLDER, small.path, tmp_path, loaded).splitlines()[-1])
    assert len(rows) == COUNT
    expected = [
        [record["text"], record["category"], hashlib.sha256(small.image(index).tobytes()).hexdigest()]
        for index, record in enumerate(small.records)
    ]
    assert sorted([row[0], row[1], row[5]] for row in rows) == sorted(expected)
    assert {(row[3], tuple(row[4])) for row in rows} == {("RGB", (64, 64))}
    by_text = {record["text"]: record["elements"] for record in small.records}
    for text, _, elements, *_ in rows:
        assert [e["element"] for e in elements] == [e["element"] for e in by_text[text]]


YOLO = """
import contextlib, io, json, sys
noise = io.StringIO()
with contextlib.redirect_stdout(noise):
    from pathlib import Path
    from ultralytics.data.utils import check_det_dataset
    from ultralytics.data.dataset import YOLODataset
    data = check_det_dataset(sys.argv[1], autodownload=False)
    splits = {
        split: YOLODataset(img_path=data[split], data=data, task="detect", augment=False).get_labels()
        for split in ("train", "val")
    }
    labels = [*splits["train"], *splits["val"]]
print(json.dumps({
    "names": data["names"],
    "labels": {Path(l["im_file"]).stem: [l["cls"].ravel().tolist(), l["bboxes"].tolist()] for l in labels},
    "splits": {split: sorted(Path(l["im_file"]).stem for l in found) for split, found in splits.items()},
    "shapes": sorted({tuple(l["shape"]) for l in labels}),
}))
"""


def test_ultralytics_reads_labels_and_classes(small: Dataset, tmp_path: Path) -> None:
    quiet = {
        "YOLO_OFFLINE": "1",
        "YOLO_VERBOSE": "0",
        "YOLO_AUTOINSTALL": "0",
        "YOLO_CONFIG_DIR": str(tmp_path),
    }
    said = json.loads(run_python(YOLO, small.path / "data.yaml", **quiet).splitlines()[-1])
    assert said["names"] == {str(element.index): element.phrase for element in ALL_ELEMENTS}
    assert said["shapes"] == [[64, 64]] and len(said["labels"]) == COUNT
    assert said["splits"]["val"] == ["000009", "000019", "000029", "000039"]
    assert len(said["splits"]["train"]) == COUNT - 4
    indices = {element.phrase: element.index for element in ALL_ELEMENTS}
    for number, record in enumerate(small.records):
        shown = [e for e in record["elements"] if e["box"] and 1 - e["covered"] >= LABELLED_SHARE]
        classes, boxes = said["labels"][f"{number:06d}"]
        assert classes == [indices[item["element"]] for item in shown]
        for (x, y, width, height), item in zip(boxes, shown, strict=True):
            sides = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            assert sides == pytest.approx(item["box"], abs=2e-6)


CARD = """
import json, sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], cache_dir=sys.argv[2], split="train")
print(json.dumps([[row["__key__"], row["txt"], row["png"].size, row["json"]["category"]] for row in rows]))
"""


def test_datasets_reads_shards_by_their_card(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    data = write_dataset(recipe(count=12, shards=2), tmp_path / "set")
    rows = json.loads(run_python(CARD, data.path, tmp_path / "cache").splitlines()[-1])
    assert rows == [
        [f"{index:06d}", record["text"], [64, 64], record["category"]]
        for index, record in enumerate(data.records)
    ]


def test_webdataset_reads_shards(small: Dataset, tmp_path: Path) -> None:
    import webdataset

    path = tmp_path / "set"
    write_dataset(recipe(count=COUNT, max_elements=6, shards=3), path)
    urls = sorted(str(tar) for tar in (path / "shards").glob("*.tar"))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == [f"{index:06d}" for index in range(COUNT)]
    for index, sample in enumerate(samples):
        assert sample["txt"].decode() == small.captions[index]
        assert np.array_equal(decode_png(sample["png"]), small.image(index))
        told = json.loads(sample["json"])
        assert told["elements"] == small.records[index]["elements"]
    assert read_dataset(path).captions == small.captions
