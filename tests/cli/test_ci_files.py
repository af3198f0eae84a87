"""`--junit` and `--summary` of score and compare: written whatever the gates say, never over other files."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from origcli.images.inputs import Input
from tests.cli.test_score import QUICK, run, tuned

__all__ = ["run", "tuned"]  # fixtures

FILES = ("--junit", "ci/junit.xml", "--summary", "ci/summary.md")


def states(path: str = "ci/junit.xml") -> list[tuple[str, str, list[str]]]:
    """Suite, file and the elements of each case."""
    return [
        (suite.get("name") or "", Path(case.get("name") or "").name, [child.tag for child in case])
        for suite in ElementTree.parse(path).getroot()
        for case in suite.iter("testcase")
    ]


def test_files_say_what_the_gate_found(run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path) -> None:
    Path("bad.png").write_bytes(b"")
    words = ("score", "pictures", "bad.png", "--model", tiny_bert_pipeline_dir, *QUICK, *FILES)
    done = run(*words, "--out", "out", "--fail-if", "floor>=0")
    assert done.status == 10
    failed = ["failure", "system-out"]
    assert states() == [
        *(("bert", name, failed) for name in ("a.png", "b.png", "c.png")),
        ("bert", "bad.png", ["error"]),
    ]
    text = Path("ci/summary.md").read_text("utf-8")
    assert "**3 of 4 images failed, 1 could not be scored**" in text
    assert "![](../out/pictures/a/thumbnail.webp)" in text
    for line in text.splitlines():
        for part in line.split("](")[1:]:
            assert (Path("ci") / part.partition(")")[0]).is_file()

    # A resumed run, whose images were all measured before, writes the same; other conditions, other results.
    assert run(*words, "--out", "out", "--resume", "--fail-if", "floor>=0").status == 10
    assert Path("ci/summary.md").read_text("utf-8") == text
    assert run(*words, "--out", "out", "--resume", "--fail-if", "floor>0.99").status == 3
    assert [tags for _, _, tags in states()] == [["system-out"]] * 3 + [["error"]]


def test_images_that_were_not_measured_are_skipped_where_they_are_allowed(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path
) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK, "--threshold", "0", *FILES)
    assert run(*words, "--out", "out").status == 9
    assert states() == [("bert", "a.png", ["failure", "system-out"])]
    assert run(*words, "--out", "out", "--resume", "--allow-unmeasured").status == 0
    assert states() == [("bert", "a.png", ["skipped", "system-out"])]


def test_several_models_are_suites_and_a_comparison(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path, tuned: Path
) -> None:
    models = ("--model", tiny_bert_pipeline_dir, "--model", tuned)
    done = run("score", pictures[0].path, *models, *QUICK, *FILES, "--out", "both", "--fail-if", "floor>=0")
    assert done.status == 10
    assert states() == [
        ("bert", "a.png", ["system-out"]),
        ("tuned", "a.png", ["failure", "system-out"]),
    ]
    text = Path("ci/summary.md").read_text("utf-8")
    sections = [line for line in text.splitlines() if line.startswith("## ")]
    assert sections == [f"## Originality to {words}" for words in ("bert", "tuned", "tuned against bert")]

    done = run("compare", "both/bert", "both/tuned", "--summary", "again.md", "--out", "compared", "--quiet")
    assert done.status == 0
    again = Path("again.md").read_text("utf-8")
    assert "![](both/bert/pictures/a/thumbnail.webp)" in again
    last = text.partition("against bert\n")[2].replace("../both/comparison", "compared")
    assert again.partition("against bert\n")[2] == last.replace("../", "")


def test_other_files_are_not_replaced(run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK)
    Path("list.csv").write_text("path\na.png\n")
    for flag in ("--junit", "--summary"):
        done = run(*words, flag, "list.csv")
        assert done.status == 2 and f"{flag} list.csv: exists" in done.err
    done = run(*words, "--junit", "x", "--summary", "x")
    assert done.status == 2 and "same file" in done.err
    assert Path("list.csv").read_text() == "path\na.png\n" and not Path("runs").exists()
    Path("empty.md").touch()  # as a CI system makes it for a step
    assert run(*words, "--summary", "empty.md").status == 0 and Path("empty.md").stat().st_size


def test_a_run_that_fails_leaves_no_results_of_another(
    run: Any, pictures: list[Input], tiny_bert_pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("score", pictures[0].path, "--model", tiny_bert_pipeline_dir, *QUICK, *FILES)
    assert run(*words).status == 0 and states()
    broken = Path("broken")
    broken.mkdir()
    assert run(*words, "--model", broken).status != 0
    assert not Path("ci/junit.xml").exists() and not Path("ci/summary.md").exists()
