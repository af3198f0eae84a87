"""`origcli draw`, as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from origcli.cli.app import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_bert_pipeline_dir: Path,
) -> Run:
    """Runs `origcli draw` with the tiny pipeline in a directory of its own: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["draw", str(tiny_bert_pipeline_dir), *words, "--steps", "2", "--device", "cpu", "--quiet"])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


def drawn(out: str) -> list[str]:
    return [row["file"] for row in json.loads(out)]


def test_each_call_draws_into_a_directory_of_its_own(run: Run, tiny_bert_pipeline_dir: Path) -> None:
    words = ("--prompt", "circle", "-n", "1", "--format", "json")
    first = f"runs/draw-{tiny_bert_pipeline_dir.name}"
    for options, directory in (((), first), ((), f"{first}-2"), (("--force",), f"{first}-2")):
        status, out, err = run(*words, *options)
        assert (status, err, drawn(out)) == (0, "", [f"{directory}/0000.png"])
    assert Path(first, "0000.png").read_bytes() == Path(f"{first}-2", "0000.png").read_bytes()


def test_a_directory_that_is_asked_for_is_not_written_over(run: Run) -> None:
    words = ("-n", "2", "--out", "drawn", "--format", "json")
    status, out, _ = run("--prompt", "circle", "--prompt", "star", *words)
    assert status == 0 and drawn(out) == [f"drawn/000{i}.png" for i in range(4)]
    assert [row["prompt"] for row in json.loads(out)] == ["circle", "circle", "star", "star"]
    status, out, err = run(*words)
    assert (status, out) == (2, "") and "not empty" in err
    assert Path("drawn/0003.png").is_file()


def test_a_placeholder_needs_tokens(run: Run) -> None:
    status, out, err = run("--prompt", "a photo of {S}")
    assert (status, out) == (2, "") and "add --embeddings FILE" in err
