"""Runs by their content: images that moved or were exchanged, and parts of a list that are joined."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import InputError, UsageError
from origcli.images.inputs import Input
from origcli.inversion.token_files import write_tokens
from origcli.reports.writers import read_report
from origcli.runtime.run_directory import RunDirectory
from origcli.scoring import merging, run_archive
from origcli.settings import Settings
from tests.chaos.processes import contents
from tests.scoring.runs import bytes_of, score

pytestmark = pytest.mark.usefixtures("pixel_metric")

Tiny = Callable[..., Settings]


class Killed(Exception):
    """Stands for a kill."""


def moved(pictures: list[Input], to: Path) -> list[Input]:
    """The same images in another place."""
    to.mkdir()
    return [Input(Path(shutil.copy(one.path, to)), one.name, one.group) for one in pictures]


def stop_at(name: str) -> Callable[[Any], None]:
    def listen(outcome: Any) -> None:
        if outcome.id == name:
            raise Killed

    return listen


def joined(sources: list[Path], out: Path) -> Any:
    with RunDirectory(out, "replace"):
        merging.merge(sources, out)
    return read_report(out, "score")


# -- images --------------------------------------------------------------------------------------


@pytest.mark.fault(65, "moved images are resumed, with the bytes of an unbroken run at the new place")
def test_a_run_goes_on_where_its_images_are_now(
    tmp_path: Path, pictures: list[Input], tiny_settings: Tiny
) -> None:
    settings = tiny_settings()
    with pytest.raises(Killed):
        score(settings, tmp_path / "out", pictures, stop_at("b"))
    there = moved(pictures, tmp_path / "there")
    heard: list[Any] = []
    score(settings, tmp_path / "out", there, heard.append)
    assert [one.image.path for one in heard] == [str(one.path) for one in there]
    score(settings, tmp_path / "whole", there)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.fault(65, "an image that was exchanged under its name is refused by name")
def test_an_exchanged_image_is_named(tmp_path: Path, pictures: list[Input], tiny_settings: Tiny) -> None:
    images = moved(pictures, tmp_path / "there")
    with pytest.raises(Killed):
        score(tiny_settings(), tmp_path / "out", images, stop_at("a"))
    shutil.copy(pictures[1].path, images[0].path)
    with pytest.raises(UsageError, match=r"a\.png: not the image that this run measured as 'a'"):
        score(tiny_settings(), tmp_path / "out", images)
    # One that was not measured yet, and one that cannot be read any more, are no contradiction.
    shutil.copy(pictures[0].path, images[2].path)
    images[0].path.unlink()
    report = score(tiny_settings(), tmp_path / "out", images)
    assert report.status == "complete"
    hashes = [result.image.sha256 for result in read_report(tmp_path / "out").results]
    assert hashes[0] == hashes[2] != hashes[1]


def test_other_images_are_named(tmp_path: Path, pictures: list[Input], tiny_settings: Tiny) -> None:
    score(tiny_settings(), tmp_path / "out", pictures[:2])
    other = Input(pictures[2].path, "d", "common")
    for images, words in (
        (pictures[:1], "'b' was among them"),
        (pictures, "'c' was not among them"),
        ([pictures[0], other], "'b' was among them"),
        ([pictures[1], pictures[0]], "'a' had another place"),
        (
            [pictures[0], Input(pictures[1].path, "b", "else")],
            "'b' had another place in the list, or another",
        ),
    ):
        with pytest.raises(UsageError, match=words):
            score(tiny_settings(), tmp_path / "out", images)


@pytest.mark.fault(12, "so are other tokens, and another reference set, under the same names")
def test_files_under_the_same_name_are_compared(
    tmp_path: Path, pictures: list[Input], tiny_settings: Tiny
) -> None:
    import torch

    given = {1: {"": torch.ones(1, 16)}}
    score(tiny_settings(), tmp_path / "given", pictures[:1], given=given)
    with pytest.raises(UsageError, match=r"given\.1 was"):
        score(tiny_settings(), tmp_path / "given", pictures[:1], given={1: {"": torch.zeros(1, 16)}})

    score(tiny_settings(), tmp_path / "reference", pictures)
    settings = tiny_settings(score={"reference": str(tmp_path / "reference"), "measure_anyway": True})
    score(settings, tmp_path / "out", pictures[:1])
    path = tmp_path / "reference" / "report.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(UsageError, match="reference was"):
        score(settings, tmp_path / "out", pictures[:1])


def test_a_start_that_moved_is_the_same(tmp_path: Path, pictures: list[Input], tiny_settings: Tiny) -> None:
    import torch

    for name in ("one", "two"):
        write_tokens(tmp_path / f"{name}.safetensors", "<x>", {"": torch.ones(1, 16)})
        settings = tiny_settings(invert={"initialization": str(tmp_path / f"{name}.safetensors")})
        score(settings, tmp_path / "out", pictures[:1])


@pytest.mark.fault(60, "a result that vanished from the log is no complete run")
def test_a_run_that_lost_results_is_not_complete(
    tmp_path: Path, pictures: list[Input], tiny_settings: Tiny
) -> None:
    score(tiny_settings(), tmp_path / "out", pictures)
    log = tmp_path / "out" / "results.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match="2 of 3 images"):
        run_archive.render_run(tmp_path / "out")


# -- parts ---------------------------------------------------------------------------------------


@pytest.mark.fault(66, "the joined run is partial and names them; joined with them later it is complete")
def test_parts_that_are_missing_are_named(tmp_path: Path, pictures: list[Input], tiny_settings: Tiny) -> None:
    score(tiny_settings(), tmp_path / "whole", pictures)
    for i in (1, 2, 3):
        report = score(tiny_settings(), tmp_path / f"{i}", pictures, shard=f"{i}/3")
        assert report.parts is not None and (report.parts.of, report.parts.held) == (3, (i,))
        assert json.loads((tmp_path / f"{i}" / "plan.json").read_bytes())["parts"] == {"of": 3, "held": [i]}
    two = joined([tmp_path / "3", tmp_path / "1"], tmp_path / "two")
    assert (two.status, [failure.message for failure in two.errors]) == ("partial", ["part 2/3 is missing"])
    assert "--shard 2/3" in two.errors[0].hint and two.parts.held == (1, 3)
    assert "part 2/3 is missing" in (tmp_path / "two" / "report.html").read_text()

    # What merge writes is a run like any other: it can be drawn again, joined, and overwritten.
    run_archive.render_run(tmp_path / "two")
    assert read_report(tmp_path / "two") == two
    all_of_it = joined([tmp_path / "2", tmp_path / "two"], tmp_path / "all")
    assert all_of_it.status == "complete" and all_of_it.parts is None
    assert bytes_of(tmp_path / "all") == bytes_of(tmp_path / "whole")
    again = joined([tmp_path / "1", tmp_path / "2", tmp_path / "3"], tmp_path / "all")
    assert again == all_of_it
    assert contents(tmp_path / "all") == contents(tmp_path / "whole")


@pytest.mark.fault(66, "a part without images is a part")
def test_an_empty_part_is_a_part(tmp_path: Path, pictures: list[Input], tiny_settings: Tiny) -> None:
    score(tiny_settings(), tmp_path / "whole", pictures[:2])
    for i in (1, 2, 3):
        assert score(tiny_settings(), tmp_path / f"{i}", pictures[:2], shard=f"{i}/3").status == "complete"
    assert not list(run_archive.read_saved(tmp_path / "3").results)
    report = joined([tmp_path / f"{i}" for i in (1, 2, 3)], tmp_path / "joined")
    assert report.status == "complete" and bytes_of(tmp_path / "joined") == bytes_of(tmp_path / "whole")


def test_parts_of_other_lists_are_refused(tmp_path: Path, pictures: list[Input], tiny_settings: Tiny) -> None:
    score(tiny_settings(), tmp_path / "1", pictures, shard="1/2")
    score(tiny_settings(), tmp_path / "2", pictures[:2], shard="2/2")
    score(tiny_settings(), tmp_path / "of-3", pictures, shard="2/3")
    score(tiny_settings(), tmp_path / "alone", pictures[1:2])
    for other in ("2", "of-3", "alone"):
        with pytest.raises(UsageError, match="not parts of one list"):
            joined([tmp_path / "1", tmp_path / other], tmp_path / "out")
    shutil.copytree(tmp_path / "1", tmp_path / "copy")
    with pytest.raises(InputError, match="both hold part 1/2"):
        joined([tmp_path / "1", tmp_path / "copy"], tmp_path / "out")
    with pytest.raises(UsageError, match="part of another list"):
        score(
            tiny_settings(), tmp_path / "1", [pictures[0], pictures[1], *moved_name(pictures[2])], shard="1/2"
        )
    assert not (tmp_path / "out").exists()


def moved_name(one: Input) -> list[Input]:
    return [Input(one.path, one.name, one.group), Input(one.path.with_name("x.png"), "x")]


def test_a_run_that_is_not_finished_is_not_joined(
    tmp_path: Path, pictures: list[Input], tiny_settings: Tiny
) -> None:
    with pytest.raises(Killed):
        score(tiny_settings(), tmp_path / "1", pictures, stop_at("b"))
    for work in (run_archive.render_run, lambda path: merging.merge([path], tmp_path / "out")):
        with pytest.raises(InputError, match="not finished"):
            work(tmp_path / "1")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="not the directory of a score run"):
        run_archive.read_saved(tmp_path / "nothing")


@pytest.mark.fault(21, "runs that are joined bring samples and tokens, and no pages or links")
def test_joined_runs_bring_nothing_foreign(
    tmp_path: Path, pictures: list[Input], tiny_settings: Tiny
) -> None:
    score(tiny_settings(), tmp_path / "run", pictures[:1])
    run, secret = tmp_path / "run", tmp_path / "secret.png"
    shutil.copy(run / "pictures/a/query.png", secret)
    for name, text in (
        ("pages/evil.html", "<script>"),
        ("pictures/a/evil.svg", "<svg>"),
        ("pictures/a/evil.html", "<script>"),
        ("pictures/a/m1-00.png", "<svg onload=x>"),
        ("embeddings/evil.pt", "pickle"),
    ):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(text)
    (run / "pictures/a/m1-01.png").unlink()
    (run / "pictures/a/m1-01.png").symlink_to(secret)
    joined([run], tmp_path / "joined")
    names = {path.relative_to(tmp_path / "joined").as_posix() for path in (tmp_path / "joined").rglob("*")}
    assert not {name for name in names if "evil" in name or name.endswith(("m1-00.png", "m1-01.png"))}
    assert {"pictures/a/query.png", "pictures/a/m1-02.png", "embeddings/a-m1.safetensors"} <= names
