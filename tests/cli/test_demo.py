"""`origcli demo`: both bundled images in one report, whatever the environment says of models."""

import json
from pathlib import Path

import pytest

from origcli.cli.app import main
from origcli.cli.demo import examples
from origcli.images.inputs import find_inputs
from origcli.scenes.dataset import read_dataset
from origcli.studies.rarity import stands_close
from tests.docs.strip import THEMES, strip

TINY = {
    "ORIGCLI_SCORE_MODEL": "sd15",  # the demo takes the bundled model all the same
    "ORIGCLI_SCORE_MAX_TOKENS": "1",
    "ORIGCLI_SCORE_SAMPLES": "2",
    "ORIGCLI_SCORE_CEILING_SAMPLES": "8",
    "ORIGCLI_SCORE_BOOTSTRAP": "20",
    "ORIGCLI_INVERT_STEPS": "2",
    "ORIGCLI_INVERT_BATCH_SIZE": "2",
    "ORIGCLI_DRAW_STEPS": "5",
}


def test_both_images_are_in_one_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {**TINY, "ORIGCLI_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--device", "cpu", "--threads", "1", "--quiet", "--offline", "--format", "json"])

    assert stopped.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(Path("runs/demo-shapes/report.json").read_text("utf-8"))
    assert [result["group"] for result in report["results"]] == ["common", "unseen"]
    assert all(result["originality"]["value"] is not None for result in report["results"])
    page = Path("runs/demo-shapes/report.html").read_text("utf-8")
    assert "common" in page and "unseen" in page

    light, dark = (strip(Path("runs/demo-shapes"), theme) for theme in THEMES)
    assert light.size == dark.size and light.getpixel((0, 0)) != dark.getpixel((0, 0))
    assert light.crop((12, 36, 124, 260)).getcolors(1) is None, "the images are shown"


def test_the_unseen_image_is_the_first_of_its_seed_whose_elements_stand_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = (
        "synth data --mixture originality --category unseen --count 4 --no-overlap --resolution 64 --quiet"
    )
    with pytest.raises(SystemExit):
        main(words.split())
    records = read_dataset("data").records
    first = next(number for number, record in enumerate(records) if not stands_close(record))
    made = find_inputs(["data"])[first]
    assert made.group == "unseen"
    assert made.path.read_bytes() == examples()[1].path.read_bytes()
