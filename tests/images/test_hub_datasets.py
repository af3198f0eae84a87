import pickle
import re
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from origcli.errors import InputError
from origcli.images.hub_datasets import rows_of
from origcli.images.inputs import find_captioned, find_inputs
from origcli.images.reading import read_picture
from tests.hub_server import point_to
from tests.images.makers import embedded, parquet, png
from tests.serving import serving

datasets = pytest.importorskip("datasets")


@pytest.fixture
def dataset() -> Any:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "kind": datasets.ClassLabel(names=["common", "original"]),
        }
    )
    rows = {"image": embedded(png("red"), None, png("blue")), "text": ["a", "", "c"], "kind": [0, 1, 1]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_saved_data_set_is_read_row_by_row(dataset: Any, tmp_path: Path) -> None:
    path = tmp_path / "cats"
    dataset.save_to_disk(path)
    for argument in (str(path), f"hf:{path}"):
        found = find_inputs([argument], group_column="kind", offline=True)
        assert [(one.name, one.group) for one in found] == [
            ("cats-0", "common"),
            ("cats-1", "original"),
            ("cats-2", "original"),
        ]
        assert found[2].where == f"hf:{path}::2"
        assert read_picture(found[2].source)[0].getpixel((0, 0)) == (0, 0, 255)
        with pytest.raises(InputError, match="the row is null"):
            read_picture(found[1].source)
    captioned = find_captioned(f"hf:{path}", offline=True)
    assert captioned is not None and [caption for _, caption in captioned] == ["a", "c"]


def test_a_directory_is_read_as_the_library_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    for split, color in (("train", "red"), ("test", "blue")):
        parquet(data / f"{split}-00000-of-00001.parquet", {"image": embedded(png(color))})
    with pytest.raises(InputError, match="several splits: train, test") as caught:
        find_inputs([f"hf:{tmp_path / 'set'}"], image_column="image", offline=True)
    assert caught.value.hint.endswith("set:train")


def test_a_path_that_leads_out_of_a_data_set_is_refused(dataset: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "own.png").write_bytes(png("blue"))
    rows = [{"bytes": None, "path": str(tmp_path / name)} for name in ("secret.png", "set/own.png")]
    outside = datasets.Dataset.from_dict({"image": rows}, features=datasets.Features(image=datasets.Image()))
    secret, own = rows_of(outside, "mine", roots=[tmp_path / "set"])
    with pytest.raises(InputError, match="leads out of the data set"):
        read_picture(secret.source)
    assert read_picture(own.source)[0].getpixel((0, 0)) == (0, 0, 255)
    for loaded in rows_of(outside, "mine"):  # by the program that gives it
        read_picture(loaded.source)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("hf:", "not the name of a data set"),
        ("hf:a:b:c:d", "not the name of a data set"),
        ("hf:nobody/nothing", "cannot be loaded"),
    ],
)
def test_what_is_no_data_set_is_told(argument: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_inputs([argument], offline=True)


def test_columns_of_images_are_counted(dataset: Any) -> None:
    with pytest.raises(InputError, match="no column of images"):
        rows_of(dataset.remove_columns("image"), "mine")
    with pytest.raises(InputError, match="several columns of images: image, other"):
        rows_of(
            dataset.add_column("other", dataset.data.table.column("image"), feature=datasets.Image()), "mine"
        )


def test_a_format_of_the_data_set_does_not_matter(dataset: Any) -> None:
    first = rows_of(dataset.with_format("numpy"), "mine")[0]
    assert read_picture(first.source)[0].getpixel((0, 0)) == (255, 0, 0)
    again = pickle.loads(pickle.dumps(first.source))  # noqa: S301  # as it goes to a worker of a cluster
    assert again.read() == png("red")


@pytest.mark.parametrize(
    ("answer", "words", "hint"),
    [
        (
            (404, "RepoNotFound"),
            "doesn't exist on the Hub or cannot be accessed",
            "check the name; .*hf auth",
        ),
        ((401, "GatedRepo"), "a gated dataset on the Hub. You must be authenticated", "hf auth login"),
        ((403, "GatedRepo"), "a gated dataset on the Hub. Visit the dataset page", "hf auth login"),
        ((403, ""), "the Hub answered 403$", "hf auth login"),
        ((429, ""), "the Hub answered 429$", "try again later"),
        ((503, ""), "the Hub answered 503$", "try again later"),
        (None, "the Hub cannot be reached$", "check the network"),
    ],
)
def test_what_the_hub_answers_is_told_with_its_remedy(
    answer: tuple[int, str] | None, words: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            assert answer is not None
            self.send_response(answer[0])
            self.send_header("X-Error-Code", answer[1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET()

    for name in ("HF_DATASETS_CACHE", "HF_MODULES_CACHE"):
        monkeypatch.setattr(datasets.config, name, str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the client's own attempts
    with serving(Refusing) as url:
        # Port 9 (discard) of the loopback: nobody listens there.
        point_to(monkeypatch, url if answer else "http://127.0.0.1:9")
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", constants.ENDPOINT)
        with pytest.raises(InputError, match=words) as caught:
            find_inputs(["hf:someone/cats"])
    assert caught.value.message.startswith("hf:someone/cats: cannot be loaded: ")
    assert re.search(hint, caught.value.hint)
