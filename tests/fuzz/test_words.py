"""Words of the command line: gates, token counts, shards, elements, captions, model names, variables."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from origcli.cli.invert import parse_counts
from origcli.images.inputs import slug
from origcli.runtime.paths import path_of
from origcli.scenes.captions import parse_caption
from origcli.scenes.elements import Element, parse_description, select_elements
from origcli.scoring.batches import parts_of
from origcli.scoring.gate import parse_gate
from origcli.settings import Settings, environment_values, fields_of, resolve, variables_of
from origcli.weights.registry import hub_model
from tests.fuzz.reading import VALUES, survives

WORDS = [
    *("originality", "distance_1", "tokens_needed", "verdict", "<", "<=", "==", "redrawn", "0.3", "1e999"),
    *("1-5", "3,", "1/2", "-", "99", "0", "²", "٣", "big", "red", "full", "circle", " and ", "blue", "sd15"),
    *("owner/name", "../", "@", "file:%00", "\0", " ", "9" * 5000, "\ud800"),
]
TEXTS = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORDS), max_size=5).map("".join))

READERS: dict[str, Callable[[str], Any]] = {
    "gate": parse_gate,
    "counts": parse_counts,
    "shard": lambda text: parts_of(text),
    "description": parse_description,
    "element": Element.parse,
    "caption": parse_caption,
    "hold-out": lambda text: select_elements(hold_out=[text]),
    "features": lambda text: select_elements(colors=[text]),
    "model": hub_model,
    "path": path_of,
    "slug": slug,
}


@pytest.mark.parametrize("name", READERS)
@given(text=TEXTS)
@example(text="\u00b2")
@example(text="9" * 5000)
@example(text="file:%00\ud800")
def test_any_word_is_answered(name: str, text: str) -> None:
    survives(lambda: READERS[name](text))


VARIABLES = [v for s in Settings.model_fields for f in fields_of(s) for v in variables_of(s, f)]


@given(st.dictionaries(st.sampled_from([*VARIABLES, "ORIGCLI_"]), TEXTS, max_size=3))
def test_any_variable_is_answered(environment: dict[str, str]) -> None:
    survives(lambda: environment_values(environment))
    survives(lambda: resolve(environment=environment))


FIELDS = [(section, field) for section in Settings.model_fields for field in fields_of(section)]


@given(st.sampled_from(FIELDS), VALUES)
def test_any_setting_is_answered(place: tuple[str, str], value: Any) -> None:
    survives(lambda: resolve({place[0]: {place[1]: value}}, environment={}))
