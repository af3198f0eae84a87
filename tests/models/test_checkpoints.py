"""Checkpoints: whole or not there, and damage is noticed."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from origcli.errors import InputError, ModelError, StorageError
from origcli.models.checkpoints import (
    checkpoints,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from origcli.models.pipeline import load_pipeline
from origcli.runtime.atomic import sweep
from origcli.runtime.context import Runtime
from origcli.training.denoiser import write_pipeline
from origcli.weights.hashing import hash_pipeline


def test_a_checkpoint_comes_back_and_old_ones_go(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, {"w": torch.full((2, 2), float(step))}, {"seed": 3})
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000020", "step-00000030"]
    tensors, state = load_checkpoint(checkpoints(tmp_path)[-1])
    assert torch.equal(tensors["w"], torch.full((2, 2), 30.0))
    assert (state["step"], state["seed"]) == (30, 3)


@pytest.mark.fault(22, "one flipped bit of a checkpoint is found")
def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {"w": torch.ones(4)}, {})
    data = bytearray((path / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "tensors.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        load_checkpoint(path)


def test_a_torn_state_is_noticed(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {"w": torch.ones(4)}, {})
    (path / "state.json").write_text("{")
    with pytest.raises(InputError, match="state"):
        load_checkpoint(path)


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """This process may write no file larger than some bytes, as if the disk were full after them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.fault(6, "a checkpoint is not saved by half: exit 6, and the one before is whole")
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"w": torch.ones(4)}, {})
    with no_file_over(4096), pytest.raises(StorageError, match="File too large"):
        save_checkpoint(tmp_path, 2, {"w": torch.ones(4096)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert torch.equal(load_checkpoint(tmp_path / "step-00000001")[0]["w"], torch.ones(4))


@pytest.mark.fault(6, "nor is a model, whichever library writes it")
def test_a_model_that_does_not_fit_leaves_the_one_before(
    tmp_path: Path, tiny_bert_pipeline_dir: Path
) -> None:
    model = load_pipeline(tiny_bert_pipeline_dir, Runtime())
    write_pipeline(model, tmp_path)
    before = hash_pipeline(tmp_path / "pipeline")
    with no_file_over(4096), pytest.raises(StorageError, match="pipeline: cannot write"):
        write_pipeline(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
    assert hash_pipeline(tmp_path / "pipeline") == before


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_adam_goes_on_as_if_it_had_not_stopped(layout: torch.memory_format) -> None:
    def run(steps: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.arange(27.0).view(1, 3, 3, 3)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    model = torch.nn.Conv2d(3, 2, 3).to(memory_format=layout)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    run(3, model, optimizer)
    saved = {
        k: v.clone(memory_format=torch.contiguous_format) for k, v in optimizer_tensors(optimizer).items()
    }
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    run(3, model, optimizer)
    other = torch.nn.Conv2d(3, 2, 3).to(memory_format=layout)
    other.load_state_dict(weights)
    again = torch.optim.AdamW(other.parameters(), lr=0.1, fused=True)
    restore_optimizer(again, saved)
    run(3, other, again)
    assert all(torch.equal(model.state_dict()[k], other.state_dict()[k]) for k in start)


KILLED_IN_A_SAVE = """
import os, signal, sys, torch
from pathlib import Path
from origcli.models import checkpoints
directory = Path(sys.argv[1])
checkpoints.save_checkpoint(directory, 1, {"w": torch.ones(1000)}, {})
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(*{"tensors": (checkpoints, "write_json"), "rename": (os, "rename")}[sys.argv[2]], die)
checkpoints.save_checkpoint(directory, 2, {"w": torch.zeros(1000)}, {})
"""


@pytest.mark.fault(10, "the checkpoint before is whole; leftovers are swept")
@pytest.mark.parametrize("moment", ["tensors", "rename"])
def test_a_kill_in_the_middle_of_a_save_leaves_the_one_before(tmp_path: Path, moment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_IN_A_SAVE, str(tmp_path), moment], env=os.environ, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000001"]
    tensors, _ = load_checkpoint(checkpoints(tmp_path)[-1])
    assert torch.equal(tensors["w"], torch.ones(1000))
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001"]
