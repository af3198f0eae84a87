"""How threads wait is decided before torch is loaded, and not where the user has decided."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from origcli.runtime.waiting import wait_asleep
from tests.cli.command_line import origcli

# In the place of torch: says what torch would have read.
TORCH = """
import os
os.write(1, os.environ["OMP_WAIT_POLICY"].encode())
os._exit(0)
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": " "}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5"}),
        ({"KMP_BLOCKTIME": "0"}, {"KMP_BLOCKTIME": "0"}),
    ],
)
def test_threads_sleep_unless_the_user_says_how_they_wait(
    before: dict[str, str], after: dict[str, str]
) -> None:
    environment = dict(before)
    wait_asleep(environment)
    assert environment == after


@pytest.mark.parametrize(("given", "read"), [("", "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_a_command_decides_it_before_torch_is_loaded(tmp_path: Path, given: str, read: str) -> None:
    (tmp_path / "torch.py").write_text(TORCH)
    (tmp_path / "image.png").touch()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_WAIT_POLICY": given}
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
    done = origcli("score", "image.png", cwd=tmp_path, env=environment)
    assert (done.stdout, done.returncode) == (read, 0), done.stderr


def test_importing_origcli_changes_no_variable() -> None:
    """A program that uses the package decides for itself, and for its own threads."""
    code = "import os; before = dict(os.environ); import origcli.interface; assert before == dict(os.environ)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_WAIT_POLICY": ""})
