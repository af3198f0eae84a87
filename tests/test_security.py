"""What SECURITY.md promises of the whole package: it is read as source, so that no path is forgotten."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "origcli").rglob("*.py"))

# What may not be called at all: it runs text as code, starts a program, or reads objects that run code.
NEVER = {
    *("eval", "exec", "compile", "__import__", "importlib.reload", "pty.spawn", "shutil.unpack_archive"),
    *("os.system", "os.popen", "os.startfile", "os.fork", "os.forkpty"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.jit.load"),
}
# Families of them, by how their names begin.
NEVER_LIKE = (
    *("os.exec", "os.spawn", "os.posix_spawn", "asyncio.create_subprocess_", "asyncio.subprocess."),
    *("runpy.", "marshal.", "shelve.", "dill.", "joblib.", "cloudpickle."),
    *("torch.hub.", "torch.package.", "yaml.load", "yaml.unsafe_", "yaml.full_"),
)
# Methods, whoever's they are.
NO_METHOD = {
    *("extract", "extractall", "read_pickle", "load_state_dict_from_url", "from_single_file"),
    *("subprocess_exec", "subprocess_shell"),
    "YOLO",  # unpickles the checkpoint that it is given
}
NO_MODULE = {
    *("subprocess", "marshal", "shelve", "dill", "joblib", "cloudpickle", "ctypes", "runpy", "pty", "code"),
}
# Words that a call has to have, whatever else it says.
WITH: dict[str, dict[str, str | None]] = {
    "torch.load": {"weights_only": "True"},
    "numpy.load": {"allow_pickle": "False"},
    "Image.open": {"formats": None},
    "torch_safe_load": {"safe_only": "True"},
}
# Where published pickles are read at all, as tensors alone.
TORCH_LOAD = {"perception/dreamsim_towers.py"}
NAMED_ERROR = {"perception/dreamsim_towers.py"}  # imports pickle for UnpicklingError
# What modules are called where they are not imported by that name.
ALIASES = {"np": "numpy", "pd": "pandas"}


def imported(tree: ast.Module) -> dict[str, str]:
    """What each name that a module imports stands for: `np` for `numpy`, `load` for `torch.load`."""
    names = dict(ALIASES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}".lstrip(".")
    return names


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a module with the name that it is called by, its first part as it was imported."""
    tree = ast.parse(path.read_text("utf-8"))
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            yield f"{names.get(first, first)}{dot}{rest}".removeprefix("builtins."), node


def is_never(called: str) -> bool:
    """Whether nobody may call this."""
    return called in NEVER or called.startswith(NEVER_LIKE) or called.rpartition(".")[2] in NO_METHOD


def problems(path: Path) -> Iterator[str]:
    """What a module does that it may not."""
    name = path.as_posix().rpartition("/origcli/")[2]
    for called, call in calls(path):
        words = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if is_never(called):
            yield f"{call.lineno}: {called}"
        for needy, wanted in WITH.items():
            if called == needy or called.endswith(f".{needy}"):
                lacks = [
                    key for key, value in wanted.items() if words.get(key, "") != (value or words.get(key))
                ]
                yield from (f"{call.lineno}: {called} without {key}" for key in lacks)
        if called == "torch.load" and name not in TORCH_LOAD:
            yield f"{call.lineno}: torch.load"
        if words.get("trust_remote_code", "False") != "False" or words.get("shell") == "True":
            yield f"{call.lineno}: {called} trusts what it is given"
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            yield from (f"{node.lineno}: import {m}" for m in modules if m.partition(".")[0] in NO_MODULE)
            if "pickle" in modules and name not in NAMED_ERROR:
                yield f"{node.lineno}: import pickle"


@pytest.mark.fault(
    18, "nowhere in the package is a pickle read but as tensors; nothing is run as code or in a shell"
)
@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_of_others_is_run(path: Path) -> None:
    assert list(problems(path)) == []


def test_what_is_allowed_is_still_needed() -> None:
    for name in TORCH_LOAD:
        assert "torch.load" in dict(calls(ROOT / "origcli" / name))
    for name in NAMED_ERROR:
        text = (ROOT / "origcli" / name).read_text("utf-8")
        assert text.count("pickle.") == text.count("pickle.UnpicklingError") > 0


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "import subprocess",
        "from subprocess import run",
        "import pickle",
        "Image.open(path)",
        "yaml.load(text)",
        "model.from_pretrained(name, trust_remote_code=True)",
        "os.system(text)",
        "archive.extractall(path)",
        "parts().torch_safe_load(path)",
        "from torch import load\nload(path, weights_only=True)",
        "import torch as t\nt.load(path)",
        "import numpy\nnumpy.load(path)",
        "from numpy import load as read\nread(path)",
        "import pandas as pd\npd.read_pickle(path)",
        "frame.read_pickle(path)",
        "torch.hub.load_state_dict_from_url(address)",
        "from torch.hub import load_state_dict_from_url as fetch\nfetch(address)",
        "pipeline.from_single_file(path)",
        "os.spawnlp(os.P_WAIT, text)",
        "os.execve(path, words, names)",
        "os.posix_spawn(path, words, names)",
        "from os import system\nsystem(text)",
        "asyncio.create_subprocess_exec(text)",
        "from asyncio import create_subprocess_shell as start\nstart(text)",
        "loop.subprocess_shell(make, text)",
        "import runpy",
        "runpy.run_path(path)",
        "yaml.load_all(text)",
        "from yaml import unsafe_load_all\nunsafe_load_all(text)",
        "YOLO(path)",
        "ultralytics.YOLO(path)",
        "from ultralytics import YOLO as Y\nY(path)",
        "import builtins\nbuiltins.eval(text)",
        "from PIL import Image as I\nI.open(path)",
    ],
)
def test_the_test_sees_what_it_looks_for(tmp_path: Path, line: str) -> None:
    (tmp_path / "origcli").mkdir()
    (tmp_path / "origcli" / "a.py").write_text(line)
    assert list(problems(tmp_path / "origcli" / "a.py"))


def models(path: Path) -> Iterator[str]:
    """Calls that load weights and would take a pickle where there is no safetensors file."""
    for called, call in calls(path):
        owner = called.rpartition(".")[0]
        if called.endswith(".from_pretrained") and not owner.endswith(
            ("Tokenizer", "Processor", "ProcessorPil", "config_class")
        ):
            words = {word.arg: ast.unparse(word.value) for word in call.keywords}
            if words.get("use_safetensors") != "True":
                yield f"{path.name}:{call.lineno}: {called}"


def test_weights_are_safetensors() -> None:
    """But for loads that read JSON alone: of tokenizers, schedulers and processors."""
    found = [place for path in MODULES for place in models(path)]
    files = [place.partition(":")[0] for place in found]
    assert files == ["pipeline.py", "pipeline.py", "embedding.py"], found


def test_the_page_names_tests_that_there_are() -> None:
    named = set(re.findall(r"`(tests/[^`]+)`", (ROOT / "SECURITY.md").read_text("utf-8")))
    assert named and [name for name in named if not (ROOT / name).exists()] == []
