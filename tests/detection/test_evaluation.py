from typing import Any

import pytest

from origcli.detection.detector import Detection
from origcli.detection.evaluation import Evaluation
from origcli.scenes.elements import ALL_ELEMENTS, Element
from origcli.scenes.scene import Placed, Scene, whole_box

SIZE = 100
CIRCLE, STAR, SMALL = (
    Element.parse(text) for text in ("big red full circle", "big blue empty star", "small green full square")
)


def placed(element: Any, x: float = 0.5, y: float = 0.5, covered: float = 0.0) -> Any:
    box = None if covered == 1.0 else whole_box(element, x, y)
    return Placed(element, x, y, box, covered)


def found(element: Any, confidence: float = 0.95, x: float = 0.5, y: float = 0.5) -> Any:
    x0, y0, x1, y1 = (side * SIZE for side in whole_box(element, x, y))
    return Detection(element, confidence, (x0, y0, x1, y1))


def evaluate(*pictures: Any, threshold: float = 0.9) -> Any:
    evaluation = Evaluation(threshold)
    for elements, detections in pictures:
        evaluation.add(detections, Scene(tuple(elements), "uniform"), SIZE)
    return evaluation


def test_a_perfect_detector() -> None:
    seen = evaluate(
        ([placed(CIRCLE, 0.3), placed(STAR, 0.7)], [found(CIRCLE, x=0.3), found(STAR, x=0.7)]),
        ([placed(SMALL)], [found(SMALL)]),
        ([], []),
    )
    results = seen.results()
    for name in ("precision", "recall", "map50", "map50_95"):
        assert results[name] == pytest.approx(1.0, abs=0.01)
    assert results["precision_at_threshold"] == results["recall_at_threshold"] == 1.0
    assert results["exact_multisets"] == 1.0
    assert (results["images"], results["countable_images"], results["elements"]) == (3, 3, 3)
    assert seen.confusion.sum() == 3
    assert seen.confusion[CIRCLE.index, CIRCLE.index] == 1


def test_a_detection_under_the_threshold_is_not_counted() -> None:
    results = evaluate(([placed(CIRCLE)], [found(CIRCLE, 0.8)])).results()
    assert results["recall_at_threshold"] == 0.0
    assert results["exact_multisets"] == 0.0
    assert results["map50"] > 0.9  # the order of detections is right


def test_a_wrong_class_is_a_false_and_a_missing_one() -> None:
    seen = evaluate(([placed(CIRCLE)], [found(STAR)]))
    results = seen.results()
    assert results["precision_at_threshold"] == results["recall_at_threshold"] == 0.0
    assert seen.confusion[STAR.index, CIRCLE.index] == 1  # (found, true)
    assert results["exact_multisets"] == 0.0


def test_a_second_detection_of_one_object_is_false() -> None:
    results = evaluate(([placed(CIRCLE)], [found(CIRCLE, 0.99), found(CIRCLE, 0.95)])).results()
    assert results["precision_at_threshold"] == 0.5
    assert results["recall_at_threshold"] == 1.0
    assert results["exact_multisets"] == 0.0


def test_a_place_that_does_not_fit_is_false() -> None:
    assert (
        evaluate(([placed(CIRCLE, 0.3)], [found(CIRCLE, x=0.6)])).results()["precision_at_threshold"] == 0.0
    )


def test_right_multisets_need_no_right_places() -> None:
    results = evaluate(([placed(CIRCLE, 0.3)], [found(CIRCLE, x=0.6)])).results()
    assert results["exact_multisets"] == 1.0


@pytest.mark.parametrize("covered", [0.51, 0.9, 1.0])
def test_what_is_mostly_covered_is_ignored_found_or_not(covered: float) -> None:
    others = [placed(STAR, 0.3)]
    for detections in ([], [found(CIRCLE, x=0.7)]):
        seen = evaluate(([placed(CIRCLE, 0.7, covered=covered), *others], [found(STAR, x=0.3), *detections]))
        results = seen.results()
        assert results["precision_at_threshold"] == results["recall_at_threshold"] == 1.0
        assert results["elements"] == 1
        assert results["countable_images"] == 0
        assert seen.counted == 1


def test_half_covered_counts() -> None:
    results = evaluate(([placed(CIRCLE, covered=0.5)], [])).results()
    assert results["elements"] == 1
    assert results["recall_at_threshold"] == 0.0


def test_another_class_is_not_excused_by_what_is_covered() -> None:
    seen = evaluate(([placed(CIRCLE, covered=0.8)], [found(STAR)]))
    assert seen.results()["precision_at_threshold"] == 0.0


def test_nor_is_the_same_class_elsewhere() -> None:
    seen = evaluate(([placed(CIRCLE, 0.2, covered=0.8)], [found(CIRCLE, x=0.8)]))
    assert seen.results()["precision_at_threshold"] == 0.0


def test_scores_and_outcomes_are_for_calibration() -> None:
    seen = evaluate(([placed(CIRCLE)], [found(CIRCLE, 0.7), found(STAR, 0.4, x=0.2)]))
    scores, right = seen.scored
    assert scores.tolist() == [0.7, 0.4]
    assert right.tolist() == [True, False]


def test_all_elements_have_a_place_in_the_matrix() -> None:
    seen = evaluate(*(([placed(e)], [found(e)]) for e in ALL_ELEMENTS))
    assert seen.confusion.shape == (61, 61)
    assert (seen.confusion.diagonal()[:60] == 1).all()
