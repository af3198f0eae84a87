"""`origcli invert` as a user runs it."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from origcli.cli.invert import parse_counts
from origcli.errors import UsageError, exit_code
from tests.cli.command_line import run_here

QUICK = ("--learning-steps", "2", "--batch-size", "2", "--threads", "1", "--device", "cpu")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "My Cat.png")
    return tmp_path / "My Cat.png"


@pytest.mark.parametrize(
    ("text", "counts"),
    [("1-5", [1, 2, 3, 4, 5]), ("3", [3]), ("1,2,4-6", [1, 2, 4, 5, 6]), ("2,2, 1", [1, 2]), ("4-4", [4])],
)
def test_token_counts(text: str, counts: list[int]) -> None:
    assert parse_counts(text) == counts


@pytest.mark.parametrize("text", ["", "0", "0-3", "5-1", "a", "1-", "-1", "1..5", "100", "1-2-3", "²"])
def test_what_is_no_token_count_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--tokens"):
        parse_counts(text)


def test_exit_codes_of_partial_runs() -> None:
    assert [exit_code(codes) for codes in (set(), {"input"}, {"input", "non-finite"})] == [0, 3, 8]


def test_a_picture_and_a_file_that_is_none(
    picture: Path, tiny_bert_pipeline_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, out = picture.with_name("bad.png"), picture.with_name("run")
    bad.write_bytes(b"")
    picture.with_name("notes.txt").touch()
    done = run_here(
        capsys,
        *("invert", picture.parent, "--model", tiny_bert_pipeline_dir, "--tokens", "1,2", "--out", out),
        *("--format", "csv", *QUICK),
    )
    assert done.status == 3, done.err
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["m"], row["placeholder"]) for row in rows] == [
        ("1", "<origcli-my-cat-m1>"),
        ("2", "<origcli-my-cat-m2>"),
        ("", ""),
    ]
    assert "bad.png" in rows[2]["path"] and rows[2]["error"].startswith("input:")
    assert "bad.png" in done.err and "Traceback" not in done.err
    report = json.loads((out / "report.json").read_text())
    assert report["schema"] == "origcli/invert/1" and report["status"] == "partial"
    assert [one["what"] for one in report["left_out"]] == ["1 file that is not an image: .txt"]
    again = run_here(capsys, "invert", picture, "--model", tiny_bert_pipeline_dir, "--out", out, *QUICK)
    assert again.status == 2 and "--resume" in again.err


@pytest.mark.fault(28, "the command exits with 2 and writes nothing")
def test_too_many_tokens_are_refused_before_learning(
    picture: Path, tiny_clip_pipeline_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = picture.with_name("run")
    words = ("invert", picture, "--model", tiny_clip_pipeline_dir, "--tokens", "30", "--out", out)
    done = run_here(capsys, *words, "--quiet", *QUICK)
    assert done.status == 2 and done.out == ""
    assert "longer than the text encoder" in done.err and not (out / "embeddings").exists()


def test_dry_run_writes_nothing(
    picture: Path,
    tiny_bert_pipeline_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(picture.parent)
    done = run_here(
        capsys,
        *("invert", picture, "--model", tiny_bert_pipeline_dir, "--dry-run", "--format", "json"),
        *("--quiet", *QUICK),
    )
    assert done.status == 0, done.err
    (plan,) = json.loads(done.out)
    assert plan["tokens"] == "1,2,3,4,5" and plan["steps"] == 2 and plan["minutes"] > 0
    assert [path.name for path in picture.parent.iterdir()] == [picture.name]
