"""Images that are no files: a run over an archive and a table is a run like any other."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from origcli.errors import UsageError
from origcli.images.inputs import find_inputs
from origcli.runtime.context import open_runtime
from origcli.scoring.calibrate import read_held_out
from origcli.settings import Settings
from tests.images.makers import embedded, parquet, png, tar
from tests.scoring.runs import bytes_of, score

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("pixel_metric")


def test_a_run_over_an_archive_and_a_table_is_resumed_where_they_have_moved(
    tmp_path: Path, tiny_settings: Callable[..., Settings]
) -> None:
    settings = tiny_settings(score={"max_tokens": 1})
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    archive = tar(first / "a.tar", {"0.png": png("red", 32), "1.png": b"damaged", "2.png": png("blue", 32)})
    table = parquet(first / "t.parquet", {"image": embedded(png("green", 32), None)})
    arguments = [str(archive), str(table)]
    report = score(settings, tmp_path / "run", find_inputs(arguments))
    assert [failure.path for failure in report.errors] == [f"{archive}::1.png", f"{table}::1"]
    rows = (tmp_path / "run" / "report.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [
        [f"{archive}::0.png", "0"],
        [f"{archive}::2.png", "2"],
        [f"{table}::0", "t-0"],
        [f"{archive}::1.png", ""],
        [f"{table}::1", ""],
    ]
    before = bytes_of(tmp_path / "run")

    shutil.move(first, second)
    moved = [argument.replace("first", "second") for argument in arguments]
    score(settings, tmp_path / "run", find_inputs(moved))
    now = {name: data.replace(b"/second/", b"/first/") for name, data in bytes_of(tmp_path / "run").items()}
    assert now == before

    tar(second / "a.tar", {"0.png": png("white", 32), "1.png": b"damaged", "2.png": png("blue", 32)})
    with pytest.raises(UsageError, match=r"a\.tar::0\.png: not the image that this run measured"):
        score(settings, tmp_path / "run", find_inputs(moved))


def test_held_out_images_come_with_their_captions_and_without_those_that_cannot_be_read(
    tmp_path: Path, tiny_settings: Callable[..., Settings]
) -> None:
    settings = tiny_settings()
    images = {"image": embedded(png("red"), None, png("blue"), png("white")), "text": ["a", "b", "c", ""]}
    with open_runtime(settings.runtime, tmp_path / "out") as runtime:
        held_out, failures = read_held_out(
            [str(parquet(tmp_path / "t.parquet", images))], 10, 16, settings, runtime
        )
    assert [(one.caption, one.image.size) for one in held_out] == [("a", (16, 16)), ("c", (16, 16))]
    assert [failure.path for failure in failures] == [f"{tmp_path / 't.parquet'}::1"]
