"""The mixtures draw what the supplement says, as often as it says."""

from collections import Counter
from itertools import pairwise, product
from typing import Any

import pytest
from scipy.stats import kstest

from origcli.errors import UsageError
from origcli.scenes.elements import CORE_SHAPES, Element
from origcli.scenes.frequencies import frequency_facts
from origcli.scenes.geometry import half_extent
from origcli.scenes.mixtures import PAIRS, Recipe, Sampler, core_probability
from origcli.scenes.scene import Scene, boxes_meet, whole_box
from origcli.scenes.stream import Stream
from tests.scenes.laws import Law, chi_square, laws, tally_of
from tests.scenes.recipes import recipe

COUNT = 12_000
LEAST_P = 1e-3


def scenes_of(chosen: Recipe, count: int = COUNT) -> list[Scene]:
    sampler = Sampler(chosen)
    return [sampler.scene(index) for index in range(count)]


@pytest.fixture(scope="module")
def originality() -> list[Scene]:
    return scenes_of(recipe(mixture="originality"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_elements": 6, "hold_out": ("blue circle",)},
        {"mixture": "originality"},
        {"mixture": "originality", "rare": 0.02, "max_elements": 3, "hold_out": ("green hexagon",)},
        {"mixture": "originality", "category": "unseen", "count": 100},
        {"mixture": "originality", "category": "rest"},
    ],
)
def test_frequencies_are_those_of_the_mixture(changes: dict[str, Any]) -> None:
    chosen = recipe(seed=1, **changes)
    counts = tally_of(scenes_of(chosen))
    tested = [chi_square(counts, law) for law in laws(chosen)]
    assert not [test for test in tested if test["impossible"]]
    assert not [test for test in tested if test["p_value"] is not None and test["p_value"] < LEAST_P]
    assert sum(test["p_value"] is not None for test in tested) >= 1


def test_the_test_sees_a_wrong_share() -> None:
    counts = tally_of(scenes_of(recipe(mixture="originality", common=0.32)))
    wrong = chi_square(counts, laws(recipe(mixture="originality"))[0])
    assert wrong["p_value"] < 1e-4


@pytest.mark.parametrize(
    ("changes", "stray"),
    [
        ({}, "category/odd"),
        ({}, "number/uniform/5"),
        ({}, "element/uniform/big pink full circle"),
        ({"mixture": "originality"}, "category/unseen"),
        ({"mixture": "originality"}, "pair/common/big red full circle and big red full circle"),
        ({"mixture": "originality"}, "element/rest/small red full circle"),
        ({"mixture": "originality"}, "core/2/two"),
    ],
)
def test_what_no_law_knows_is_impossible(changes: dict[str, Any], stray: str) -> None:
    chosen = recipe(**changes)
    counts = tally_of(scenes_of(chosen, 200))
    assert not any(chi_square(counts, law)["impossible"] for law in laws(chosen))
    counts[stray] += 1
    assert any(chi_square(counts, law)["impossible"] for law in laws(chosen))


def test_the_test_is_pearson_s() -> None:
    law = Law("a die", dict.fromkeys("123456", 1 / 6))
    counts = dict(zip("123456", (16, 18, 16, 14, 12, 12), strict=True))
    found = chi_square(counts, law)
    assert found["statistic"] == pytest.approx(2.0)
    assert found["p_value"] == pytest.approx(0.8491, abs=1e-4)
    assert chi_square({"1": 3}, law)["p_value"] is None


def test_the_originality_mixture_keeps_its_promises(originality: list[Scene]) -> None:
    for scene in originality:
        shapes = Counter(element.shape for element in scene.elements)
        core = sum(shapes[shape] for shape in CORE_SHAPES)
        if scene.category in PAIRS:
            assert shapes == Counter(PAIRS[scene.category])
        else:
            assert core <= 1 and len(scene.elements) <= 4
            assert bool(scene.elements) == (scene.category == "rest")
        assert not (shapes["square"] and shapes["triangle"])
        assert {(e.size, e.texture) for e in scene.elements} <= {("big", "full")}


def test_pairs_are_painted_in_either_order(originality: list[Scene]) -> None:
    first = Counter(s.elements[0].shape for s in originality if s.category == "common")
    share = first["circle"] / first.total()
    assert abs(share - 0.5) < 4 * 0.5 / first.total() ** 0.5


def test_the_paper_s_shares() -> None:
    facts = frequency_facts(recipe(mixture="originality"), Counter())
    expected = {kind: values["expected"] for kind, values in facts["kinds"].items()}
    assert expected == pytest.approx({"empty": 0.1, "common": 0.3, "rare": 0.001, "rest": 0.599})


@pytest.mark.parametrize(("number", "core", "others"), [(1, 2, 3), (2, 2, 1), (3, 1, 2)])
def test_the_core_probability_counts_sequences(number: int, core: int, others: int) -> None:
    things = [("core", i) for i in range(core)] + [("other", i) for i in range(others)]
    sequences = [sum(kind == "core" for kind, _ in s) for s in product(things, repeat=number)]
    share = sequences.count(1) / (sequences.count(0) + sequences.count(1))
    assert core_probability(number, core, others) == pytest.approx(share)


def test_places_are_uniform_and_wholly_inside() -> None:
    along: list[float] = []
    down: list[float] = []
    for scene in scenes_of(recipe(), 4000):
        for item in scene.placed:
            half_width, half_height = half_extent(item.element.shape, item.element.size)
            along.append((item.x - half_width) / (1 - 2 * half_width))
            down.append((item.y - half_height) / (1 - 2 * half_height))
            assert min(whole_box(item.element, item.x, item.y)) >= 0
            assert max(whole_box(item.element, item.x, item.y)) <= 1
    for values in (along, down):
        assert kstest(values, "uniform").pvalue > LEAST_P
    neighbors = [a * b for a, b in pairwise(along)]
    assert abs(sum(neighbors) / len(neighbors) - 0.25) < 0.01  # independent


def test_a_scene_depends_on_seed_and_index_alone() -> None:
    chosen = recipe(seed=5, mixture="originality")
    sampler = Sampler(chosen)
    forwards = [sampler.scene(index) for index in range(50)]
    backwards = [sampler.scene(index) for index in reversed(range(50))]
    assert forwards == backwards[::-1]
    longer = Sampler(recipe(seed=5, mixture="originality", count=77, resolution=128))
    assert [longer.scene(index) for index in range(50)] == forwards
    assert scenes_of(recipe(seed=6, mixture="originality"), 50) != forwards


def test_a_stream_is_numpy_s_philox() -> None:
    import numpy as np

    stream = Stream(12345)
    for index in (0, 7, 2**40):
        stream.begin(index)
        fresh = np.random.Generator(np.random.Philox(key=np.array([12345, index], dtype=np.uint64)))
        assert [stream.unit() for _ in range(40)] == pytest.approx(
            np.concatenate([fresh.random(16) for _ in range(3)])[:40].tolist(), abs=0
        )


def test_no_seed_of_a_query_set_trains() -> None:
    """Sets of every kind and many seeds are keyed apart: training ends in 0, queries end in 1."""
    keys = []
    for seed in range(40):
        for category in (None, "common", "rare", "unseen", "rest"):
            sampler = Sampler(recipe(seed=seed, mixture="originality", category=category))
            key = int(sampler._stream._start["state"]["key"][0])
            assert key % 2 == (category is not None)
            keys.append(key)
    assert len(set(keys)) == len(keys)


def test_categories_are_of_one_kind() -> None:
    for category in ("common", "rare", "unseen"):
        scenes = scenes_of(recipe(mixture="originality", category=category), 30)
        assert {scene.category for scene in scenes} == {category}
        assert all(sorted(e.shape for e in scene.elements) == sorted(PAIRS[category]) for scene in scenes)


def test_what_is_held_out_never_comes() -> None:
    for scene in scenes_of(recipe(hold_out=("blue circle", "small star")), 2000):
        assert not [e for e in scene.elements if e.shape == "circle" and e.color == "blue"]
        assert not [e for e in scene.elements if e.shape == "star" and e.size == "small"]


def test_common_pairs_stand_at_fixed_places() -> None:
    places: dict[Element, set[tuple[float, float]]] = {}
    free = set()
    for scene in scenes_of(recipe(mixture="originality", fixed_location=True), 2000):
        for item in scene.placed:
            if scene.category == "common":
                places.setdefault(item.element, set()).add((item.x, item.y))
                assert item.covered == 0.0
            else:
                free.add((item.x, item.y))
    assert len(places) == 6
    assert all(len(found) == 1 for found in places.values())
    assert len(set.union(*places.values())) == 6
    assert len(free) > 1000


def test_fixed_places_of_all_elements_are_their_own_and_pairs_are_apart() -> None:
    every = recipe(mixture="originality", sizes=("big", "small"), textures=("full", "empty"))
    from origcli.scenes.placement import fixed_place

    elements = every.of_shape("circle") + every.of_shape("square")
    assert len({fixed_place(element) for element in elements}) == len(elements)
    for circle, square in product(every.of_shape("circle"), every.of_shape("square")):
        first, second = (whole_box(element, *fixed_place(element)) for element in (circle, square))
        assert not boxes_meet(first, second)
        assert all(0 <= side <= 1 for box in (first, second) for side in box)


def test_elements_may_be_kept_apart() -> None:
    for scene in scenes_of(recipe(no_overlap=True), 1000):
        boxes = [whole_box(item.element, item.x, item.y) for item in scene.placed]
        for i, box in enumerate(boxes):
            assert not any(boxes_meet(box, other, 0.0199) for other in boxes[:i])
        assert all(item.covered == 0.0 for item in scene.placed)


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({}, 4),
        ({"mixture": "originality"}, 4),
        ({"shapes": ("circle", "square")}, 5),
        ({"sizes": ("small",), "shapes": ("star",)}, 10),
    ],
)
def test_apart_are_as_many_as_always_find_room(changes: dict[str, Any], most: int) -> None:
    """The next number is refused at once, and told the largest that there is room for."""
    with pytest.raises(UsageError, match="room") as caught:
        recipe(no_overlap=True, max_elements=most + 1, **changes)
    assert f"--max-elements {most} at most" in caught.value.hint
    recipe(no_overlap=True, max_elements=most, **changes)


def test_the_widest_elements_always_find_room() -> None:
    for scene in scenes_of(recipe(no_overlap=True, sizes=("big",), shapes=("star",), max_elements=4), 3000):
        assert all(item.covered == 0.0 for item in scene.placed)


def test_pairs_need_room_for_two_however_many_the_mixture_has() -> None:
    chosen = recipe(mixture="originality", category="unseen", no_overlap=True, max_elements=9)
    assert {len(scene.elements) for scene in scenes_of(chosen, 50)} == {2}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"category": "common"}, "--category"),
        ({"fixed_location": True}, "--fixed-location"),
        ({"mixture": "originality", "common": 0.95}, "more than 1"),
        ({"mixture": "originality", "max_elements": 1}, "pairs"),
        ({"mixture": "originality", "hold_out": ("square",)}, "needs a square"),
        ({"no_overlap": True, "max_elements": 40}, "no room"),
        ({"colors": ("pink",)}, "pink"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        recipe(**changes)
