"""Manners: exit statuses, where words go, what a mistake is told."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import origcli
from origcli import errors
from origcli.cli import app, present
from tests.cli.command_line import PROGRAM
from tests.cli.command_line import origcli as run


def test_the_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"origcli {origcli.__version__}\n", "")


def test_without_a_command_it_shows_what_to_do_first() -> None:
    done = run()
    assert done.returncode == 0 and done.stderr == ""
    assert "First steps:" in done.stdout and "origcli score photo.jpg" in done.stdout
    assert done.stdout == run("--help").stdout == run("-h").stdout


def test_help_loads_nothing_heavy() -> None:
    """What keeps it at a tenth of a second: no torch, no numpy, no Rich, no pydantic of ours."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "origcli", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "numpy", "PIL", "matplotlib", "rich.console", "origcli.settings"}


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["scehma"], "No such command 'scehma'. Did you mean 'schema'?", "see origcli --help"),
        (["--versoin"], "--versoin", "--version"),
        (["config", "sow"], "Did you mean 'show'?", "see origcli config --help"),
        (["config", "show", "--presett", "x"], "--preset", "see origcli config show --help"),
        (["config", "show", "scor"], "unknown section 'scor'", "did you mean 'score'?"),
        (["config", "show", "--format", "jsn"], "--format = 'jsn': should be one of", "mean 'json'?"),
        (["config", "show", "--preset"], "'--preset' requires an argument", "see origcli config show --help"),
        (["synth", "x", "--count", "1e3"], "--count = '1e3': should be a valid integer", "see origcli synth"),
        (["synth", "x", "--workers", "0"], "--workers = '0': should be greater than", "see origcli synth"),
        (["cache", "clear", "scor"], "the cache has no 'scor'", "did you mean 'score'?"),
        (["config", "show", "--preset", "papr"], "'papr'", "did you mean 'paper'?"),
        (["schema", "scor"], "no report of 'scor'", "did you mean 'score'?"),
        (["schema", "score", "more"], "more", "see origcli schema --help"),
    ],
)
def test_a_wrong_word_is_told_the_nearest(words: list[str], message: str, hint: str) -> None:
    done = run(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("origcli: ") and "Traceback" not in done.stderr
    assert message in done.stderr and hint in done.stderr


def test_a_variable_that_is_misspelt_is_told(tmp_path: Path) -> None:
    done = run("config", "show", env={**os.environ, "ORIGCLI_SCORE_SAMPLE": "3"})
    assert done.returncode == 2 and "did you mean 'ORIGCLI_SCORE_SAMPLES'?" in done.stderr


def test_home_directories_are_found_in_every_word(tmp_path: Path) -> None:
    """A shell expands `~/o`, but neither `--out=~/o` nor a variable."""
    home = {**os.environ, "HOME": str(tmp_path), "ORIGCLI_CONFIG": "~/mine.toml", "ORIGCLI_SEED": ""}
    (tmp_path / "mine.toml").write_text("[synth]\ncount = 3\n")
    done = run("synth", "~/data", "--preview=~/sheet.png", env=home, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data", "mine.toml", "sheet.png"}
    assert done.stdout.startswith(f"3 images in {tmp_path}/data")


def test_debug_shows_where_it_came_from() -> None:
    done = run("scehma", env={**os.environ, "ORIGCLI_DEBUG": "1"})
    assert done.returncode == 2 and "Traceback" in done.stderr and "Did you mean" in done.stderr


KINDS = [kind for kind in errors.OrigError.__subclasses__() if kind is not errors.Interrupted]


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        *((kind("the thing", "the remedy"), int(kind.exit_code)) for kind in KINDS),
        (errors.Interrupted(2), 130),
        (errors.Interrupted(15), 143),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 5),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), 5),
    ],
    ids=lambda value: value if isinstance(value, int) else type(value).__name__,
)
def test_errors_become_exit_statuses(
    problem: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**words: Any) -> None:
        raise problem

    monkeypatch.setattr(present, "write", fail)
    monkeypatch.setattr(present, "write", lambda text: fail())
    with pytest.raises(SystemExit) as caught:
        app.main(["schema"])
    assert caught.value.code == status
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    if isinstance(problem, errors.OrigError):
        assert f"origcli: {problem.message}\n  hint: {problem.hint}\n" == captured.err


def test_every_exit_status_is_one_kind_of_error() -> None:
    statuses = [kind.exit_code for kind in KINDS]
    assert len(statuses) == len(set(statuses))
    others = {0, 1, errors.ExitCode.SIGINT, errors.ExitCode.SIGTERM}
    assert set(statuses) | others == set(errors.ExitCode)


def test_a_bug_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "write", lambda text: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        app.main(["schema"])


def test_another_error_of_torch_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "write", lambda text: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        app.main(["schema"])


def test_a_bug_loads_no_torch() -> None:
    code = """
import sys
from origcli.cli import app, present
def fail(text):
    raise RuntimeError("out of memory, perhaps")
present.write = fail
try:
    app.main(["schema"])
except RuntimeError:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.fault(31, "a command that does not train prints and writes whatever rank is set")
@pytest.mark.parametrize("rank", ["1", "", "abc"])
@pytest.mark.parametrize("size", ["2", "many"])
def test_a_rank_silences_no_command(
    rank: str, size: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    for words, status in ((["schema"], 0), (["--help"], 0), (["train-vae", "--help"], 2)):
        with pytest.raises(SystemExit) as caught:
            app.main(words)
        assert caught.value.code == status
        captured = capsys.readouterr()
        assert bool(captured.out) == (status == 0)
        named = "WORLD_SIZE=many" if size == "many" else "MASTER_ADDR is not set"
        assert (named in captured.err) == (status == 2)
    assert os.environ["RANK"] == rank


def test_no_line_on_stderr_is_a_decoder_s_that_names_no_file() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(SystemExit):
            app.main(["schema"])
        for module in ("PIL.TiffImagePlugin", "torch.other"):
            warnings.warn_explicit("Corrupt EXIF data", UserWarning, "a.py", 1, module=module)
    assert len(caught) == 1


# -- stdout --------------------------------------------------------------------------------------


@pytest.mark.fault(7, "exit 6")
def test_a_full_stdout_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = run("schema", "score", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 6
    assert done.stderr == "origcli: stdout: cannot write: No space left on device\n"


@pytest.mark.fault(7, "exit 6 where there is no stdout")
def test_a_closed_stdout_is_told() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" schema score >&-', PROGRAM], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 6
    assert done.stderr.startswith("origcli: stdout: closed\n")


@pytest.mark.fault(7, "a reader that leaves ends it without a word")
@pytest.mark.parametrize("words", ["schema score", "config show", "--help"])
def test_a_reader_that_leaves_ends_it_quietly(words: str) -> None:
    script = f'"$0" {words} | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script, PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout in ("0\n", "141\n")


def test_a_closed_stderr_hurts_nothing() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" schema 2>&-', PROGRAM], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "score" in done.stdout


@pytest.mark.fault(7, "a table has no place to go either: exit 6")
@pytest.mark.parametrize("words", ["config show", "--help"])
def test_a_table_without_a_stdout_is_told(words: str) -> None:
    script = f'"$0" {words} >&-'
    done = subprocess.run(["sh", "-c", script, PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 6 and done.stderr.startswith("origcli: stdout: closed\n")


@pytest.mark.fault(32, "the command goes on to its end, and exits with 0")
@pytest.mark.parametrize("target", ["a reader that left", "a full disk"])
def test_a_stderr_that_cannot_be_written_hurts_nothing(target: str, tmp_path: Path) -> None:
    if target == "a full disk":
        stderr = os.open("/dev/full", os.O_WRONLY)
    else:
        read, stderr = os.pipe()
        os.close(read)
    words = ["synth", tmp_path / "data", "--count", "1200", "--workers", "2"]
    done = run(*map(str, words), capture_output=False, stdout=subprocess.PIPE, stderr=stderr)
    os.close(stderr)
    assert done.returncode == 0 and "1200 images" in done.stdout
    assert (tmp_path / "data" / "dataset.json").is_file()


def test_a_closed_stdin_is_an_empty_one() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" score - <&-', PROGRAM], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3 and done.stderr.startswith("origcli: -: no images found\n")


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_output_is_utf8_whatever_the_locale(locale: str) -> None:
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run("--help", env=environment, text=False)
    assert done.returncode == 0
    printed: Any = done.stdout  # bytes
    assert "…" in printed.decode("utf-8")
