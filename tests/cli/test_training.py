"""The training commands as a user types them; what they do is in tests/training."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import origcli
from origcli.errors import UsageError
from origcli.weights.registry import bundled_directory
from tests.cli.command_line import run_here

NAMED = [
    ("train-vae", ["init_from"]),
    ("train-unet", ["vae", "init_from"]),
    ("train-transformer", ["vae"]),
]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Takes the weights that a training is asked to use, in place of the training."""
    monkeypatch.chdir(tmp_path)
    found: list[Any] = []

    def run(*words: Any, init_from: Path | None = None, **rest: Any) -> None:
        found.append((words[1] if isinstance(words[1], Path) else None, init_from))
        raise UsageError("seen")

    for command, _ in NAMED:
        module = import_module(f"origcli.training.{command.removeprefix('train-')}")
        monkeypatch.setattr(module, "run", run)
    return found


@pytest.mark.parametrize(("command", "options"), NAMED)
def test_shapes_names_the_bundled_weights_and_a_path_does_not(
    command: str, options: list[str], seen: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "shapes").mkdir()
    function = getattr(origcli, command.replace("-", "_"))
    cases: dict[str | Path, Path] = {
        "shapes": bundled_directory(),
        f".{os.sep}shapes": Path("shapes"),
        tmp_path / "shapes": tmp_path / "shapes",
    }
    for given, expected in cases.items():
        flags = [word for name in options for word in (f"--{name.replace('_', '-')}", given)]
        done = run_here(capsys, command, "data", *flags, "--quiet")
        assert done.status == 2 and "seen" in done.err
        with pytest.raises(UsageError, match="seen"):
            function("data", **dict.fromkeys(options, given), quiet=True)
        wanted = tuple(expected if name in options else None for name in ("vae", "init_from"))
        assert seen == [wanted, wanted]
        seen.clear()
    with pytest.raises(UsageError, match="seen"):
        function("data", **dict.fromkeys(options, Path("shapes")), quiet=True)
    assert bundled_directory() not in seen[0]  # only the name is the bundled model's
