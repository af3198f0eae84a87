"""rarity, popularity, fixed-location and train-detector as a user runs them, on a toy's budget."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.command_line import Ran, run_here
from tests.detection.tiny import ARCHITECTURE

TOY = {
    "ORIGCLI_INVERT_STEPS": "2",
    "ORIGCLI_INVERT_BATCH_SIZE": "2",
    "ORIGCLI_INVERT_EVALUATE_SAMPLES": "2",
    "ORIGCLI_DRAW_STEPS": "2",
    "ORIGCLI_SCORE_CEILING_SAMPLES": "4",
    "ORIGCLI_SCORE_BOOTSTRAP": "30",
    "ORIGCLI_SCORE_MEASURE_ANYWAY": "true",
}
PAGED = ("rarity", "popularity", "fixed-location")
QUICK = ("--device", "cpu", "--threads", "1", "--format", "json")


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache, so that the constants of the bundled model are made once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**TOY, "ORIGCLI_CACHE": str(tmp_path_factory.mktemp("cache"))}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in this process, which has loaded the libraries already."""

    def call(*words: str | Path) -> Ran:
        return run_here(capsys, *words)

    return call


def answer(run: Any, *words: str | Path) -> Any:
    """The report that a command prints, which is the one that it writes."""
    done = run(*words, *QUICK)
    assert done.status == 0, done.err
    printed = json.loads(done.out)
    out = Path(words[words.index("--out") + 1])
    assert json.loads((out / "report.json").read_text()) == printed
    if words[0] in PAGED:
        page = (out / "report.html").read_bytes()
        (out / "report.html").unlink()
        assert run("report", "render", out).status == 0
        assert (out / "report.html").read_bytes() == page
    return printed


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rarity_ranks_three_kinds_and_goes_on(tmp_path: Path, run: Any) -> None:
    out = tmp_path / "run"
    words = ("rarity", "--queries", "2", "--samples", "2", "--max-tokens", "1", "--out", out)
    report = answer(run, *words)
    assert report["provenance"]["command"] == "rarity" and report["status"] == "complete"
    kinds = {path.name for path in (out / "queries").iterdir() if path.is_dir()}
    assert kinds == {"common", "rare", "unseen"}
    assert (out / "figures" / "rarity.png").stat().st_size
    assert len(rows_of(out / "score")) >= 6
    again = answer(run, *words, "--resume")
    assert again["summary"] == report["summary"]
    refused = run(*words, *QUICK)
    assert refused.status == 2 and "--resume" in refused.err


def test_popularity_compares_what_was_trained_on_with_fresh(tmp_path: Path, run: Any) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    made = run("synth", data, "--mixture", "originality", "--count", "40", "--resolution", "64", "--quiet")
    assert made.status == 0, made.err
    words = ("popularity", data / "dataset.json", "--queries", "2", "--samples", "2", "--out", out)
    report = answer(run, *words)
    assert report["provenance"]["command"] == "popularity" and report["status"] == "complete"
    assert len(rows_of(out / "score")) >= 4
    few = run(*words[:2], "--queries", "30", "--out", tmp_path / "few", *QUICK)
    assert few.status == 3 and "common" in few.err


def test_fixed_location_measures_a_given_model(tmp_path: Path, run: Any) -> None:
    out = tmp_path / "run"
    words = ("fixed-location", "--model", "shapes", "--queries", "2", "--samples", "2", "--out", out)
    report = answer(run, *words)
    assert report["provenance"]["command"] == "fixed-location"
    assert [row["caption"] for row in rows_of(out) if row["caption"]] == [
        one["caption"] for one in report["results"]
    ]
    assert (out / "figures" / "fixed-location.png").stat().st_size


def test_a_detector_is_trained_and_detects(tmp_path: Path, run: Any) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    made = run("synth", data, "--count", "40", "--resolution", "32", "--quiet")
    assert made.status == 0, made.err
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(ARCHITECTURE))
    words = ("train-detector", data, "--architecture", tmp_path / "tiny.yaml", "--input-size", "32")
    report = answer(run, *words, "--epochs", "1", "--batch-size", "8", "--held-out", "10", "--out", out)
    assert report["provenance"]["command"] == "train-detector"
    assert {"precision", "recall", "map50", "map50_95"} <= report["results"][0]["metrics"].keys()
    assert {path.name for path in (out / "detector").iterdir()} >= {"detector.yaml", "detector.safetensors"}
    found = run(
        *("detect", data / "images", "--detector", out / "detector", "--count", "--format", "jsonl"),
    )
    assert found.status == 0, found.err
    assert len(found.out.splitlines()) == 40
