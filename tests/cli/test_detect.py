import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from origcli.detection import reporting
from origcli.scenes.elements import Element
from origcli.scenes.mixtures import Recipe
from origcli.scenes.rendering import render
from origcli.scenes.scene import Placed, Scene
from origcli.scenes.visibility import arrange
from origcli.scenes.writing import write_dataset
from origcli.settings import resolve
from tests.cli.command_line import origcli, run_here
from tests.detection.tiny import write_tiny_detector

SHOWN = {
    "one": ["big red full circle"],
    "two": ["small blue empty square", "big green full star"],
    "twice": ["big red full circle", "big red full circle"],
    "none": [],
}
PLACES = [(0.25, 0.3), (0.72, 0.7)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """PNG files of known scenes."""
    directory = tmp_path_factory.mktemp("pictures")
    for name, phrases in SHOWN.items():
        elements = [Element.parse(phrase) for phrase in phrases]
        placed: tuple[Placed, ...] = arrange(elements, PLACES[: len(elements)])
        Image.fromarray(render(Scene(placed, "uniform"), 64)).save(directory / f"{name}.png")
    return directory


@pytest.fixture
def detect(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `origcli detect WORDS` in this process: status, stdout, stderr."""

    def run(*words: Any) -> Any:
        return run_here(capsys, "detect", *words)

    return run


def test_the_elements_of_pictures(detect: Any, pictures: Any) -> None:
    status, out, _ = detect(pictures, "--format", "json", "--quiet")
    assert status == 0
    report = json.loads(out)
    assert report["schema"] == "origcli/detect/1" and report["status"] == "complete"
    found = {r["id"]: sorted(d["element"] for d in r["detections"]) for r in report["results"]}
    assert found == {name: sorted(phrases) for name, phrases in SHOWN.items()}
    assert report["results"][2]["counts"] == {"big red full circle": 2}
    one = report["results"][1]["detections"][0]
    assert one["confidence"] >= 0.9
    (box,) = [p.box for p in arrange([Element.parse(SHOWN["one"][0])], PLACES[:1])]
    assert box is not None and one["box"] == pytest.approx([side * 64 for side in box], abs=1.5)
    assert report["summary"] == {
        "images": 4,
        "detections": 5,
        "counts": {"big red full circle": 3, "big green full star": 1, "small blue empty square": 1},
        "target": None,
        "frequency": None,
        "metrics": {},
        "confusion": None,
    }


def test_a_table_and_a_list_of_rows(detect: Any, pictures: Any) -> None:
    status, out, _ = detect(pictures / "one.png", "--quiet")
    assert status == 0 and "big red full circle" in out and "one.png" in out
    _, out, _ = detect(pictures, "--format", "csv", "--quiet")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["element"] for row in rows if row["id"] == "two"].count("big green full star") == 1
    assert [row["element"] for row in rows if row["id"] == "none"] == [""]
    _, out, _ = detect(pictures, "--format", "jsonl", "--quiet")
    assert all({"path", "element", "confidence"} <= set(json.loads(line)) for line in out.splitlines())


def test_multisets(detect: Any, pictures: Any) -> None:
    _, out, _ = detect(pictures, "--count", "--format", "jsonl", "--quiet")
    rows = {row["path"].rpartition("/")[2]: row for row in map(json.loads, out.splitlines())}
    assert rows["twice.png"]["counts"] == {"big red full circle": 2}
    assert rows["twice.png"]["elements"] == "2 × big red full circle"
    assert (rows["none.png"]["total"], rows["none.png"]["elements"]) == (0, "")


def test_a_bad_picture_costs_its_own_row(detect: Any, pictures: Any, tmp_path: Path) -> None:
    directory = shutil.copytree(pictures, tmp_path / "pictures")
    (directory / "none.png").write_bytes(b"")
    (directory / "two.png").write_bytes((directory / "two.png").read_bytes()[:60])
    (directory / "notes.txt").touch()
    status, out, err = detect(directory, "--format", "json")
    report = json.loads(out)
    assert status == 3 and report["status"] == "partial"
    assert [one["what"] for one in report["left_out"]] == ["1 file that is not an image: .txt"]
    assert [r["id"] for r in report["results"]] == ["one", "twice"]
    assert [e["path"] for e in report["errors"]] == [str(directory / "none.png"), str(directory / "two.png")]
    assert "is empty" in err and "none.png" in err
    status, out, _ = detect(directory, "--count", "--format", "csv", "--quiet")
    assert status == 3
    assert [bool(row["error"]) for row in csv.DictReader(io.StringIO(out))].count(True) == 2


def test_nothing_but_bad_pictures_is_a_failure(detect: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no")
    status, out, _ = detect(tmp_path, "--format", "json", "--quiet")
    assert status == 3 and json.loads(out)["status"] == "failed"


def test_a_list_from_stdin(pictures: Any) -> None:
    names = "".join(f"{pictures / name}.png\n" for name in ("twice", "one"))
    done = origcli("detect", "-", "--format", "csv", "--quiet", "--device", "cpu", input=names)
    assert done.returncode == 0 and done.stderr == ""
    assert [row["id"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["twice", "twice", "one"]


def test_boxes_are_drawn(detect: Any, pictures: Any, tmp_path: Path) -> None:
    status, _, _ = detect(pictures, "--annotate", tmp_path / "boxes", "--quiet")
    assert status == 0
    assert sorted(path.stem for path in (tmp_path / "boxes").iterdir()) == sorted(SHOWN)
    with Image.open(tmp_path / "boxes" / "one.png") as drawn, Image.open(pictures / "one.png") as plain:
        assert drawn.size == (384, 384)
        enlarged = plain.resize(drawn.size, Image.Resampling.NEAREST)
        assert drawn.tobytes() != enlarged.tobytes()
    with Image.open(tmp_path / "boxes" / "none.png") as drawn:
        assert drawn.getcolors() == [(384 * 384, (255, 255, 255))]


def test_a_sheet_for_the_eye_leaves_the_results_as_they_are(
    detect: Any, pictures: Any, tmp_path: Path
) -> None:
    _, plain, _ = detect(pictures, "--format", "csv", "--quiet")
    _, audited, _ = detect(pictures, "--format", "csv", "--quiet", "--audit", tmp_path / "new" / "sheet.png")
    assert audited == plain
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.width > 500 and len(sheet.getcolors(1 << 20) or ()) > 10


def test_a_data_set_tells_how_right_the_detector_is(detect: Any, tmp_path: Path) -> None:
    values = {
        "count": 60,
        "resolution": 64,
        "mixture": "uniform",
        "max_elements": 4,
        "sizes": ("big", "small"),
        "textures": ("full", "empty"),
    }
    settings, _ = resolve({"synth": values}, environment={})
    data = write_dataset(Recipe(settings.synth, 99), tmp_path / "data")
    status, out, _ = detect(data.path, "--evaluate", "--format", "json", "--quiet")
    assert status == 0
    report = json.loads(out)
    metrics = {name: estimate["value"] for name, estimate in report["summary"]["metrics"].items()}
    assert metrics["map50"] > 0.9 and metrics["precision_at_threshold"] > 0.9
    assert report["provenance"]["dataset_hash"] == data.hash
    assert len(report["summary"]["confusion"]["classes"]) == 61
    _, out, _ = detect(data.path, "--evaluate", "--quiet")
    assert "map50" in out


@pytest.mark.parametrize(
    "words, status, message",
    [
        (("{pictures}", "--detector", "{tmp}"), 4, "no detector here"),
        (("{tmp}/nowhere.png",), 3, "no such file"),
        (("{pictures}", "--confidence", "1.5"), 2, "confidence"),
        (("{pictures}", "--iou", "x"), 2, "iou"),
        (("{pictures}", "{pictures}", "--evaluate"), 2, "one data set"),
        (("{pictures}", "--evaluate"), 3, "no finished data set"),
        (("{pictures}", "--device", "cuda:99"), 5, "CUDA"),
    ],
)
def test_mistakes_are_told(
    detect: Any, pictures: Any, tmp_path: Path, words: Any, status: int, message: str
) -> None:
    told = detect(*(word.format(pictures=pictures, tmp=tmp_path) for word in words))
    assert told[0] == status and told[1] == ""
    assert message in told[2] and "Traceback" not in told[2]


@pytest.mark.fault(8, "found before any model is loaded")
def test_a_place_that_cannot_be_written_is_found_first(
    detect: Any, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(reporting, "load_yolo", lambda *_: pytest.fail("the detector was opened"))
    for words in (
        ("--annotate", tmp_path / "file" / "boxes"),
        ("--audit", tmp_path / "file" / "x" / "a.png"),
    ):
        status, out, err = detect(pictures, *words)
        assert status == 6 and out == "" and "cannot write" in err


def test_a_detector_of_ones_own(detect: Any, pictures: Any, tmp_path: Path) -> None:
    write_tiny_detector(tmp_path / "own")
    status, out, _ = detect(
        pictures, "--detector", tmp_path / "own", "--confidence", "0", "--format", "json", "--quiet"
    )
    report = json.loads(out)
    assert status == 0 and report["provenance"]["detector"]["name"] == str(tmp_path / "own")
    assert report["summary"]["detections"] > 0
    (tmp_path / "own" / "detector.safetensors").write_bytes(b"gone")
    status, _, err = detect(pictures, "--detector", tmp_path / "own")
    assert status == 4 and "sha256 differs" in err
