"""`origcli config show` and `origcli schema`."""

import csv
import io
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from origcli.settings import Settings, fields_of, resolve
from tests.cli.command_line import origcli, run_here


def shown(*words: str, **variables: str) -> dict[str, dict[str, Any]]:
    done = origcli("config", "show", *words, "--format", "json", env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr
    return {row["setting"]: row for row in json.loads(done.stdout)}


def test_it_shows_every_setting_and_where_it_came_from(tmp_path: Path) -> None:
    config = tmp_path / "origcli.toml"
    config.write_text("[score]\nsamples = 11\n")
    rows = shown("--config", str(config), ORIGCLI_SEED="9")
    assert set(rows) == {f"{s}.{f}" for s in Settings.model_fields for f in fields_of(s)}
    assert rows["score.samples"]["value"] == 11 and rows["score.samples"]["origin"] == f"--config {config}"
    assert rows["runtime.seed"]["value"] == 9 and rows["runtime.seed"]["origin"] == "environment"
    assert rows["runtime.seed"]["variable"] == "ORIGCLI_SEED"
    assert rows["invert.steps"]["origin"] == "preset fast"


def test_the_config_and_the_preset_have_variables(tmp_path: Path) -> None:
    config = tmp_path / "origcli.toml"
    config.write_text("[score]\nsamples = 11\n")
    rows = shown("score", ORIGCLI_CONFIG=str(config), ORIGCLI_PRESET="paper")
    assert rows["score.samples"]["value"] == 11
    assert {setting.split(".")[0] for setting in rows} == {"score"}
    assert shown("invert", ORIGCLI_PRESET="paper")["invert.steps"]["value"] == 2000


def test_a_flag_goes_before_a_variable_before_the_file_before_the_preset(tmp_path: Path) -> None:
    """As a command takes them, in a process of its own: each layer is put under the ones before."""
    config = tmp_path / "origcli.toml"
    config.write_text("[synth]\nresolution = 48\n")

    def resolution(*words: str | Path, **variables: str) -> int:
        plan = ("synth", tmp_path / "data", "--dry-run", "--format", "json")
        done = origcli(*plan, *words, env={**os.environ, **variables})
        return int(json.loads(done.stdout)["recipe"]["resolution"])

    assert resolution("--preset", "paper") == 256
    assert resolution(ORIGCLI_PRESET="paper") == 256
    assert resolution("--preset", "small", ORIGCLI_PRESET="paper") == 64
    assert resolution("--preset", "paper", "--config", config) == 48
    assert resolution("--config", config, ORIGCLI_SYNTH_RESOLUTION="56") == 56
    assert resolution("--resolution", "40", "--config", config, ORIGCLI_SYNTH_RESOLUTION="56") == 40


@pytest.mark.parametrize("preset", ["paper", "small,fast"])
def test_the_file_it_prints_gives_the_same_settings(tmp_path: Path, preset: str) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("ORIGCLI_")}
    done = origcli("config", "show", "--toml", "--preset", preset, env=bare)
    config = tmp_path / "origcli.toml"
    config.write_text(done.stdout)
    assert set(tomllib.loads(done.stdout)) == set(Settings.model_fields)
    again, _ = resolve(config=config, environment={})
    assert again == resolve(presets=preset.split(","), environment={})[0]


def test_csv_and_table_have_the_same_rows() -> None:
    table = origcli("config", "show", "score").stdout.splitlines()
    rows = list(csv.DictReader(io.StringIO(origcli("config", "show", "score", "-f", "csv").stdout)))
    assert len(table) == len(rows) + 1
    assert all(row["setting"] in line for row, line in zip(rows, table[1:], strict=True))


def test_schemas_are_listed_and_printed() -> None:
    names = origcli("schema").stdout.split()
    assert {"score", "invert", "generalize"} <= set(names)
    for name in names:
        schema = json.loads(origcli("schema", name).stdout)
        assert schema["type"] == "object" and "results" in schema["properties"]


def test_an_unknown_schema_is_a_usage_error() -> None:
    done = origcli("schema", "scor")
    assert done.returncode == 2 and "score" in done.stderr


@pytest.mark.parametrize("command", ["rarity", "popularity"])
def test_experiments_on_shapes_take_the_model_of_the_environment(
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words: list[str | Path] = [command, "--out", tmp_path / "out"]
    if command == "popularity":
        data = tmp_path / "data"
        assert run_here(capsys, "synth", data, "--mixture", "originality", "--count", "50").status == 0
        words.append(data)
    monkeypatch.setenv("ORIGCLI_SCORE_MODEL", str(tmp_path / "no-model"))
    done = run_here(capsys, *words)
    assert done.status == 4
    assert "no-model" in done.err
