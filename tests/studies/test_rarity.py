"""The rarity study: query sets apart from training data, and tests that tell an order from noise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from origcli.reports.schema import Status
from origcli.reports.writers import read_report
from origcli.runtime.context import open_runtime
from origcli.scenes.captions import parse_caption
from origcli.scenes.dataset import read_dataset
from origcli.settings import Settings
from origcli.studies import rarity
from origcli.studies.rarity import CATEGORIES, kendall, order_test

PAIRS = {
    "common": {"circle", "square"},
    "rare": {"circle", "triangle"},
    "unseen": {"square", "triangle"},
}


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scores(*lists: list[float]) -> Any:
    return dict(zip(CATEGORIES, lists, strict=True))


def test_a_clear_order_is_found() -> None:
    test = order_test(
        "originality", scores([0.1, 0.2, 0.15], [0.4, 0.5, 0.45], [0.8, 0.9, 0.7]), 200, random()
    )
    assert test.in_order is True and test.images == 9
    assert test.kendall_tau.value == pytest.approx(kendall([1, 1, 1], [2, 2, 2], [3, 3, 3]), abs=0.15)
    assert test.p_value is not None and test.p_value < 0.01
    assert [(pair.lower, pair.higher, pair.auc.value) for pair in test.pairs] == [
        ("common", "rare", 1.0),
        ("common", "unseen", 1.0),
        ("rare", "unseen", 1.0),
    ]


def test_the_wrong_order_is_not_called_right() -> None:
    test = order_test(
        "originality", scores([0.8, 0.9, 0.7], [0.4, 0.5, 0.45], [0.1, 0.2, 0.15]), 50, random()
    )
    assert test.in_order is False
    assert test.p_value is not None and test.p_value > 0.95
    assert all(pair.auc.value == 0 for pair in test.pairs)


def test_noise_is_called_noise_about_as_often_as_it_should() -> None:
    source = random(5)
    small = 0
    for _ in range(40):
        lists = [list(source.normal(size=6)) for _ in range(3)]
        p_value = order_test("originality", scores(*lists), 1, source).p_value
        small += p_value is not None and p_value <= 0.1
    assert 1 <= small <= 11  # 4 expected


def test_ties_and_empty_categories_are_told_not_raised() -> None:
    tied = order_test("tokens_needed", scores([1, 1], [1, 1], [1, 1]), 20, random())
    assert tied.kendall_tau.value is None and tied.kendall_tau.reason and tied.p_value is None
    assert all(pair.auc.value == 0.5 for pair in tied.pairs)
    empty = order_test("l_det", scores([0.1, 0.2], [], [0.3, 0.4]), 20, random())
    assert empty.in_order is None and set(empty.means) == {"common", "unseen"}
    assert [pair.auc.value for pair in empty.pairs] == [None, 1.0, None]


@pytest.mark.parametrize(
    ("x", "y", "close"),
    [(0.5, 0.1, True), (0.57, 0.1, False), (0.57, 0.57, False), (0.5, 0.5, True), (0.5, 0.9, False)],
)
def test_elements_stand_close_where_their_boxes_nearly_touch(x: float, y: float, close: bool) -> None:
    boxes = [(0.2, 0.2, 0.45, 0.45), (x, y, x + 0.25, y + 0.25)]
    assert rarity.stands_close({"elements": [{"box": list(box)} for box in boxes]}) is close
    assert rarity.stands_close({"elements": [{"box": list(box)} for box in reversed(boxes)]}) is close


@pytest.mark.usefixtures("narrow_metric")
def test_a_whole_study(tmp_path: Path, tiny_settings: Callable[..., Settings]) -> None:
    settings = tiny_settings(rarity={"queries": 2}, score={"threshold": 0.7})
    with open_runtime(settings.runtime, tmp_path) as runtime:
        report = rarity.run_rarity(settings, runtime)
    assert report.status is Status.complete
    assert [one.category for one in report.results] == list(CATEGORIES)
    for one in report.results:
        assert one.images == 2 and [point.m for point in one.curve] == [1, 2]
        data = read_dataset(tmp_path / "queries" / one.category)
        assert data.hash == one.dataset_hash
        for text in data.captions:
            assert {element.shape for element in parse_caption(text)} == PAIRS[one.category]
    assert report.summary is not None
    assert [test.score for test in report.summary.tests] == list(rarity.SCORES)
    assert all(test.images == 6 for test in report.summary.tests)
    assert all(test.images == 6 - report.summary.close for test in report.summary.apart)
    assert report.provenance.settings["rarity"] == {"queries": 2, "seed": 20241}
    assert report.provenance.dataset_hash == "+".join(one.dataset_hash for one in report.results)
    assert all((tmp_path / name).stat().st_size for name in report.figures)
    assert read_report(tmp_path, "rarity").to_json() == report.to_json()
    rows = (tmp_path / "report.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 2

    before = (tmp_path / "report.json").read_bytes()
    with open_runtime(settings.runtime, tmp_path) as runtime:
        rarity.run_rarity(settings, runtime)
    assert (tmp_path / "report.json").read_bytes() == before
