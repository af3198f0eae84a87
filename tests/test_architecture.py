"""The house's own rules: which way imports point, what may be imported where, how long a file is."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from origcli.perception import metrics

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "origcli").rglob("*.py"))
EMPTY_NAMES = {"utils", "util", "helpers", "common", "misc", "tools", "lib"}


def test_imports_point_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_no_room_is_called_after_nothing() -> None:
    assert not [path for path in MODULES if {path.stem, *path.parts} & EMPTY_NAMES]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_begin_with_what_they_are(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) < 600
    assert not text.strip() or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_module_prints(path: Path) -> None:
    if path.name == "present.py":
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert path.name == "progress.py" or not prints, f"{path.name}: lines {prints}"


def _asks_a_metric_its_name(node: ast.AST) -> bool:
    """Whether code compares what it calls a metric with the name of one, or with a distance's."""
    if not isinstance(node, ast.Compare) or "metric" not in ast.unparse(node):
        return False
    asked = [part for side in (node.left, *node.comparators) for part in ast.walk(side)]
    return any(
        part.value in metrics.names()
        if isinstance(part, ast.Constant)
        else isinstance(part, ast.Attribute) and ast.unparse(part).endswith("Distance.name")
        for part in asked
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_decides_by_the_name_of_a_metric(path: Path) -> None:
    asking = [
        node.lineno  # type: ignore[attr-defined]
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if _asks_a_metric_its_name(node)
    ]
    assert not asking, f"{path.name}: lines {asking}; let the metric say it (perception/metrics)"


WITHOUT_LOCKS = """
import os, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"):
    delattr(os, name)
{statement}
"""


@pytest.mark.parametrize(
    "statement", ["program", "import runpy; runpy.run_module('origcli', run_name='__main__')"]
)
def test_windows_is_told_of_its_remedy_before_anything_is_loaded(statement: str) -> None:
    """What Python lacks there is hidden."""
    if statement == "program":
        entry = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]["origcli"]
        statement = f"from pkgutil import resolve_name; resolve_name({entry!r})()"
    code = WITHOUT_LOCKS.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 5
    assert done.stderr.splitlines() == [
        "origcli: this system is not supported: its Python has no POSIX file locks (module fcntl)",
        "  hint: on Windows, install WSL (wsl --install), and origcli inside it",
    ]


def test_windows_is_told_by_the_functions_too() -> None:
    code = WITHOUT_LOCKS.format(
        statement="""
import origcli
from origcli.errors import DeviceError
try:
    origcli.score
except DeviceError as problem:
    print(problem.hint)
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "WSL" in done.stdout


LIGHT = """
import sys
{statement}
heavy = ("torch", "numpy", "pydantic", "matplotlib", "diffusers", "transformers", "PIL", "rich")
print(*[name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize("statement", ["import origcli", "import origcli.cli.app"])
def test_the_command_line_is_light(statement: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(statement=statement)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_functions_load_no_command_line() -> None:
    code = """
import sys
from origcli import score
print(*[name for name in sys.modules if name.startswith(("typer", "origcli.cli"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("room", ["scenes", "reports", "settings", "errors"])
def test_some_rooms_know_no_torch(room: str) -> None:
    code = f"""
import importlib, pkgutil, sys
room = importlib.import_module("origcli.{room}")
for module in pkgutil.walk_packages(getattr(room, "__path__", []), room.__name__ + "."):
    importlib.import_module(module.name)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
