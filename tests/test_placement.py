"""The score path on CUDA and on a nameless device, by tensors without data; and that a stray is found."""

import subprocess
import sys

import pytest

STRAY = """
import torch, origcli.models.families.stable_diffusion as family
family.text_states = lambda encoder, ids, mask: torch.zeros(4, 77, 48)  # on the CPU
"""


def run(kind: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    # In a process of its own: a backend that is registered once stays.
    code = f"{before}\nimport runpy, sys\nsys.argv[1:] = [{kind!r}]\n"
    code += "runpy.run_module('tests.placement', run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("kind", ["cuda", pytest.param("gpu", marks=pytest.mark.slow)])
def test_everything_stays_on_the_device(kind: str) -> None:
    done = run(kind)
    assert (done.returncode, done.stdout) == (0, f"all on {kind}:0\n"), done.stderr[-2000:]


def test_a_stray_is_found() -> None:
    done = run("cuda", STRAY)
    assert done.returncode == 1 and "device" in done.stderr.splitlines()[-1], done.stderr[-2000:]
