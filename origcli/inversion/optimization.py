"""Learning the tokens of images: all token counts, and several images, in one optimization.

The loss is the sum over lanes (image, m) of each lane's mean squared error, with an Adam state per
lane and text encoder: what a lane learns is what it would learn alone (supplement 6.1: batch 20, learning
rate 5e-4, 2000 steps; Gal et al. 2022). Only the vectors are trained. Weight decay, mirror images and
clipping over several m change the target, and are off.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from origcli.errors import NonFiniteError, UsageError
from origcli.inversion.denoising import Lane, Samples, lane_losses, make_samples
from origcli.inversion.draws import step_draws
from origcli.inversion.embeddings import learning_rates, start_facts
from origcli.inversion.placeholders import check_placeholders
from origcli.inversion.preparation import (
    empty_lane,
    encode,
    first_micro_batch,
    fixed_samples,
    make_lanes,
)
from origcli.inversion.stopping import BUDGET, cooling, stop_reason
from origcli.inversion.templates import read_templates
from origcli.models.checkpoints import (
    checkpoints,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from origcli.models.pipeline import DiffusionModel
from origcli.models.words import Vectors
from origcli.runtime import interrupts
from origcli.runtime.context import Runtime
from origcli.runtime.memory import BatchSize
from origcli.runtime.progress import Task
from origcli.runtime.provenance import hash_value
from origcli.settings import InvertSettings

# Called as watch(step, {name: {m: vectors, fp32 on the CPU}}).
Watch = Callable[[int, Mapping[str, Mapping[int, Vectors]]], None]


@dataclass(frozen=True)
class Inversion:
    """What was learned for one image; every mapping is by m.

    Attributes:
        name: the image's.
        vectors: by encoder, each (m, d), fp32, on the CPU.
        losses: the training loss of each step.
        evaluations: (step, L_det) before the first step, at each evaluation and after the last step.
        l_det: L_det of the vectors: the loss on a fixed batch.
        l_det_none: the same without learned tokens: the templates with their slots taken out.
        steps: how many steps were made.
        stop_reason: `budget`, `variance` or `floor`.
    """

    name: str
    vectors: dict[int, Vectors]
    losses: dict[int, list[float]]
    evaluations: dict[int, list[tuple[int, float]]]
    l_det: dict[int, float]
    l_det_none: float
    steps: dict[int, int]
    stop_reason: dict[int, str]


@dataclass
class _Track:
    """A lane and its course.

    Attributes:
        last: the step after which it stops, as far as is known.
        reason: why it stops then; `None` while only the budget would stop it.
    """

    lane: Lane
    label: str
    last: int
    losses: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    reason: str | None = None


def invert(
    model: DiffusionModel,
    images: Sequence[Image.Image],
    names: Sequence[str],
    token_counts: Sequence[int],
    settings: InvertSettings,
    runtime: Runtime,
    *,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> list[Inversion]:
    """Learns m vectors for each image and each m, all together.

    Args:
        model: any pipeline that can be opened.
        images: RGB images of the model's resolution.
        names: one per image; they name placeholders and messages.
        token_counts: the values of m.
        checkpoint: a directory for this optimization's checkpoints, a few kilobytes each. If it holds
            one, learning goes on from there, and ends as if it had never stopped.
        watch: called every `settings.preview_every` steps with the current vectors; again for a step
            that is made again, because it was stopped before its checkpoint.

    Raises:
        UsageError: a placeholder clashes, a template with the most tokens is too long, initial words are
            unknown, or the checkpoint is of another optimization.
        NonFiniteError: a loss became NaN or infinite; names image, m and step.
        DeviceError: memory ran out with one sample at a time.
        Interrupted: a signal came; the checkpoint is saved.
    """
    counts = sorted(set(token_counts))
    if not counts or counts[0] < 1:
        raise UsageError(f"token counts must be 1 or more, not {list(token_counts)}", "e.g. --tokens 1-5")
    check_placeholders(model.words, names, counts)

    optimization = _Optimization(model, images, names, counts, settings, runtime)
    if checkpoint is not None:
        optimization.restore(checkpoint)
    return optimization.run(checkpoint, watch)


class _Optimization:
    """The state of one call of `invert`."""

    def __init__(
        self,
        model: DiffusionModel,
        images: Sequence[Image.Image],
        names: Sequence[str],
        counts: Sequence[int],
        settings: InvertSettings,
        runtime: Runtime,
    ) -> None:
        self.model, self.settings, self.runtime = model, settings, runtime

        self.templates = read_templates(settings.templates)
        self.start = start_facts(settings.initialization)
        lanes = make_lanes(model, self.templates, settings.initialization, counts, len(images))
        self.prompt_rows = model.words.first_equal(lanes[0].prompts)
        self.tracks = [_Track(lane, f"{names[lane.image]} m={lane.m}", settings.steps) for lane in lanes]

        self.posteriors = [
            encode(model, image, name, settings.flip) for image, name in zip(images, names, strict=True)
        ]
        self.fixed = {
            i: fixed_samples(model, posterior, runtime.seed, settings.evaluate_samples, self.prompt_rows)
            for i, posterior in enumerate(self.posteriors)
        }

        rates = learning_rates(model, settings.learning_rate)
        self.parameters = [
            (track, rates[key], vectors)
            for track in self.tracks
            for key, vectors in track.lane.vectors.items()
        ]
        self.optimizer = torch.optim.Adam(
            [{"params": [vectors], "lr": rate} for _, rate, vectors in self.parameters],
            fused=model.device.type != "mps",
        )
        samples = settings.batch_size * len(lanes)
        size = settings.micro_batch or first_micro_batch(model, self.fixed[0], samples, runtime.progress.say)
        self.batch = BatchSize(size, runtime.progress.say)

        self.step = 0
        self.unread: list[tuple[list[_Track], Tensor]] = []  # losses that the host has not waited for

    def run(self, checkpoint: Path | None, watch: Watch | None) -> list[Inversion]:
        """Learns until every lane has stopped."""
        with ExitStack() as stack:
            tasks = [stack.enter_context(self._task(track)) for track in self.tracks]
            meter = _Meter(tasks, self.tracks)
            if self.step == 0:
                self._evaluate(self.tracks)

            while active := [track for track in self.tracks if self.step < track.last]:
                self._learn(active)
                if self._due(self.settings.evaluate_every) or any(self.step == t.last for t in active):
                    self._check_progress(active)
                    meter.show()

                # Before the checkpoint: what is stopped while it draws makes this step again, and draws.
                if watch and self._due(self.settings.preview_every):
                    watch(self.step, self._vectors())

                stop = interrupts.pending()
                if checkpoint and (stop or self._due(self.settings.checkpoint_every)):
                    self.save(checkpoint)
                interrupts.check()

        empty = self._losses([empty_lane(self.templates, i) for i in self.fixed], self.fixed)
        return [self._inversion(i, loss) for i, loss in enumerate(empty.tolist())]

    def _task(self, track: _Track) -> AbstractContextManager[Task]:
        return self.runtime.progress.task(track.label, self.settings.steps, len(track.losses))

    def _due(self, every: int) -> bool:
        """Whether what is done every so many steps is done at this one; with 0 it never is."""
        return every > 0 and self.step % every == 0

    def _learn(self, active: list[_Track]) -> None:
        """One step of the lanes that go on. The host waits for nothing."""
        pictures = sorted({track.lane.image for track in active})
        samples = {i: self._step_samples(i) for i in pictures}
        losses = self._losses([track.lane for track in active], samples, learn=True)

        for group, (track, rate, _) in zip(self.optimizer.param_groups, self.parameters, strict=True):
            group["lr"] = rate * cooling(self.step, track.last, self.settings.cool_down)
        self.optimizer.step()
        self.optimizer.zero_grad()  # to None: Adam leaves lanes alone that have stopped

        self.step += 1
        self.unread.append((active, losses))

    def _step_samples(self, index: int) -> Samples:
        posterior, settings = self.posteriors[index], self.settings
        draws = step_draws(
            self.runtime.seed,
            posterior.key,
            self.step,
            size=settings.batch_size,
            noising=self.model.noising,
            templates=len(self.templates),
            latent_shape=self.model.latent_shape,
            views=len(posterior.mean),
            stratified=settings.stratified,
            antithetic=settings.antithetic,
        )
        return make_samples(self.model, posterior, draws, self.prompt_rows)

    def _losses(self, lanes: Sequence[Lane], samples: Mapping[int, Samples], learn: bool = False) -> Tensor:
        return self.batch.attempt(lambda size: lane_losses(self.model, lanes, samples, size, learn))

    def _check_progress(self, active: list[_Track]) -> None:
        """Reads what the device has done so far, and decides which lanes stop."""
        self._read()
        settings = self.settings
        undecided = [  # the others cool down already, or are about to
            track
            for track in active
            if settings.early_stop
            and self._due(settings.evaluate_every)
            and self.step + settings.cool_down < track.last
        ]
        self._evaluate([t for t in active if t in undecided or self.step == t.last])

        for track in undecided:
            track.reason = stop_reason(
                [loss for _, loss in track.evaluations],
                settings.early_stop_window,
                settings.early_stop_variance,
                settings.early_stop_floor,
            )
            if track.reason:
                track.last = self.step + settings.cool_down

    def _read(self) -> None:
        """Waits for the training losses and checks them.

        Raises:
            NonFiniteError: one is NaN or infinite.
        """
        if not self.unread:
            return
        values = torch.cat([losses for _, losses in self.unread]).tolist()
        tracks = list(chain.from_iterable(active for active, _ in self.unread))
        self.unread.clear()

        for track, value in zip(tracks, values, strict=True):
            track.losses.append(value)
            _require_finite(value, track, len(track.losses))

    def _evaluate(self, tracks: Sequence[_Track]) -> None:
        if not tracks:
            return
        losses = self._losses([track.lane for track in tracks], self.fixed).tolist()
        for track, loss in zip(tracks, losses, strict=True):
            track.evaluations.append((self.step, loss))
            _require_finite(loss, track, self.step)

    def _vectors(self) -> dict[str, dict[int, Vectors]]:
        """Copies of the current vectors by image and m."""
        result: dict[str, dict[int, Vectors]] = {posterior.name: {} for posterior in self.posteriors}
        for track in self.tracks:
            lane = track.lane
            result[self.posteriors[lane.image].name][lane.m] = _copy(lane.vectors)
        return result

    def _inversion(self, index: int, l_det_none: float) -> Inversion:
        own = {track.lane.m: track for track in self.tracks if track.lane.image == index}
        return Inversion(
            name=self.posteriors[index].name,
            vectors={m: _copy(track.lane.vectors) for m, track in own.items()},
            losses={m: track.losses for m, track in own.items()},
            evaluations={m: track.evaluations for m, track in own.items()},
            l_det={m: track.evaluations[-1][1] for m, track in own.items()},
            l_det_none=l_det_none,
            steps={m: len(track.losses) for m, track in own.items()},
            stop_reason={m: track.reason or BUDGET for m, track in own.items()},
        )

    def fingerprint(self) -> dict[str, Any]:
        """What the learned vectors depend on, apart from rounding."""
        settings = self.settings.model_dump(
            mode="json", exclude={"micro_batch", "checkpoint_every", "preview_every", "templates"}
        )
        return {
            **settings,
            "initialization": self.start,
            "templates": hash_value(self.templates),
            "model": self.model.weights_hash,
            "dtype": str(self.model.dtype),
            "device": self.model.device.type,
            "seed": self.runtime.seed,
            "pictures": {posterior.name: posterior.key for posterior in self.posteriors},
            "tokens": sorted({track.lane.m for track in self.tracks}),
        }

    def save(self, directory: Path) -> None:
        """Writes a checkpoint: vectors, Adam's moments and the course of each lane."""
        self._read()
        tensors = optimizer_tensors(self.optimizer)
        for i, track in enumerate(self.tracks):
            tensors |= {f"vectors.{i}.{key}": vectors for key, vectors in track.lane.vectors.items()}
            tensors[f"losses.{i}"] = torch.tensor(track.losses)  # fp32 they came in, fp32 they stay

        state = {
            "fingerprint": self.fingerprint(),
            "batch": self.batch.size,
            "lanes": [
                {"evaluations": track.evaluations, "reason": track.reason, "last": track.last}
                for track in self.tracks
            ],
        }
        save_checkpoint(directory, self.step, tensors, state)

    def restore(self, directory: Path) -> None:
        """Takes up the latest checkpoint, if there is one.

        Raises:
            UsageError: it is of another optimization; says what differs.
        """
        paths = checkpoints(directory)
        if not paths:
            return
        tensors, state = load_checkpoint(paths[-1])
        _require_equal(paths[-1], state["fingerprint"], self.fingerprint())

        with torch.no_grad():
            for i, (track, saved) in enumerate(zip(self.tracks, state["lanes"], strict=True)):
                for key, vectors in track.lane.vectors.items():
                    vectors.copy_(tensors[f"vectors.{i}.{key}"])
                track.losses = tensors[f"losses.{i}"].tolist()
                track.evaluations = [(step, loss) for step, loss in saved["evaluations"]]
                track.reason, track.last = saved["reason"], saved["last"]

        restore_optimizer(self.optimizer, tensors)
        self.step = state["step"]
        self.batch.size = min(self.batch.size, state["batch"])
        self.runtime.progress.say(f"going on from step {self.step}")


class _Meter:
    """Shows each lane's latest losses and the speed of all of them."""

    def __init__(self, tasks: Sequence[Task], tracks: Sequence[_Track]) -> None:
        self.rows = list(zip(tasks, tracks, strict=True))
        self.shown = [len(track.losses) for track in tracks]
        self.time = time.monotonic()

    def show(self) -> None:
        now = time.monotonic()
        for i, (task, track) in enumerate(self.rows):
            new = track.losses[self.shown[i] :]
            if not new:
                continue
            self.shown[i] = len(track.losses)

            fields: dict[str, float | str] = {
                "loss": sum(new) / len(new),
                "L_det": track.evaluations[-1][1],
                "steps/s": len(new) / max(now - self.time, 1e-9),
            }
            if len(track.losses) == track.last:
                fields["stopped"] = track.reason or BUDGET
            task.advance(len(new), **fields)
        self.time = now


def _copy(vectors: Vectors) -> dict[str, Tensor]:
    return {key: tensor.detach().cpu().clone() for key, tensor in vectors.items()}


def _require_finite(loss: float, track: _Track, step: int) -> None:
    if loss - loss != 0:  # NaN and infinities
        raise NonFiniteError(
            f"{track.label}: the loss became {loss} at step {step}",
            "try a lower learning rate, or --dtype fp32",
        )


def _require_equal(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    different = sorted(key for key in {*saved, *now} if saved.get(key) != now.get(key))
    if different:
        lines = "; ".join(f"{key} was {saved.get(key)}, is {now.get(key)}" for key in different)
        raise UsageError(
            f"{path}: saved by a run with other settings: {lines}", "use the same settings, or another --out"
        )
