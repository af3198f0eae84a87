"""The popularity study: which pictures are taken, and what is called equivalent."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from origcli.errors import InputError, UsageError
from origcli.reports.studies import PopularitySummary
from origcli.runtime.context import open_runtime
from origcli.scenes.dataset import read_dataset
from origcli.scenes.mixtures import Recipe
from origcli.scenes.records import scene_of
from origcli.scenes.writing import recipe_hash, write_dataset
from origcli.settings import Settings, SynthSettings, resolve
from origcli.studies import popularity
from origcli.studies.popularity import (
    check_training_data,
    common_scenes,
    compare,
    read_recipe,
    resampled_means,
)


def synth(**changes: Any) -> SynthSettings:
    flags = {"synth": {"mixture": "originality", "count": 60, **changes}}
    return resolve(flags, environment={})[0].synth


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "shapes"
    write_dataset(Recipe(synth(), 3), path)
    return path


def test_the_recipe_is_read_back(data: Path) -> None:
    for path in (data, data / "dataset.json"):
        assert read_recipe(path) == Recipe(synth(), 3)


def test_trained_pictures_are_those_of_the_data_set(data: Path) -> None:
    kept = [scene_of(record) for record in read_dataset(data).records]
    chosen = common_scenes(read_recipe(data), 4)
    assert len(chosen) == 4
    for scene in chosen:
        assert scene.category == "common"
        assert any(
            [(p.element, round(p.x, 6)) for p in scene.placed] == [(p.element, p.x) for p in other.placed]
            for other in kept
        )
        assert all(placed.covered == 0 for placed in scene.placed)


def test_too_few_pictures_and_other_mixtures_are_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not 50"):
        common_scenes(read_recipe(data), 50)
    write_dataset(Recipe(synth(mixture="uniform", count=2), 0), tmp_path / "uniform")
    with pytest.raises(InputError, match="without common pairs"):
        read_recipe(tmp_path / "uniform")
    (tmp_path / "odd.json").write_text('{"recipe": {"seed": "x"}}')
    with pytest.raises(InputError, match="no data set's recipe"):
        read_recipe(tmp_path / "odd.json")
    with pytest.raises(InputError, match="nope: no such data set"):
        read_recipe(tmp_path / "nope")


def compared(
    trained: float, fresh: float, spread: float, count: int = 40, margin: float = 0.1
) -> PopularitySummary:
    random = np.random.default_rng(0)
    distances = {
        "trained": random.normal(trained, spread, (count, 1, 1, 4)),
        "fresh": random.normal(fresh, spread, (count, 1, 1, 4)),
    }
    samples = {group: resampled_means(one, 400, random) for group, one in distances.items()}
    return compare(distances, samples, 0.1)  # type: ignore[arg-type]


def test_equal_groups_are_equivalent_different_ones_are_not_and_few_pictures_decide_nothing() -> None:
    assert compared(0.4, 0.4, 0.05).equivalent is True
    assert compared(0.2, 0.5, 0.05).equivalent is False
    assert compared(0.4, 0.45, 0.6, count=4).equivalent is None


def test_the_difference_is_fresh_less_trained() -> None:
    summary = compared(0.2, 0.5, 0.02)
    assert summary.difference.value == pytest.approx(0.3, abs=0.02)
    assert summary.low_90 is not None and summary.high_90 is not None
    assert summary.difference.low is not None and summary.difference.high is not None
    assert summary.difference.low <= summary.low_90 <= summary.high_90 <= summary.difference.high


def test_nothing_measured_decides_nothing() -> None:
    nothing = {group: np.empty((0, 1, 1, 1)) for group in ("trained", "fresh")}
    samples = {group: np.empty(0) for group in nothing}
    summary = compare(nothing, samples, 0.1)  # type: ignore[arg-type]
    assert summary.equivalent is None and summary.difference.value is None


@pytest.mark.usefixtures("narrow_metric")
def test_a_whole_study(
    tmp_path: Path, data: Path, tiny_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = tiny_settings(popularity={"queries": 2}, score={"calibrate": True, "until_reached": True})
    with open_runtime(settings.runtime, tmp_path) as runtime:
        report = popularity.run_popularity(data, settings, runtime)
    scored = json.loads((tmp_path / "score" / "report.json").read_text())
    assert {one["threshold"]["source"] for one in scored["results"]} == {"none"}  # it needs none
    assert scored["results"][0]["image"]["path"] == "queries/trained/000.png"
    assert [(one.group, one.images) for one in report.results] == [("trained", 2), ("fresh", 2)]
    assert report.summary is not None and report.summary.margin == 0.1
    assert report.provenance.settings["score"]["max_tokens"] == 1  # type: ignore[index,call-overload]
    files = [tmp_path / "queries" / group / f"{n:03d}.png" for group in ("trained", "fresh") for n in (0, 1)]
    pictures = [Image.open(path) for path in files]
    assert {picture.size for picture in pictures} == {(64, 64)}
    assert len({picture.tobytes() for picture in pictures}) == 4
    own = report.provenance.settings["popularity"]
    assert own == settings.popularity.model_dump(mode="json")
    assert report.results[0].dataset_hash == read_dataset(data).hash
    assert report.provenance.dataset_hash == "+".join(str(one.dataset_hash) for one in report.results)
    assert any("it is assumed" in note for note in report.provenance.notes)

    # Other data, seeds and margins are not gone on with, and leave the pictures as they are.
    write_dataset(Recipe(synth(), 4), tmp_path / "other")
    before = [path.read_bytes() for path in files]
    for given, changes, named in (
        (tmp_path / "other", {}, "data.trained"),
        (data, {"seed": 1}, "data.fresh"),
        (data, {"margin": 0.5}, "margin was 0.1, is 0.5"),
    ):
        changed = tiny_settings(popularity={"queries": 2, **changes})
        with open_runtime(settings.runtime, tmp_path) as runtime, pytest.raises(UsageError, match=named):
            popularity.run_popularity(given, changed, runtime)
    assert [path.read_bytes() for path in files] == before


def test_the_data_are_compared_with_those_that_the_model_was_trained_on(data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(data)
    (tmp_path / "report.json").write_text(json.dumps({"results": [{"dataset_hash": recipe_hash(recipe)}]}))
    assert check_training_data(recipe, tmp_path / "pipeline") == ()
    with pytest.raises(InputError, match="trained on other data"):
        check_training_data(Recipe(recipe.settings, 99), tmp_path / "pipeline")
    assert len(check_training_data(recipe, tmp_path / "elsewhere" / "pipeline")) == 1
