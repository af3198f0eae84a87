"""Every command and every option says what it is; shared options say the same everywhere."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

import pytest

from origcli.cli.binding import Sets, bindings
from origcli.cli.help import WIDEST, help_record
from origcli.presets import DEFAULT_PRESETS
from origcli.settings import Settings, fields_of, resolve
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
        text = help_record(parameter, context)[1]
        assert "[default: " in text or parameter.name in WITHOUT_IT_NOTHING, f"{parameter.name}: {text}"


# Options that add something: without them there is none of it, which is all that there is to say.
WITHOUT_IT_NOTHING = {
    *("annotate", "audit", "category", "config", "embeddings", "fail_if", "hold_out", "init", "init_from"),
    *(
        "captions_file",
        "junit",
        "lora",
        "only",
        "preview",
        "prompt",
        "ray",
        "reference",
        "shard",
        "shards",
        "summary",
        "track",
        "vae",
    ),
}


@EACH
@pytest.mark.parametrize("columns", [80, 200])
def test_help_fits_a_terminal(words: Sequence[str], columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    command = COMMANDS[words]
    context = command.make_context(words[-1], [], resilient_parsing=True, max_content_width=WIDEST)
    lines = command.get_help(context).splitlines()
    assert max(len(line) for line in lines if "origcli " not in line) <= min(columns, WIDEST)


def _options() -> Iterator[tuple[str, str, Any]]:
    """Command, name, option: of every option under each of its names."""
    for words, command in COMMANDS.items():
        for parameter in command.params:
            for name in parameter.opts if parameter.param_type_name == "option" else ():
                yield " ".join(words), name, parameter


def _differing(meaning: Callable[[Any], Any], but: Collection[tuple[str, str]]) -> dict[str, dict[Any, str]]:
    """The names under which options differ, with what they mean in which command."""
    found: dict[str, dict[Any, str]] = {}
    for command, name, option in _options():
        if (command, name) not in but:
            found.setdefault(name, {}).setdefault(meaning(option), command)
    return {name: meanings for name, meanings in found.items() if len(meanings) > 1}


def test_shared_options_read_the_same_everywhere() -> None:
    differing = _differing(lambda option: (tuple(sorted(option.opts)), option.help), OF_THEIR_OWN)
    assert not {name: meanings for name, meanings in differing.items() if name in SHARED}


SHARED = {
    *("--format", "-f", "--quiet", "-q", "--out", "-o", "--resume", "--force", "--dry-run", "--preset"),
    *("--config", "--seed", "--device", "--dtype", "--threads", "--compile", "--offline", "--model", "-m"),
    *("--metric", "--detector", "--denoising-steps", "--learning-steps", "--guidance", "--scheduler"),
    "--max-tokens",
    *("--cache", "--crop", "--follow-links", "--figures"),
}
# Where a command has something of its own to say about a shared option.
OF_THEIR_OWN = {
    *((command, name) for command in ("rarity", "popularity") for name in ("--model", "-m")),  # shapes alone
    *(("score", name) for name in ("--model", "-m")),  # takes several
    *(("fixed-location", name) for name in ("--model", "-m", "--detector")),  # trains a model
    *((command, "--detector") for command in ("detect", "generalize")),  # count, and measure no model
    *(("report merge", name) for name in ("--out", "-o")),  # required
    *(
        ("import", name) for name in ("--out", "-o", "--config", "--dtype")
    ),  # a model, what it is, how it is kept
}


@EACH
def test_no_two_options_differ_in_case_alone(words: Sequence[str]) -> None:
    names = [name for option in COMMANDS[words].params for name in (*option.opts, *option.secondary_opts)]
    assert len({name.lower() for name in names}) == len(set(names))


def test_options_of_one_name_take_the_same_kind_of_value_everywhere() -> None:
    """A number, a file, yes or no: what was learned of an option at one command holds at the next."""
    assert _differing(lambda option: (option.metavar, option.is_flag), TAKE_SOMETHING_ELSE) == {}


TAKE_SOMETHING_ELSE = {
    ("import", "--config"),  # of a model; settings have a file
    ("import", "--vae"),  # a published file, too
    ("detect", "--count"),  # counts; elsewhere it says how many
    ("train-detector", "--init"),  # a published file; tokens start from words
    ("fixed-location", "--init-from"),  # a whole pipeline, which may be a name
}


def _bound(words: Sequence[str]) -> Iterator[tuple[Any, Sets]]:
    """The options of a command that set something, with what they set."""
    sets = getattr(COMMANDS[words].callback, "bindings", NOTHING).sets
    return ((option, sets[option.name]) for option in COMMANDS[words].params if option.name in sets)


NOTHING = bindings(())


@EACH
def test_options_set_fields_that_there_are(words: Sequence[str]) -> None:
    for _, sets in _bound(words):
        section, field = sets.path
        assert field in fields_of(section)


@EACH
def test_the_default_that_help_tells_can_be_typed_and_changes_nothing(words: Sequence[str]) -> None:
    command = COMMANDS[words]
    for option, sets in _bound(words):
        assert "[default" not in option.help, f"{option.name}: its default is the preset's, not written here"
        usual, _, paper = command.callback.bindings.default(option).partition("; paper: ")
        for presets, text in ((DEFAULT_PRESETS, usual), (("paper",), paper or usual)):
            known = command.callback.bindings.presets(presets)
            value = _setting(resolve(presets=known, environment={})[0], sets)
            if value in (None, ()) or option.default is not None or (option.is_flag and not text):
                continue  # chosen when the command runs, said by Typer, or a flag that is simply not given
            typed = [f"--{text}"] if option.is_flag else [max(option.opts, key=len), text]
            given = command.make_context(words[-1], typed, resilient_parsing=True).params[option.name]
            assert given not in (None, []), f"{option.name}: {text} cannot be typed"
            section, field = sets.path
            flags = {section: {field: sets.value(given)}}
            assert _setting(resolve(flags, presets=known, environment={})[0], sets) == value, option.name


def _setting(settings: Settings, sets: Sets) -> Any:
    section, field = sets.path
    return getattr(getattr(settings, section), field)


@EACH
def test_words_of_which_a_setting_is_one_are_completed(words: Sequence[str]) -> None:
    command = COMMANDS[words]
    context = command.make_context(words[-1], [], resilient_parsing=True)
    for option, sets in _bound(words):
        section, field = sets.path
        kind = fields_of(section)[field].annotation
        expected = {word for literal in (kind, *get_args(kind)) for word in _words(literal)}
        offered = {item.value for item in option.shell_complete(context, "")}
        assert expected <= offered, f"{option.name}: TAB offers {offered or 'nothing'}"


def _words(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


@pytest.mark.parametrize(
    ("terminal", "variables", "bold"),
    [(True, {}, True), (True, {"NO_COLOR": "1"}, False), (False, {}, False)],
)
def test_headings_are_bold_on_a_terminal_that_may_have_it(
    terminal: bool, variables: dict[str, str], bold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    command = COMMANDS["score",]
    text = command.get_help(command.make_context("score", [], resilient_parsing=True))
    assert ("\x1b[1mThe measure\x1b[0m" in text) is bold and ("\x1b" in text) is bold


@pytest.mark.parametrize(
    ("typed", "name", "value", "now"),
    [
        (["--images", "7"], "samples", 7, "--images is now called --samples"),
        (["--images=7"], "samples", 7, "--images is now called --samples"),
        (["-M3"], "max_tokens", 3, "-M is now called --max-tokens"),
        (["--steps", "5"], "steps", "5", "--steps is now called --denoising-steps"),
        (["--invert-steps", "5"], "invert_steps", 5, "--invert-steps is now called --learning-steps"),
        (["--metric", "--images"], "metric", "--images", ""),
        (["--", "--images"], "images", ["a.png", "--images"], ""),
    ],
)
def test_former_names_of_options_are_accepted_with_a_note(
    typed: list[str], name: str, value: Any, now: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS["score",]
    assert command.make_context("score", ["a.png", *typed]).params[name] == value
    assert capsys.readouterr().err.strip() == (f"origcli: {now}" if now else "")
    assert all(old not in command.get_help(command.make_context("score", ["a.png"])) for old in typed[:1]
               if now)  # fmt: skip


def test_the_front_page_lists_every_command_in_one_line_each() -> None:
    text = origcli("--help").stdout
    for name in {words[0] for words in COMMANDS}:
        assert f"\n  {name} " in text


def test_models_are_offered_by_the_names_of_the_registry() -> None:
    from origcli.cli.options import MODELS
    from origcli.weights.registry import BUNDLED, HUB_MODELS

    assert (BUNDLED, *HUB_MODELS) == MODELS
