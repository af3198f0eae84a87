"""The presets say what the supplement says, and mark what it leaves open."""

import re
import tomllib
from importlib import resources
from typing import Any

import pytest

from origcli.presets import PRESETS
from origcli.settings import Settings, fields_of, preset_values, resolve

# Every number of the supplement: section, setting, value.
SUPPLEMENT = [
    ("2.1", "synth.count", 100_000),
    ("2.1", "synth.max_elements", 4),
    ("2.1", "synth.empty", 0.10),
    ("2.1", "generalize.empty", 0.1),
    ("2.1", "text_encoder.source", "google-bert/bert-base-uncased"),
    ("2.1", "detect.confidence", 0.9),
    ("2.2", "generalize.samples", 1024),
    ("2.2", "generalize.repeats", 4),
    ("6.1", "synth.count", 100_000),
    ("6.1", "synth.common", 0.30),
    ("6.1", "synth.rare", 0.001),
    ("6.1", "vae.epochs", 8),
    ("6.1", "vae.batch_size", 32),
    ("6.1", "vae.learning_rate", 1e-5),
    ("6.1", "unet.epochs", 15),
    ("6.1", "unet.batch_size", 64),
    ("6.1", "unet.learning_rate", 6.4e-5),
    ("6.1", "score.max_tokens", 5),
    ("6.1", "invert.batch_size", 20),
    ("6.1", "invert.learning_rate", 5e-4),
    ("6.1", "invert.steps", 2000),
    ("6.1", "draw.steps", "auto"),  # 50 with Stable Diffusion: its family says so
    ("6.2", "score.samples", 20),
    ("6.2", "score.prompt", "a photo of {S}"),
    ("figure 3", "fixed_location.samples", 4),
    ("5", "popularity.queries", 15),
    ("1", "score.edit_prompt", "cat with {S}"),
    ("1", "score.edit_tokens", 4),
]

LINE = re.compile(r"^(?P<field>\w+) = (?P<value>.*?)\s+# (?P<comment>.+)$")


def preset_lines(name: str) -> dict[str, str]:
    """`section.field` -> its comment, for each setting of a preset file."""
    text = resources.files("origcli.presets").joinpath(f"{name}.toml").read_text("utf-8")
    section, comments = "", {}
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif " = " in line and not line.startswith("#"):
            match = LINE.match(line)
            comments[f"{section}.{line.split(' = ')[0]}"] = match["comment"] if match else ""
    return comments


@pytest.mark.parametrize(("part", "setting", "value"), SUPPLEMENT, ids=lambda value: str(value))
def test_the_paper_preset_has_the_supplements_number(part: str, setting: str, value: Any) -> None:
    settings, origins = resolve(presets=("paper",), environment={})
    section, field = setting.split(".")
    assert getattr(getattr(settings, section), field) == value
    assert origins[setting] == "preset paper"
    assert re.search(rf"(^|\b|figure ){re.escape(part)}\b", preset_lines("paper")[setting])


def test_the_seeds_of_query_pictures_are_those_declared_before_any_run() -> None:
    """No study may be run again with another seed until it comes out."""
    settings = resolve(presets=("paper",), environment={})[0]
    own = (settings.rarity, settings.fixed_location, settings.popularity)
    assert [one.seed for one in own] == [20241, 20242, 20243]
    for name in PRESETS:
        assert name == "paper" or not any("seed" in table for table in preset_values(name).values())


def test_the_diversity_runs_from_four_elements_to_sixty() -> None:
    levels = resolve(presets=("paper",), environment={})[0].generalize.levels
    assert levels[0] == 4 and levels[-1] == 60 and {30, 60} <= set(levels)


def test_every_number_of_the_paper_preset_has_its_section_or_says_ours() -> None:
    for setting, comment in preset_lines("paper").items():
        assert re.match(r"(ours|figure \d|\d(\.\d)?(, \d\.\d)?)([:,] |$)", comment), f"{setting}: {comment!r}"


def test_every_number_that_claims_a_section_is_asserted_here() -> None:
    claimed = {
        setting for setting, comment in preset_lines("paper").items() if not comment.startswith("ours")
    }
    assert claimed == {setting for _, setting, _ in SUPPLEMENT} | {"generalize.levels"} | CLAIMED_IN_PART


# Their section is named for a word, not a number: which detector (2.1), which n (2.1).
CLAIMED_IN_PART = {"detector.architecture", "generalize.max_elements"}


@pytest.mark.parametrize("name", ["small", "fast", "many"])
def test_the_other_presets_say_that_they_are_ours(name: str) -> None:
    head = resources.files("origcli.presets").joinpath(f"{name}.toml").read_text("utf-8").split("[")[0]
    assert "All values are ours" in head


@pytest.mark.parametrize("name", PRESETS)
def test_presets_set_only_what_there_is(name: str) -> None:
    for section, table in preset_values(name).items():
        assert set(table) <= set(fields_of(section))


def test_the_paper_preset_is_complete() -> None:
    Settings.model_validate(preset_values("paper"))


def test_the_two_axes_are_apart() -> None:
    """`small` scales data and models, `fast` learning and sampling: neither touches the other's."""
    assert not {"invert", "draw"} & set(preset_values("small"))
    assert set(preset_values("fast")) == {"invert", "draw"}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_toml_with_one_table_a_section(name: str) -> None:
    text = resources.files("origcli.presets").joinpath(f"{name}.toml").read_text("utf-8")
    assert set(tomllib.loads(text)) <= set(Settings.model_fields)
