"""The training loop: what a step sees is a function of (seed, step) alone, so nothing can be lost."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, tracking
from accelerate.tracking import GeneralTracker
from accelerate.utils import DistributedType, LoggerType
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset

from origcli.errors import DeviceError, InputError, Interrupted, NonFiniteError, UsageError
from origcli.models.checkpoints import checkpoints, load_checkpoint
from origcli.runtime import interrupts
from origcli.runtime.context import Runtime
from origcli.runtime.device import select_dtype
from origcli.runtime.progress import SilentProgress
from origcli.runtime.run_directory import RunDirectory
from origcli.settings import OptimizerSettings
from origcli.training import loop
from origcli.training.identity import computing
from origcli.training.launch import open_accelerator
from origcli.training.loop import Job, train
from origcli.training.schedule import learning_rate, sample_indices, steps_in

SIZE = 37  # no multiple of the batch size: epochs end in the middle of batches


class Numbers(Dataset[Any]):
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        x = torch.tensor(indices, dtype=torch.float32).view(-1, 1)
        return {"x": torch.cat([x.sin(), x.cos()], 1)}


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        error = (self.net(x + 0.1 * noise) - x.sum(1, keepdim=True)).square().mean(1)
        return {"loss": error}


def settings(**changes: Any) -> OptimizerSettings:
    values = {
        "batch_size": 8,
        "learning_rate": 0.05,
        "schedule": "cosine",
        "warmup_steps": 3,
        "ema_decay": 0.9,
        "checkpoint_every": 100,
        "sample_every": 0,
    }
    return OptimizerSettings(**{**values, **changes})


def job(module: Regression, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "name": "regression",
        "objective": module,
        "trained": module.net,
        "samples": Numbers(),
        "size": SIZE,
        "randoms": lambda g, n: {"noise": torch.randn((n, 2), generator=g)},
        "identity": {"width": 8},
    }
    return Job(**{**values, **changes})


def run(
    directory: Path, steps: int = 25, total: int = 25, resume: bool = False, workers: int = 0, **options: Any
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Trains to `steps`; stops there by a signal where that is before `total`."""
    of_the_job = ("objective", "identity", "randoms", "preview")
    changes = {name: options.pop(name) for name in of_the_job if name in options}
    module = changes.pop("objective", None) or Regression()
    track = options.pop("track", None)
    of_the_runtime = {name: options.pop(name) for name in ("dtype", "progress") if name in options}
    stopped = total > steps

    calls = 0

    def stop(source: torch.Generator, count: int) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if stopped and calls == steps:
            interrupts._received.append(signal.SIGTERM)
        return {"noise": torch.randn((count, 2), generator=source)}

    changes.setdefault("randoms", stop)
    with RunDirectory(directory) as owned:
        runtime = Runtime(seed=1, directory=owned, **of_the_runtime)
        work = job(module, **changes)
        try:
            history = train(
                work, settings(**options), total, runtime, resume=resume, workers=workers, track=track
            )
        except Interrupted:
            assert stopped
            history = []
        finally:
            interrupts._received.clear()
    return {k: v.clone() for k, v in module.net.state_dict().items()}, history


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 3))
def test_an_epoch_sees_each_sample_once(batch_size: int, size: int, seed: int) -> None:
    steps = -(-2 * size // batch_size)
    seen = [i for step in range(steps) for i in sample_indices(seed, step, batch_size, size)]
    assert sorted(seen[:size]) == sorted(seen[size : 2 * size]) == list(range(size))


@given(st.floats(0.01, 20), st.integers(1, 10**6), st.integers(1, 512))
def test_steps_cover_the_epochs_and_no_more(epochs: float, size: int, batch_size: int) -> None:
    steps = steps_in(epochs, size, batch_size)
    assert (steps - 1) * batch_size < max(epochs * size, 1) or steps == 1
    assert steps * batch_size >= epochs * size - 1e-6 * epochs * size


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    rates = [learning_rate(settings(), step, 25) for step in range(26)]
    assert rates[0] == pytest.approx(0.05 / 3) and max(rates) == pytest.approx(0.05)
    assert rates[3:] == sorted(rates[3:], reverse=True) and rates[25] == pytest.approx(0, abs=1e-12)
    assert learning_rate(settings(schedule="constant"), 20, 25) == 0.05


def test_training_learns_and_leaves_the_average(tmp_path: Path) -> None:
    _, history = run(tmp_path, 200, 200)
    assert history[-1]["loss"] < history[0]["loss"] / 3
    assert [row["step"] for row in history] == list(range(10, 201, 10))
    assert (tmp_path / "history.csv").read_text().splitlines()[0] == "step,learning_rate,loss"
    tensors, _ = load_checkpoint(checkpoints(tmp_path / "checkpoints")[-1])
    assert not torch.equal(tensors["ema.0"], tensors["model.0.weight"])


@pytest.mark.fault(11, "weights and losses are equal to the bit, wherever it stopped")
@pytest.mark.parametrize("stop", [1, 13, 24])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, stop: int) -> None:
    whole, history = run(tmp_path / "whole")
    run(tmp_path / "parts", stop, 25)
    assert load_checkpoint(checkpoints(tmp_path / "parts/checkpoints")[-1])[1]["step"] == stop
    resumed, rest = run(tmp_path / "parts", resume=True)
    assert equal(whole, resumed) and history == rest
    assert (tmp_path / "whole/history.csv").read_bytes() == (tmp_path / "parts/history.csv").read_bytes()


@pytest.mark.fault(16, "the same weights with 0, 1 and 2")
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(tmp_path: Path, workers: int) -> None:
    assert equal(run(tmp_path / "a")[0], run(tmp_path / "b", workers=workers)[0])


@pytest.mark.parametrize("micro", [1, 3, 8])
def test_the_micro_batch_changes_nothing_but_rounding(tmp_path: Path, micro: int) -> None:
    whole, _ = run(tmp_path / "a")
    parts, _ = run(tmp_path / "b", micro_batch=micro)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-4) for name in whole)


class Scarce(Regression):
    """Memory for three samples."""

    def forward(self, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x, noise)


@pytest.mark.fault(14, "the micro-batch halves, the effective batch stays")
def test_memory_that_runs_out_keeps_the_effective_batch(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "a")
    scarce, _ = run(tmp_path / "b", objective=Scarce())
    assert all(torch.allclose(whole[name], scarce[name], atol=1e-4) for name in whole)


class Breaks(Regression):
    """The loss is not finite at the sixth step."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.calls = value, 0

    def forward(self, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        terms = super().forward(x, noise)
        return {"loss": terms["loss"] * (self.value if self.calls == 6 else 1.0)}


@pytest.mark.fault(13, "exit 8 with the step; the last checkpoint is from before it")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_at_its_step(tmp_path: Path, value: float) -> None:
    with pytest.raises(NonFiniteError, match="step 6"):
        run(tmp_path, objective=Breaks(value), checkpoint_every=5)
    tensors, state = load_checkpoint(checkpoints(tmp_path / "checkpoints")[-1])
    assert state["step"] == 5 and all(torch.isfinite(value).all() for value in tensors.values())


class LosesItsGradients(Regression):
    """The loss is finite at the fifth step, and its gradient is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        terms = super().forward(x, noise)
        if self.calls == 5:
            return {"loss": terms["loss"] + (0 * next(self.net.parameters()).sum()).sqrt()}
        return terms


@pytest.mark.fault(13, "so does a gradient that is not finite, before weights of it are saved")
def test_a_gradient_that_is_not_finite_stops_before_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="norm of the gradients is nan at step 5"):
        run(tmp_path, objective=LosesItsGradients(), checkpoint_every=5)
    assert not checkpoints(tmp_path / "checkpoints")


@pytest.mark.fault(12, "refused, exit 2; each difference is named")
def test_other_settings_are_refused_and_the_difference_said(tmp_path: Path) -> None:
    run(tmp_path, 5, 25)
    with pytest.raises(UsageError, match=r"width was 8, is 16") as caught:
        run(tmp_path, resume=True, identity={"width": 16})
    assert "--force" in caught.value.hint


def test_settings_that_change_no_result_may_change(tmp_path: Path) -> None:
    def identity(**changes: Any) -> dict[str, Any]:
        return {"settings": settings(**changes).model_dump(mode="json"), "data": "abc"}

    whole, _ = run(tmp_path / "whole")
    run(tmp_path / "parts", 13, 25, identity=identity())
    free = {"checkpoint_every": 7, "sample_every": 4}
    resumed, _ = run(tmp_path / "parts", resume=True, identity=identity(**free, micro_batch=4), **free)
    assert equal(whole, resumed)
    with pytest.raises(UsageError, match=r"settings\.learning_rate was 0\.05, is 0\.01") as caught:
        run(tmp_path / "parts", resume=True, identity=identity(learning_rate=0.01, checkpoint_every=7))
    assert "checkpoint_every" not in str(caught.value) and "batch_size" not in str(caught.value)


def test_another_number_of_steps_or_device_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "steps", 5, 25)
    with pytest.raises(UsageError, match=r"loop\.steps was 25, is 30"):
        run(tmp_path / "steps", 30, 30, resume=True)
    run(tmp_path / "fewer", 25, 25, schedule="constant")
    with pytest.raises(UsageError, match=r"loop\.steps was 25, is 20"):
        run(tmp_path / "fewer", 20, 20, resume=True, schedule="constant")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "computing", lambda runtime: {**computing(runtime), "device": "cuda"})
        run(tmp_path / "device", 5, 25)
    with pytest.raises(UsageError, match=r"computing\.device was 'cuda', is 'cpu'"):
        run(tmp_path / "device", resume=True)


class Watched(Regression):
    """Keeps how many samples came at a time, and in which precision it answered."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[int] = set()
        self.precisions: set[torch.dtype] = set()
        self.net.register_forward_hook(lambda module, given, out: self.precisions.add(out.dtype))

    def forward(self, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        assert self.net.training
        self.sizes.add(len(x))
        return super().forward(x, noise)


def test_a_preview_sees_the_average_and_changes_nothing(tmp_path: Path) -> None:
    whole, history = run(tmp_path / "whole")
    module, seen = Watched(), {}

    def preview(step: int) -> None:
        assert not module.net.training
        seen[step] = [parameter.detach().clone() for parameter in module.net.parameters()]

    watched, rest = run(
        tmp_path / "watched", objective=module, preview=preview, sample_every=4, checkpoint_every=4
    )
    assert equal(whole, watched) and history == rest
    assert list(seen) == [4, 8, 12, 16, 20, 24]
    tensors, state = load_checkpoint(checkpoints(tmp_path / "watched/checkpoints")[-2])
    assert state["step"] == 24
    for number, (average, (name, _)) in enumerate(zip(seen[24], module.net.named_parameters(), strict=True)):
        assert torch.equal(average, tensors[f"ema.{number}"])
        assert not torch.equal(average, tensors[f"model.{name}"])


def test_the_parts_of_a_launch_are_parts_of_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`accelerate launch --gradient_accumulation_steps 4`: accelerate alone would divide the loss by four."""
    whole, _ = run(tmp_path / "whole")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    module = Watched()
    parts, _ = run(tmp_path / "parts", objective=module)
    assert module.sizes == {2}
    assert all(torch.allclose(whole[name], parts[name], atol=1e-4) for name in whole)
    # Adam hides how large a loss is, so the weights alone would not tell of a division.
    assert open_accelerator(Runtime(), tmp_path, None).gradient_accumulation_steps == 1


def test_a_launch_in_bf16_trains_in_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "before", 2, 2)  # in fp32, in this process
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    module = Watched()
    weights, history = run(
        tmp_path / "bf16", 100, 100, objective=module, dtype=select_dtype(torch.device("cpu"))
    )
    assert module.precisions == {torch.bfloat16}
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert history[-1]["loss"] < history[0]["loss"] / 2


class Shown(SilentProgress):
    """Keeps what the bar is told."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float | str]] = []

    @contextmanager
    def task(self, description: str, total: int | None, start: int = 0, phases: int = 0) -> Iterator["Shown"]:
        yield self

    def advance(self, steps: int = 1, **fields: float | str) -> None:
        self.rows.append(fields)


def test_the_bar_shows_images_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0, 2)  # two seconds a step of eight
    monkeypatch.setattr(loop, "monotonic", lambda: next(clock))
    shown = Shown()
    run(tmp_path, progress=shown)
    assert [row["images/s"] for row in shown.rows] == [pytest.approx(4.0)] * 25
    assert float(shown.rows[-1]["loss"]) > 0


class Recorder(GeneralTracker):
    """A tracker that keeps what it is told."""

    name, requires_logging_directory = "tensorboard", True

    def __init__(self, run_name: str, logging_dir: str, **options: Any) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.run_name, self.logging_dir, self.finished = run_name, logging_dir, False
        made.append(self)

    @property
    def tracker(self) -> Any:
        return self

    def log(self, values: dict[str, float], step: int | None = None, **options: Any) -> None:
        assert step is not None and not self.finished
        self.rows.append((step, dict(values)))

    def finish(self) -> None:
        self.finished = True


made: list[Recorder] = []


def test_a_tracker_hears_each_row_of_the_history_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Recorder)
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.TENSORBOARD])
    made.clear()
    _, history = run(tmp_path, track="tensorboard")
    (recorder,) = made
    assert recorder.rows == [(row["step"], row) for row in history]
    assert recorder.finished and recorder.run_name == "regression" and recorder.logging_dir == str(tmp_path)


def test_tensorboard_gets_its_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, history = run(tmp_path, track="tensorboard")
    events = EventAccumulator(str(tmp_path / "regression"))
    events.Reload()
    logged = [(event.step, event.value) for event in events.Scalars("loss")]
    assert logged == [(row["step"], pytest.approx(row["loss"])) for row in history]


@pytest.mark.parametrize(("name", "message"), [("tensorbord", "unknown tracker"), ("wandb", "not installed")])
def test_a_tracker_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(UsageError, match=message):
        run(tmp_path, track=name)


@pytest.mark.parametrize("spread", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_launches_that_share_out_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: DistributedType
) -> None:
    monkeypatch.setattr(Accelerator, "distributed_type", spread)
    with pytest.raises(UsageError, match=spread.value):
        run(tmp_path)


class Dies(Numbers):
    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@pytest.mark.fault(15, "exit 5 with what to do")
def test_a_data_worker_that_dies_is_a_device_error(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as owned, pytest.raises(DeviceError, match="worker"):
        work = job(Regression(), samples=Dies())
        train(work, settings(), 5, Runtime(directory=owned), workers=1)


class Damaged(Numbers):
    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        raise InputError("set/000003.png: damaged", "make the set again")


@pytest.mark.fault(15, "what it found wrong with the data is reported as by the main process")
@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_worker_finds_wrong_is_told_plainly(tmp_path: Path, workers: int) -> None:
    with RunDirectory(tmp_path) as owned, pytest.raises(InputError) as caught:
        train(job(Regression(), samples=Damaged()), settings(), 5, Runtime(directory=owned), workers=workers)
    assert caught.value.message == "set/000003.png: damaged" and caught.value.hint == "make the set again"


class NoMemory(Numbers):
    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        raise RuntimeError("unable to open shared memory object </torch_1_2> in read-write mode")


@pytest.mark.fault(15, "without shared memory (/dev/shm), exit 5 with what to do")
def test_workers_without_shared_memory_are_a_device_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: object, **named: object) -> None:
        raise OSError(30, "Read-only file system")

    with RunDirectory(tmp_path) as owned:
        with pytest.raises(DeviceError, match="no shared memory") as caught:
            train(job(Regression(), samples=NoMemory()), settings(), 5, Runtime(directory=owned), workers=1)
        assert "--workers 0" in caught.value.hint and "\n" not in caught.value.message
        monkeypatch.setattr("torch.utils.data.DataLoader.__iter__", fail)
        with pytest.raises(DeviceError, match="no shared memory"):
            train(job(Regression()), settings(), 5, Runtime(directory=owned), workers=1)


TWO_PROCESSES = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {root!r})
from tests.training.test_loop import Regression, job, settings
from origcli.runtime.context import open_runtime
from origcli.settings import RuntimeSettings
from origcli.training.loop import train
from safetensors.torch import save_file
module = Regression()
with open_runtime(RuntimeSettings(device="cpu", seed=1), Path(sys.argv[1])) as runtime:
    train(job(module), settings(), 25, runtime)
if int(__import__("os").environ.get("RANK", 0)) == 0:
    save_file(dict(module.net.state_dict()), sys.argv[2])
"""


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    whole, _ = run(tmp_path / "one")
    script = tmp_path / "two.py"
    root = str(Path(__file__).parents[2])
    script.write_text(textwrap.dedent(TWO_PROCESSES.format(root=root)))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path / "two"), str(tmp_path / "out.safetensors")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    both = load_file(tmp_path / "out.safetensors")
    assert all(torch.allclose(whole[name], both[name], atol=1e-4) for name in whole)


ONE_DIES = """
import os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {root!r})
from tests.training.test_loop import Regression, job, settings
from origcli.runtime.context import open_runtime
from origcli.settings import RuntimeSettings
from origcli.training.loop import train
out, fatal, module = Path(sys.argv[1]), sys.argv[2] == "dies", Regression()
calls = 0

def randoms(source, count):
    global calls
    calls += 1
    if fatal and os.environ["RANK"] == "1" and calls == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return {{"noise": torch.randn((count, 2), generator=source)}}

with open_runtime(RuntimeSettings(device="cpu", seed=1), out) as runtime:
    train(job(module, randoms=randoms), settings(checkpoint_every=5), 25, runtime, resume=not fatal)
if os.environ["RANK"] == "0":
    torch.save(module.net.state_dict(), out / "weights.pt")
"""


@pytest.mark.fault(
    29, "the launch ends, the last checkpoint is whole, and resuming comes to the same weights"
)
def test_a_rank_that_dies_ends_all_and_the_run_goes_on(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "one")
    script = tmp_path / "two.py"
    script.write_text(ONE_DIES.format(root=str(Path(__file__).parents[2])))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    out = tmp_path / "two"

    def start(word: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        words = [sys.executable, *launch, str(out), word]
        return subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    assert start("dies").returncode != 0
    assert load_checkpoint(checkpoints(out / "checkpoints")[-1])[1]["step"] == 5
    done = start("resumes")
    assert done.returncode == 0, done.stderr[-3000:]
    resumed = torch.load(out / "weights.pt", weights_only=True)
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-4) for name in whole)


@pytest.mark.fault(11, "a finished training goes on for more steps, to the bits of one that was as long")
@pytest.mark.parametrize("first", [13, 20, 25])
def test_a_finished_training_can_be_made_longer(tmp_path: Path, first: int) -> None:
    whole, _ = run(tmp_path / "whole", 33, 33, schedule="constant")
    run(tmp_path / "parts", first, first, schedule="constant")
    longer, _ = run(tmp_path / "parts", 33, 33, resume=True, schedule="constant")
    assert equal(whole, longer)
    histories = [(tmp_path / name / "history.csv").read_bytes() for name in ("whole", "parts")]
    assert histories[0] == histories[1]


@pytest.mark.fault(11, "a stopped training ends with fewer steps, to the bits of one that was as long")
@pytest.mark.parametrize("length", [13, 20])
def test_a_stopped_training_can_be_made_shorter(tmp_path: Path, length: int) -> None:
    """Not shorter than it is already."""
    whole, history = run(tmp_path / "whole", length, length, schedule="constant")
    run(tmp_path / "parts", 13, 33, schedule="constant")
    with pytest.raises(UsageError, match=r"loop\.steps was 33, is 12"):
        run(tmp_path / "parts", 12, 12, resume=True, schedule="constant")
    shorter, rest = run(tmp_path / "parts", length, length, resume=True, schedule="constant")
    assert equal(whole, shorter) and history == rest
    histories = [(tmp_path / name / "history.csv").read_bytes() for name in ("whole", "parts")]
    assert histories[0] == histories[1]
