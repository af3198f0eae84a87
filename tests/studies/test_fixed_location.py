"""The fixed-location study: how near is near, against uniform places."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import kstest

from origcli.errors import UsageError
from origcli.perception.elements import ElementsDistance, Layout
from origcli.reports.schema import ScoreReport, Status
from origcli.reports.studies import FixedLocationSummary
from origcli.runtime.context import open_runtime
from origcli.scenes.dataset import read_dataset
from origcli.scenes.elements import Element
from origcli.scenes.placement import fixed_place, place_freely
from origcli.settings import Settings
from origcli.studies import fixed_location
from origcli.studies.fixed_location import (
    Match,
    Offsets,
    at_chance,
    chance_distances,
    offsets,
    sign_flip_p_value,
    summarize,
)
from origcli.studies.queries import ScoredQueries
from tests.reports import samples
from tests.studies.toys import TOY

CIRCLE, SQUARE = Element.parse("big red full circle"), Element.parse("big blue full square")
QUERY = Layout(((CIRCLE, fixed_place(CIRCLE)), (SQUARE, fixed_place(SQUARE))))


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def summarized(queries: Sequence[Offsets]) -> FixedLocationSummary:
    return summarize([(one, at_chance(one, 200, random(9))) for one in queries], 100, random())


def free(source: np.random.Generator) -> Layout:
    return Layout(tuple((one, place_freely(one, source.random)) for one in (CIRCLE, SQUARE)))


def test_distances_are_of_the_best_matching_and_of_one_class() -> None:
    drawing = Layout(((CIRCLE, (0.9, 0.9)), (CIRCLE, (0.2, 0.3)), (SQUARE, (0.8, 0.7))))
    one = offsets(QUERY, [drawing, Layout(())])
    assert [[match.element for match in matches] for matches in one.drawings] == [[CIRCLE, SQUARE], []]
    assert one.elements == 4 and [match.drawn for match in one.drawings[0]] == [2, 1]
    x, y = fixed_place(CIRCLE)
    assert one.distances[0] == pytest.approx(np.hypot(x - 0.2, y - 0.3))
    assert one.drawings[0][0].places == pytest.approx(np.array([[x, y]]))


def test_chance_is_the_distance_of_uniform_places() -> None:
    source = random(1)
    one = offsets(QUERY, [free(source) for _ in range(400)])
    chance = chance_distances(one.drawings[0][0], 2000, random(2))
    assert chance.shape == (2000, 1)
    assert chance.mean() == pytest.approx(one.distances[::2].mean(), rel=0.05)
    several = Match(CIRCLE, np.array([fixed_place(CIRCLE)]), 3, np.zeros(1))
    assert chance_distances(several, 500, random(2)).mean() < 0.7 * chance.mean()  # the best of three


def test_elements_in_their_places_are_told_from_free_ones() -> None:
    summary = summarized([offsets(QUERY, [QUERY] * 4) for _ in range(12)])
    assert summary.distance.value == 0 and summary.within.value == 1
    assert summary.chance.value is not None and summary.chance.value > 0.2
    assert summary.p_value == pytest.approx(1 / 2**12)
    assert "sign-flip test over 12 images" in summary.test

    source = random(3)
    loose = summarized([offsets(QUERY, [free(source) for _ in range(4)]) for _ in range(12)])
    assert loose.p_value is not None and loose.p_value > 0.01


def crowded(source: np.random.Generator) -> Layout:
    """A free drawing that has one to four circles."""
    circles = [CIRCLE] * int(source.integers(1, 5))
    return Layout(tuple((one, place_freely(one, source.random)) for one in (*circles, SQUARE)))


@pytest.mark.parametrize("alike", [True, False], ids=["drawings alike", "drawings apart"])
def test_p_values_of_free_drawings_are_uniform(alike: bool) -> None:
    """With several circles, of which the nearest is matched, and with the four drawings of a token alike."""
    source, found = random(7), []
    for _ in range(120):
        queries = []
        for _ in range(6):
            drawings = [crowded(source)] * 4 if alike else [crowded(source) for _ in range(4)]
            one = offsets(QUERY, drawings)
            queries.append((one, at_chance(one, 60, source)))
        found.append(sign_flip_p_value(np.array([one.ranks.mean() for _, one in queries]), source))
    values = np.array(found, float)
    assert 0.4 < values.mean() < 0.6
    assert 0.02 <= (values <= 0.1).mean() <= 0.19  # 0.1 expected, of 64 possible values
    assert kstest(values, "uniform").pvalue > 1e-3


def test_nothing_found_is_told() -> None:
    summary = summarized([offsets(QUERY, [Layout(())])])
    assert summary.distance.value is None and summary.p_value is None


def test_one_query_gives_no_p_value() -> None:
    assert sign_flip_p_value(np.array([-0.5]), random()) is None


def test_where_nothing_was_drawn_no_figure_is_named(tmp_path: Path) -> None:
    report = ScoreReport.model_construct(status=Status.complete, provenance=samples.provenance(), results=())
    assert fixed_location._write_figure(tmp_path, ScoredQueries(report, ())) == ()
    assert not list(tmp_path.iterdir())


class InPlace(ElementsDistance):
    """A metric whose detector sees a circle and a square in their places in every picture."""

    def __init__(self) -> None:
        self.version = "1"

    def features(self, images: Sequence[Image.Image]) -> list[Layout]:
        return [
            Layout(
                tuple(
                    (one, fixed_place(one)) for one in (CIRCLE, SQUARE, Element.parse("big red full square"))
                )
            )
            for _ in images
        ]

    def between(self, a: Layout, b: Layout) -> float:
        return 0.5


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("origcli.scoring.setup.open_metric", lambda *_, **__: InPlace())
    monkeypatch.setattr("origcli.scoring.measure.LEAST_RANGE", -10.0)
    monkeypatch.setenv("ORIGCLI_CACHE", str(tmp_path / "cache"))


def study(settings: Settings, directory: Path, **options: Any) -> Any:
    with open_runtime(settings.runtime, directory) as runtime:
        return fixed_location.run_fixed_location(settings, runtime, **options)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of a scale without length
@pytest.mark.usefixtures("in_place")
def test_a_given_model_is_measured(
    tmp_path: Path,
    tiny_bert_pipeline_dir: Path,
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = tiny_settings(
        fixed_location={"queries": 12, "samples": 4}, score={"calibrate": True, "until_reached": True}
    )
    report = study(settings, tmp_path / "run", model=str(tiny_bert_pipeline_dir))
    assert not (tmp_path / "run" / "model").exists()
    data = read_dataset(tmp_path / "run" / "queries" / "common")
    pairs = [record["text"] for record in data.records]  # in their places, so equal words are equal pictures
    assert [one.caption for one in report.results] == list(dict.fromkeys(pairs)) != pairs
    found = [one for one in report.results if one.matched]
    assert found and all(
        one.drawings == 4 and one.distance.value == pytest.approx(0, abs=1e-6) for one in found
    )
    assert report.summary.p_value == pytest.approx(1 / 2 ** len(found))
    own = report.provenance.settings["fixed_location"]
    assert (own["seed"], own["queries"]) == (20242, 12)
    assert report.provenance.dataset_hash == data.hash
    assert (tmp_path / "run" / report.figures[0]).stat().st_size
    scored = json.loads((tmp_path / "run" / "score" / "report.json").read_text())
    assert {one["threshold"]["source"] for one in scored["results"]} == {"none"}  # it needs none
    assert scored["results"][0]["image"]["path"] == "run/queries/common/images/00000/000000.png"


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of a scale without length
@pytest.mark.usefixtures("in_place")
def test_a_model_is_trained_on_fixed_places_once(
    tmp_path: Path, tiny_settings: Callable[..., Settings]
) -> None:
    changes = {name: TOY[name] for name in ("vae", "text_encoder", "unet")}
    changes["text_encoder"] = {**TOY["text_encoder"], "max_length": 36}
    settings = tiny_settings(
        **changes, synth={"count": 24}, fixed_location={"queries": 2, "samples": 2}, runtime={"threads": 1}
    )
    report = study(settings, tmp_path)
    assert report.provenance.model.source.endswith("model/unet/pipeline")
    weights = tmp_path / "model" / "unet" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    written = weights.stat().st_mtime_ns
    assert study(settings, tmp_path).to_json() == report.to_json()
    assert weights.stat().st_mtime_ns == written
    other = settings.text_encoder.model_copy(update={"steps": 3})
    with pytest.raises(UsageError, match=r"text_encoder\.steps was 2, is 3"):
        study(settings.model_copy(update={"text_encoder": other}), tmp_path)
