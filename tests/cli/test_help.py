"""Every command and every option says what it is; shared options say the same everywhere."""

from collections.abc import Sequence
from typing import Any

import pytest

from origcli.cli.help import WIDEST
from tests.cli.command_line import commands, origcli

COMMANDS = commands()
EACH = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@EACH
def test_a_command_says_what_it_does_and_shows_how(words: Sequence[str]) -> None:
    text = COMMANDS[words].help or ""
    first = text.strip().split("\n\n")[0]
    assert first.rstrip().endswith((".", "?")), "a sentence first"
    assert "\b\nExample" in text, "then examples, in a block that starts with \\b"
    assert f"origcli {' '.join(words)}" in text


@EACH
def test_every_option_is_documented(words: Sequence[str]) -> None:
    silent = [p.name for p in COMMANDS[words].params if not (p.help or "").strip()]
    assert silent == []


@EACH
def test_every_option_says_its_default_and_its_unit(words: Sequence[str]) -> None:
    command = COMMANDS[words]
    context = command.make_context(words[-1], [], resilient_parsing=True)
    for parameter in command.params:
        if parameter.param_type_name == "argument" or parameter.is_flag or parameter.required:
            continue
        text = parameter.get_help_record(context)[1]
        assert "[default: " in text or parameter.name in WITHOUT_IT_NOTHING, f"{parameter.name}: {text}"


# Options that add something: without them there is none of it, which is all that there is to say.
WITHOUT_IT_NOTHING = {
    *("annotate", "audit", "category", "config", "embeddings", "fail_if", "hold_out", "init", "init_from"),
    *("only", "preview", "prompt", "ray", "reference", "shard", "shards", "track"),
}


@EACH
@pytest.mark.parametrize("columns", [80, 200])
def test_help_fits_a_terminal(words: Sequence[str], columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    command = COMMANDS[words]
    context = command.make_context(words[-1], [], resilient_parsing=True, max_content_width=WIDEST)
    lines = command.get_help(context).splitlines()
    assert max(len(line) for line in lines if "origcli " not in line) <= min(columns, WIDEST)


def test_options_of_one_name_mean_one_thing() -> None:
    meanings: dict[str, dict[str, list[str]]] = {}
    for words, command in COMMANDS.items():
        for parameter in command.params:
            optional = parameter.param_type_name == "option" and not parameter.required
            if optional and (words[-1], parameter.name) != (
                "fixed-location",
                "model",
            ):  # trains one by default
                for name in parameter.opts:
                    meanings.setdefault(name, {}).setdefault(_meaning(parameter), []).append(" ".join(words))
    several = {name: found for name, found in meanings.items() if len(found) > 1}
    assert not {name: found for name, found in several.items() if name in SHARED}


SHARED = {
    *("--format", "-f", "--quiet", "-q", "-o", "--resume", "--dry-run", "--preset", "--config"),
    *("--seed", "--device", "--dtype", "--threads", "--compile", "--offline", "--model", "-m", "--scheduler"),
}


def _meaning(parameter: Any) -> str:
    return f"{sorted(parameter.opts)} {parameter.help}"


def test_the_front_page_lists_every_command_in_one_line_each() -> None:
    text = origcli("--help").stdout
    for name in {words[0] for words in COMMANDS}:
        assert f"\n  {name} " in text
