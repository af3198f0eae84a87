"""The training loop that the VAE, the UNet and the text encoder share.

What a step sees is a pure function of (seed, step): which samples, and every random number. So a
resumed run, another number of workers or processes, and another micro-batch see the same, and a
checkpoint is tensors and one number. Accelerate drives devices, processes and mixed precision.
"""

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from origcli.errors import DeviceError, NonFiniteError, OrigError, UsageError
from origcli.models.checkpoints import (
    checkpoints,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from origcli.runtime import interrupts
from origcli.runtime.atomic import claim_directory, sweep, write_text
from origcli.runtime.context import Runtime
from origcli.runtime.device import learning_kernels
from origcli.runtime.distributed import is_main
from origcli.runtime.memory import BatchSize, slices
from origcli.runtime.plan import refuse_changes
from origcli.runtime.seeding import derive_seed, generator
from origcli.settings import OptimizerSettings
from origcli.training.identity import computing
from origcli.training.launch import accumulation_steps, open_accelerator
from origcli.training.schedule import Steps, learning_rate

Batch = dict[str, Tensor]
_READ_EVERY = 50  # steps between two reads of the losses from a GPU; each read waits for it
_LENGTH = frozenset({"epochs", "steps"})  # names of the settings that say how long a training is
_ROW_EVERY = 10  # steps that a row of the history averages over


@dataclass(frozen=True)
class Job:
    """What is trained and on what.

    Attributes:
        name: for progress and messages.
        objective: a module whose `forward(**batch)` gives named terms, each (n,); `loss` is minimized.
        trained: the part of `objective` that learns and is averaged.
        samples: `samples[indices]`-style data set: `__getitems__(list of indices)` gives a batch.
        size: number of samples.
        randoms: (generator, n) -> the random numbers of a step's n samples, each with n rows.
        preview: called with the step every `sample_every` steps, with averaged weights in `trained`.
        identity: JSON that a resumed run must repeat (settings, data hash); the loop adds device and steps.
        called: names of the parts of `trained` that `objective` calls, "" being the whole: what is compiled.
        free: settings in `identity` that may change all the same, for they change no result.
        unit: what the samples are, for the speed that the progress shows.
    """

    name: str
    objective: nn.Module
    trained: nn.Module
    samples: Dataset[Any]
    size: int
    randoms: Callable[[torch.Generator, int], Batch]
    identity: Mapping[str, Any]
    preview: Callable[[int], None] | None = None
    called: tuple[str, ...] = ("",)
    free: frozenset[str] = frozenset({"checkpoint_every", "sample_every", "micro_batch"})
    unit: str = "images"


def train(
    job: Job,
    settings: OptimizerSettings,
    steps: int,
    runtime: Runtime,
    *,
    resume: bool = False,
    workers: int = 0,
    track: str | None = None,
    directory: Path | None = None,
) -> list[dict[str, float]]:
    """Trains `job.trained` in place and leaves its averaged (EMA) weights in it.

    Checkpoints go to `directory/checkpoints`, the history to `directory/history.csv`; the directory
    is the run's by default.

    Returns:
        The history: one row every few steps, with the step, the learning rate and each term's mean.

    Args:
        track: a tracker that accelerate knows, e.g. `tensorboard`.

    Raises:
        UsageError: `resume` with other settings or data than the checkpoint's, but for another number of
            steps at a constant learning rate, not less than were done; the tracker is not there;
            the launch is configured in a way that is not supported.
        NonFiniteError: a loss or a gradient is NaN or infinite; the last checkpoint is from before it.
        DeviceError: memory ran out with one sample at a time, or a data worker died.
        Interrupted: a signal came; a checkpoint of this step was saved, if there is one process.
    """
    trainer = _Trainer(job, settings, steps, runtime, directory or runtime.out, track)
    start = trainer.restore() if resume else 0
    if is_main():
        sweep(trainer.directory)
    batches, began = _batches(trainer, start, workers), monotonic()

    with runtime.progress.task(job.name, steps, start) as bar:
        for done, batch in enumerate(batches, start + 1):
            try:
                shown = trainer.step(done - 1, batch)
            except RuntimeError:
                if not trainer.alone:
                    interrupts.check()  # another process of the launch heard of the signal first, and is gone
                raise
            speed = (done - start) * settings.batch_size / max(monotonic() - began, 1e-9)
            bar.advance(1, **shown, **{f"{job.unit}/s": speed})

            if job.preview and settings.sample_every and done % settings.sample_every == 0 and is_main():
                with trainer.averaged():
                    job.preview(done)

            due, stop = done % settings.checkpoint_every == 0 or done == steps, interrupts.pending()
            # A signal reaches the processes of a launch at different steps: they cannot save together then.
            if due or (stop and trainer.alone):
                trainer.save(done)
            if due or stop:
                interrupts.check()

    trainer.finish()
    return trainer.whole_history


def _batches(trainer: "_Trainer", start: int, workers: int) -> Iterator[Batch]:
    """This process's part of the batch of each step from `start` on.

    Raises:
        OrigError: what was wrong with the data, as the data set says it.
        DeviceError: a data worker died, or cannot be started.
    """
    job, settings, runtime = trainer.job, trainer.settings, trainer.runtime
    loader = DataLoader(
        _Told(job.samples),
        batch_sampler=Steps(
            runtime.seed, start, trainer.steps, settings.batch_size, job.size, trainer.part()
        ),
        num_workers=workers,
        collate_fn=_as_it_is,
        persistent_workers=False,
        pin_memory=runtime.device.type == "cuda",
    )
    try:
        batches = iter(loader)
        while (batch := next(batches, None)) is not None:
            if isinstance(batch, OrigError):
                raise batch
            yield batch
    except (RuntimeError, OSError) as error:
        if not workers or not _of_a_worker(error):
            raise
        what = str(error).strip().splitlines()[-1]
        raise DeviceError(
            f"a data worker died, or has no shared memory (/dev/shm): {what}",
            "use --workers 0, or free memory, and --resume",
        ) from error


def _of_a_worker(error: Exception) -> bool:
    """Whether an error is of the processes that read the data, or of the memory that they share."""
    return isinstance(error, OSError) or "DataLoader worker" in str(error) or "shared memory" in str(error)


class _Told(Dataset[Any]):
    """A data set whose errors are values: raised in a worker, they would come back as a traceback's text."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __getitems__(self, indices: Sequence[int]) -> Any:
        try:
            return self.samples.__getitems__(indices)
        except OrigError as problem:
            return problem


def _as_it_is(batch: Any) -> Any:
    return batch


class _Trainer:
    def __init__(
        self,
        job: Job,
        settings: OptimizerSettings,
        steps: int,
        runtime: Runtime,
        directory: Path,
        track: str | None,
    ) -> None:
        self.job, self.settings, self.steps, self.runtime = job, settings, steps, runtime
        self.directory, self.trained = directory, job.trained

        self.accelerator = open_accelerator(runtime, directory, track)
        job.objective.to(self.accelerator.device).train()
        optimizer = torch.optim.AdamW(
            [parameter for parameter in job.trained.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=self.accelerator.device.type in ("cpu", "cuda"),
        )
        if runtime.compile:
            for name in job.called:
                job.trained.get_submodule(name).compile()
        self.objective, self.optimizer = self.accelerator.prepare(job.objective, optimizer)
        self.ema = EMAModel(job.trained.parameters(), decay=settings.ema_decay, foreach=True)
        self.ema.to(self.accelerator.device)
        if track:
            name = job.name.replace(" ", "-")
            claim_directory(directory / name)
            self.accelerator.init_trackers(name, config={})

        parts = self.accelerator.num_processes * accumulation_steps()
        micro = min(settings.micro_batch or math.ceil(settings.batch_size / parts), settings.batch_size)
        self.micro = BatchSize(micro, runtime.progress.say)
        loop = {"steps": steps, "micro_batch": micro}
        self.identity = {**job.identity, "computing": computing(runtime), "loop": loop}

        self.history: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}  # of the terms since the last row of the history
        self.pending: list[tuple[int, dict[str, Tensor], Tensor | None]] = []  # step, terms, gradients' norm
        self.read_every = 1 if self.accelerator.device.type == "cpu" else _READ_EVERY

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.accelerator.num_processes == 1

    def part(self) -> slice:
        """The part of each global batch that is this process's."""
        ranks, size = self.accelerator.num_processes, self.settings.batch_size
        if size % ranks:
            raise UsageError(
                f"the batch size {size} is not a multiple of the {ranks} processes",
                "choose a --batch-size that is",
            )
        share = size // ranks
        return slice(self.accelerator.process_index * share, (self.accelerator.process_index + 1) * share)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """One optimizer step on the global batch."""
        seed, size = self.runtime.seed, self.settings.batch_size
        # Layers that draw random numbers themselves (dropout) take them from torch's own generator.
        torch.manual_seed(derive_seed(seed, self.job.name, "layers", step))
        randoms = self.job.randoms(generator(seed, self.job.name, step), size)
        part = self.part()
        samples = {**batch, **{name: values[part] for name, values in randoms.items()}}

        rate = learning_rate(self.settings, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = self.micro.attempt(lambda micro: self._gradients(samples, micro))
        norm = self.accelerator.clip_grad_norm_(self.trained.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        self.ema.step(self.trained.parameters())

        # The scaler of fp16 leaves out a step whose gradients overflow: they are no fault there.
        self.pending.append((step, terms, norm if self.accelerator.scaler is None else None))
        if len(self.pending) >= self.read_every:
            self.read()
        latest = self.history[-1] if self.history else {}
        return {name: value for name, value in latest.items() if name != "step"}

    def _gradients(self, batch: Batch, micro: int) -> dict[str, Tensor]:
        """Gradients of the mean loss over the batch, `micro` samples at a time; the terms' means."""
        self.optimizer.zero_grad(set_to_none=True)
        device = self.accelerator.device
        count = len(next(iter(batch.values())))
        parts = list(slices(count, micro))
        sums: dict[str, Tensor] = {}
        for part in parts:
            samples = {name: rows[part].to(device, non_blocking=True) for name, rows in batch.items()}
            kernels = learning_kernels(device, self.runtime.dtype)
            last = part is parts[-1]
            with kernels, nullcontext() if last else self.accelerator.no_sync(self.objective):
                terms = self.objective(**samples)
                self.accelerator.backward(terms["loss"].float().sum() / count)

            for name, rows in terms.items():
                total = rows.detach().float().sum() / count
                sums[name] = sums[name] + total if name in sums else total
        return sums

    def read(self) -> None:
        """Reads the losses that are still on the device, those of all processes, and looks at each."""
        parts = [terms for _, terms, _ in self.pending]
        if not self.alone:
            parts = self.accelerator.reduce(parts, reduction="mean")
        for (step, _, norm), terms in zip(self.pending, parts, strict=True):
            row = {name: float(value) for name, value in terms.items()}
            self._refuse_no_number("loss", row["loss"], step)
            if norm is not None:  # NaN gradients of a finite loss have made NaN weights
                self._refuse_no_number("norm of the gradients", float(norm), step)

            self.sums = {name: self.sums.get(name, 0.0) + value for name, value in row.items()}
            if (step + 1) % _ROW_EVERY == 0:
                self.history.append(self._row(step + 1))
                self.sums = {}
                self.accelerator.log(self.history[-1], step=step + 1)
        self.pending.clear()

    def _row(self, done: int) -> dict[str, float]:
        """The means since the last row of the history, after `done` steps."""
        over = done % _ROW_EVERY or _ROW_EVERY
        means = {name: value / over for name, value in self.sums.items()}
        rate = learning_rate(self.settings, done - 1, self.steps)
        return {"step": done, "learning_rate": rate, **means}

    @property
    def whole_history(self) -> list[dict[str, float]]:
        """The history of all steps. Its last row may be of fewer steps; in a longer run it is not there."""
        return [*self.history, self._row(self.steps)] if self.sums else self.history

    def _refuse_no_number(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise NonFiniteError(
                f"{self.job.name}: the {name} is {value} at step {step + 1} (batch {step} of seed "
                f"{self.runtime.seed})",
                "resume from the last checkpoint with a lower --learning-rate, or --dtype fp32",
            )

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights are in the job's network, which computes as it will after training."""
        self.ema.store(self.trained.parameters())
        self.ema.copy_to(self.trained.parameters())
        self.trained.eval()
        try:
            yield
        finally:
            self.ema.restore(self.trained.parameters())
            self.trained.train()

    def save(self, done: int) -> None:
        """Saves a checkpoint after `done` steps, and the history so far."""
        self.read()
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        tensors = {f"model.{name}": value for name, value in _own_tensors(self.trained).items()}
        tensors |= {f"ema.{i}": value for i, value in enumerate(self.ema.shadow_params)}
        tensors |= optimizer_tensors(self.optimizer)
        state = {"identity": self.identity, "history": self.history, "sums": self.sums}
        write_history(self.directory / "history.csv", self.history)
        save_checkpoint(self.directory / "checkpoints", done, tensors, state)

    def restore(self) -> int:
        """Loads the newest checkpoint; the number of steps done, 0 where there is none."""
        saved = checkpoints(self.directory / "checkpoints")
        if not saved:
            return 0
        tensors, state = load_checkpoint(saved[-1])
        problem = f"{self.directory}: holds a training with other settings"
        free = self.job.free | self._free_length(state)
        refuse_changes(problem, state["identity"], self.identity, free)

        with torch.no_grad():
            for name, value in _own_tensors(self.trained).items():
                value.copy_(tensors[f"model.{name}"])
            for number, shadow in enumerate(self.ema.shadow_params):
                shadow.copy_(tensors[f"ema.{number}"])
        self.ema.optimization_step = int(state["step"])
        restore_optimizer(self.optimizer, tensors)
        self.history, self.sums = state["history"], state["sums"]
        return int(state["step"])

    def _free_length(self, state: Mapping[str, Any]) -> frozenset[str]:
        """How long a training is may change where the learning rate is constant: its steps stay the same.

        It may not be shorter than what was done.
        """
        constant = self.settings.schedule == "constant"
        return _LENGTH if constant and state["step"] <= self.steps else frozenset()

    def finish(self) -> None:
        """Leaves the averaged weights in the job's network, and the whole history on the disk."""
        if self.accelerator.is_main_process:
            write_history(self.directory / "history.csv", self.whole_history)
        if self.sums:
            self.accelerator.log(self._row(self.steps), step=self.steps)
        self.ema.copy_to(self.trained.parameters())
        self.job.objective.to(self.accelerator.device).eval()
        if self.accelerator.trackers:
            self.accelerator.end_training()


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those that share memory once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Writes `history.csv`: one row every few steps."""
    if not history:
        return
    buffer = io.StringIO()
    first = ["step", "learning_rate", "loss"]
    columns = [*first, *sorted(history[0].keys() - set(first))]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, buffer.getvalue())
