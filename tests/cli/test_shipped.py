"""What is shipped beside the program: it is up to date, and real shells and man read it."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from origcli.cli.shipped.__main__ import ROOT, shipped_files, stale_files, update_files
from origcli.cli.shipped.man import EXIT_STATUS
from origcli.errors import ExitCode
from tests.cli.command_line import PROGRAM, commands, origcli

MAN = sorted((ROOT / "man").glob("*.1"))
ENVIRONMENT = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "TERM": "dumb"}


def need(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed here")
    return path


# -- the files -----------------------------------------------------------------------------------


def test_they_are_what_the_commands_say() -> None:
    assert stale_files() == [], "run: python -m origcli.cli.shipped --update"


def test_the_check_finds_what_is_stale_missing_or_too_many(tmp_path: Path) -> None:
    assert set(stale_files(tmp_path)) == set(shipped_files())
    update_files(tmp_path)
    assert stale_files(tmp_path) == []
    (tmp_path / "man" / "origcli.1").write_text("old")
    (tmp_path / "man" / "origcli-gone.1").write_text("")
    (tmp_path / "completions" / "_origcli").unlink()
    assert stale_files(tmp_path) == [
        Path("completions/_origcli"),
        Path("man/origcli-gone.1"),
        Path("man/origcli.1"),
    ]
    update_files(tmp_path)
    assert stale_files(tmp_path) == []


def test_the_command_checks_and_updates() -> None:
    command = [sys.executable, "-m", "origcli.cli.shipped", "--check"]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def test_every_command_has_a_page() -> None:
    assert {path.stem for path in MAN} == {"origcli", *(f"origcli-{words[0]}" for words in commands())}


# -- man -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", MAN, ids=lambda path: path.name)
def test_man_reads_a_page_without_a_warning(page: Path) -> None:
    done = subprocess.run(
        [need("man"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("page", MAN, ids=lambda path: path.name)
def test_lexgrog_finds_the_name_of_a_page(page: Path) -> None:
    done = subprocess.run([need("lexgrog"), page], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f"{page.stem} - " in done.stdout


@pytest.mark.parametrize("page", MAN, ids=lambda path: path.name)
def test_a_page_has_what_a_page_needs(page: Path) -> None:
    sections = re.findall(r'^\.SH "(.*)"$', page.read_text("utf-8"), re.MULTILINE)
    needed = [
        *("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"),
        *("EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"),
    ]
    assert [name for name in sections if name in needed] == needed


def test_every_exit_status_is_explained() -> None:
    assert set(EXIT_STATUS) == set(ExitCode)


def test_a_page_has_every_option() -> None:
    for words, command in commands().items():
        text = (ROOT / "man" / f"origcli-{words[0]}.1").read_text("utf-8").replace("\\-", "-")
        for parameter in command.params:
            for name in parameter.opts if parameter.param_type_name == "option" else ():
                assert name in text, f"{words}: {name}"


# -- shells --------------------------------------------------------------------------------------


def type_into(shell: list[str], lines: list[str], until: str, environment: dict[str, str]) -> str:
    """What a shell shows, on a terminal of its own, when these are typed one after the other."""
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - the shell's side
        os.execvpe(shell[0], shell, environment)
    seen = ""
    try:
        for line in lines:
            os.write(terminal, line.encode())
            time.sleep(0.3)
        end = time.monotonic() + 60
        while until not in seen and time.monotonic() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                seen += os.read(terminal, 65536).decode("utf-8", "replace")
    finally:
        os.kill(child, 9)
        os.close(terminal)
        os.waitpid(child, 0)
    return seen


def test_bash_parses_and_registers_the_script() -> None:
    script = ROOT / "completions" / "origcli.bash"
    assert subprocess.run([need("bash"), "-n", script], timeout=60).returncode == 0
    done = subprocess.run(
        ["bash", "-c", 'source "$0" && complete -p origcli', script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.endswith("-F _origcli_completion origcli\n"), done.stderr


# What is typed before a TAB (two, where it is the beginning of several words), and what is then seen.
TABS = pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("origcli config show --pre\t", "origcli config show --preset"),
        ("origcli score --m\t\t", "--max-tokens"),
        ("origcli score photo.jpg --model sh\t", "--model shapes"),
        ("origcli score hou\t", "origcli score houses"),  # a file of this directory
    ],
)


@pytest.fixture
def houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, with one picture."""
    (tmp_path / "houses.jpg").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@TABS
def test_bash_completes(houses: Path, typed: str, seen: str) -> None:
    shell = [need("bash"), "--norc", "--noprofile", "-i"]
    lines = [f"source '{ROOT}/completions/origcli.bash'\n", typed]
    assert seen in type_into(shell, lines, seen, ENVIRONMENT)


@TABS
def test_zsh_completes_at_the_first_tab(houses: Path, typed: str, seen: str) -> None:
    start = f"fpath=('{ROOT}/completions' $fpath); autoload -U compinit; compinit -u -d '{houses}/dump'\n"
    assert seen in type_into([need("zsh"), "-f", "-i"], [start, typed], seen, ENVIRONMENT)


def completed_by_fish(typed: str, home: Path) -> dict[str, str]:
    """Word -> description, of what fish offers."""
    command = f"source '{ROOT}/completions/origcli.fish'; complete -C '{typed}'"
    done = subprocess.run(
        [need("fish"), "--no-config", "-c", command],
        env={**ENVIRONMENT, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return {word: text for word, _, text in (line.partition("\t") for line in done.stdout.splitlines())}


def test_fish_completes_with_descriptions(houses: Path) -> None:
    assert completed_by_fish("origcli sch", houses)["schema"].startswith("Print the JSON Schema")
    offered = completed_by_fish("origcli score --m", houses)
    assert set(offered) == {"--model", "--max-tokens", "--measure-anyway", "--metric"} and all(
        offered.values()
    )
    assert set(completed_by_fish("origcli score hou", houses)) == {"houses.jpg"}


def test_powershell_parses_the_script() -> None:
    script = ROOT / "completions" / "origcli.ps1"
    assert "Register-ArgumentCompleter -Native -CommandName origcli" in script.read_text("utf-8")
    parse = (
        "$e = $null; [System.Management.Automation.Language.Parser]::ParseFile("
        f"'{script}', [ref]$null, [ref]$e) | Out-Null; exit $e.Count"
    )
    assert subprocess.run([need("pwsh"), "-NoProfile", "-Command", parse], timeout=120).returncode == 0


# What a tab may load besides the standard library and origcli: Typer, Pydantic, and what these two load.
LIGHT = {
    *("typer", "shellingham", "annotated_doc"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions"),
}


@pytest.mark.parametrize(
    "words",
    ["origcli sc", "origcli score --m", "origcli score x.png --model ", "origcli config show --format "],
)
def test_a_tab_loads_nothing_heavy(words: str) -> None:
    """How long a tab takes is how much it loads: half a second, or more where the machine is slow."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "from origcli.cli.app import main\n"
        "try: main([])\n"
        "except SystemExit: pass\n"
        "loaded = {name: sys.modules[name] for name in set(sys.modules) - before}\n"
        "print(*{name.partition('.')[0] for name, module in loaded.items()\n"
        "        if 'site-packages' in (getattr(module, '__file__', None) or '')}, file=sys.stderr)"
    )
    environment = {**os.environ, "_ORIGCLI_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout
    loaded = set(done.stderr.split()) - {"origcli"}
    assert "typer" in loaded and loaded <= LIGHT


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--preset ", {"paper", "small", "fast", "small,fast"}),
        ("--format j", {"json", "jsonl"}),
        ("--format ", {"table", "json", "jsonl", "csv", "excel"}),
        ("", set()),
    ],
)
def test_values_complete(typed: str, expected: set[str]) -> None:
    words = f"origcli config show runtime {typed}"
    environment = {**os.environ, "_ORIGCLI_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    assert set(origcli(env=environment).stdout.split()) == expected


@pytest.mark.parametrize("shell", ["/bin/bash", "/usr/bin/zsh", "/usr/bin/fish", "pwsh", ""])
def test_installing_completions_writes_nothing(shell: str, tmp_path: Path) -> None:
    done = origcli("--install-completion", env={**ENVIRONMENT, "HOME": str(tmp_path), "SHELL": shell})
    name = Path(shell).name
    assert done.returncode == 0 and done.stderr == "" and list(tmp_path.iterdir()) == []
    known = {"bash", "zsh", "fish", "powershell"}
    named = {line.partition(":")[0] for line in done.stdout.splitlines() if not line.startswith(" ")}
    assert named == ({name} if name in known else known)


def test_the_line_for_bash_completes() -> None:
    done = origcli("--install-completion", env={**ENVIRONMENT, "SHELL": "/bin/bash"})
    line = done.stdout.splitlines()[1].strip()
    script = f"{line}\ncomplete -p origcli"
    shown = subprocess.run([need("bash"), "-c", script], env=ENVIRONMENT, capture_output=True, text=True)
    assert "_origcli_completion" in shown.stdout
