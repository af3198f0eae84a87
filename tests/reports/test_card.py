"""The card of a result: its size, equal bytes, and names of any kind that stay inside of it."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from origcli.reports import gallery, strip
from origcli.reports.card import CARD, SIZE, card
from origcli.reports.schema import ModelFacts, Threshold
from tests.reports import samples

EDGE = 40  # pixels that stay empty on both sides
ODD = (
    "a" * 300 + ".png",
    "\u5199\u771f\u306e\u9577\u3044\u540d\u524d.jpg",
    "<script>alert(1)</script>.png",
    "\u05e9\u05dc\u05d5\u05dd.png",
    "cafe\u0301 " * 40,
    "a\nb\u202egnp.exe",
)


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == SIZE == (1200, 630)
        return np.asarray(image.convert("RGB"))


def assert_margins_are_empty(data: bytes) -> None:
    shown = pixels(data)
    for side in (shown[:, :EDGE], shown[:, -EDGE:], shown[:16], shown[-16:]):
        assert (side == 255).all()
    assert not (shown == 255).all()


@pytest.mark.parametrize("name", ODD)
def test_odd_names_stay_inside(tmp_path: Path, name: str) -> None:
    result = samples.result(tmp_path, path=f"in/{name}", drawings=2, test=False)
    made_by = samples.provenance(model=ModelFacts(name=name))
    assert_margins_are_empty(card(tmp_path, result, made_by))


@pytest.mark.parametrize(
    "options",
    [
        {"tokens": 1},
        {"tokens": 12},
        {"outside": True},
        {"threshold": Threshold(value=None, source="none", how="none")},
        {"size": 300, "level": 0.9},
    ],
)
def test_every_kind_of_result_has_a_card(tmp_path: Path, options: dict[str, object]) -> None:
    result = samples.result(tmp_path, drawings=2, test=False, **options)  # type: ignore[arg-type]
    assert_margins_are_empty(card(tmp_path, result, samples.provenance()))


def test_equal_results_are_equal_cards_and_others_are_not(tmp_path: Path) -> None:
    near, far = (samples.result(tmp_path, drawings=2, test=False, level=level) for level in (0.1, 0.8))
    first, again, other = (card(tmp_path, one, samples.provenance()) for one in (near, near, far))
    assert first == again != other


def test_pictures_that_are_gone_leave_a_card(tmp_path: Path) -> None:
    result = samples.result(tmp_path, drawings=2, test=False)
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    assert_margins_are_empty(card(tmp_path, result, samples.provenance()))


def test_a_single_image_has_a_card_beside_its_page_and_several_have_none(tmp_path: Path) -> None:
    for name, count in (("one", 1), ("two", 2)):
        directory = tmp_path / name
        results = [samples.result(directory, f"r{i}", drawings=2, test=False) for i in range(count)]
        gallery.write_html(directory, samples.report(*results))
        assert (directory / CARD).is_file() == (count == 1)


@given(st.text(max_size=60), st.integers(20, 400))
def test_text_fits_whatever_it_is(text: str, width: int) -> None:
    shown, face = strip.fitted(text, width, (20, 14))
    assert face.getlength(shown) <= width
    lines, face = strip.wrapped(text, width, (20, 14), 2)
    assert len(lines) <= 2 and all(face.getlength(line) <= width for line in lines)


def test_what_cannot_be_drawn_is_shortened_to_a_mark() -> None:
    assert strip.drawable("\u5199\u771f-v2") == "\u2026-v2"
    assert (
        strip.drawable("caf\u00e9 \u041c\u043e\u0441\u043a\u0432\u0430")
        == "caf\u00e9 \u041c\u043e\u0441\u043a\u0432\u0430"
    )
    assert strip.drawable("a\u05e9\u05dcb") == "a\u2026b"
