"""Whole optimizations: joint and solo, stopping, resuming, faults."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from origcli.errors import DeviceError, Interrupted, NonFiniteError, UsageError
from origcli.inversion import denoising, optimization
from origcli.inversion.denoising import lane_losses
from origcli.inversion.draws import distinct_prompts
from origcli.inversion.optimization import Inversion, invert
from origcli.inversion.token_files import write_tokens
from origcli.models.checkpoints import checkpoints
from origcli.models.opening import open_model
from origcli.models.pipeline import DiffusionModel
from origcli.models.words import Vectors
from origcli.runtime import interrupts
from origcli.runtime.context import Runtime, open_runtime
from origcli.settings import RuntimeSettings
from tests.inversion.conftest import invert_settings


def own(inversion: Inversion, m: int) -> Tensor:
    """The vectors of the model's one encoder."""
    return next(iter(inversion.vectors[m].values()))


def equal(a: Inversion, b: Inversion) -> bool:
    """Whether two inversions are the same bit by bit."""
    vectors = all(torch.equal(own(a, m), own(b, m)) for m in a.vectors)
    return (
        vectors and a.losses == b.losses and a.evaluations == b.evaluations and a.l_det_none == b.l_det_none
    )


def test_joint_and_solo_runs_agree(model: DiffusionModel, pictures: list[Image.Image]) -> None:
    settings, runtime = invert_settings(), Runtime(seed=3)
    joint = invert(model, pictures[:2], ["a", "b"], [1, 2, 5], settings, runtime)
    for picture, name, together in zip(pictures, "ab", joint, strict=False):
        for m in (1, 5):
            alone = invert(model, [picture], ["other name"], [m], settings, runtime)[0]
            torch.testing.assert_close(own(alone, m), own(together, m), rtol=0, atol=1e-5)
            assert alone.losses[m] == pytest.approx(together.losses[m], rel=1e-5)
            assert together.name == name
            start = together.evaluations[m][0][1]
            assert (alone.l_det[m], start) == pytest.approx((together.l_det[m], alone.evaluations[m][0][1]))


def test_learning_lowers_the_loss_on_the_fixed_batch(
    model: DiffusionModel, pictures: list[Image.Image]
) -> None:
    result = invert(model, pictures[:1], ["a"], [1, 4], invert_settings(steps=30), Runtime())[0]
    for m in (1, 4):
        assert result.l_det[m] < result.evaluations[m][0][1]
        assert result.steps[m] == len(result.losses[m]) == 30 and result.stop_reason[m] == "budget"
        assert [step for step, _ in result.evaluations[m]] == [0, 30]
    assert result.l_det[4] < result.l_det_none


def test_a_start_that_is_already_good_stops_at_once(
    bert: DiffusionModel, pictures: list[Image.Image], tmp_path: Path
) -> None:
    learned = invert(bert, pictures[:1], ["a"], [2], invert_settings(steps=100), Runtime())[0]
    starts = {"good": own(learned, 2), "bad": torch.zeros_like(own(learned, 2))}

    def course(name: str) -> Inversion:
        start = tmp_path / f"{name}.safetensors"
        write_tokens(start, "<x>", {"": starts[name]})
        # An untrained UNet hardly heeds its text, so the floor lies as much lower.
        settings = invert_settings(
            steps=40, early_stop=True, early_stop_floor=3e-4, initialization=str(start)
        )
        return invert(bert, pictures[:1], ["a"], [2], settings, Runtime())[0]

    good, bad = course("good"), course("bad")
    # Evaluations at 0, 2, 4 and 6: as soon as the window of four is full.
    assert (good.stop_reason, good.steps) == ({2: "floor"}, {2: 6})
    assert bad.steps[2] > 6 and good.l_det[2] < bad.l_det[2]


def test_lanes_stop_one_by_one_and_then_stay_as_they_are(
    bert: DiffusionModel, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(course: list[float], *rule: float) -> str | None:
        return "variance" if course[0] == first and len(course) == 3 else None

    settings = invert_settings(steps=10, early_stop=True)
    free = invert(bert, pictures[:1], ["a"], [1, 2], invert_settings(steps=10), Runtime())[0]
    short = invert(bert, pictures[:1], ["a"], [1, 2], invert_settings(steps=4), Runtime())[0]
    first = free.evaluations[1][0][1]
    assert first != free.evaluations[2][0][1]
    monkeypatch.setattr(optimization, "stop_reason", stop)
    result = invert(bert, pictures[:1], ["a"], [1, 2], settings, Runtime())[0]
    assert result.steps == {1: 4, 2: 10} and result.stop_reason == {1: "variance", 2: "budget"}
    torch.testing.assert_close(own(result, 1), own(short, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(own(result, 2), own(free, 2), rtol=0, atol=1e-6)


def test_a_lane_that_is_to_stop_cools_down_first(
    bert: DiffusionModel, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(course: list[float], *rule: float) -> str | None:
        return "floor" if len(course) == 3 else None  # evaluations at 0, 2 and 4

    def course(**changes: Any) -> Inversion:
        settings = invert_settings(**{"early_stop": True, **changes})
        return invert(bert, pictures[:1], ["a"], [2], settings, Runtime())[0]

    start = course(steps=1, early_stop=False, learning_rate=1e-9).vectors[2]["bert"]
    steady = course(steps=7, early_stop=False)
    monkeypatch.setattr(optimization, "stop_reason", stop)
    cooled = course(steps=20, cool_down=3)
    assert (cooled.steps, cooled.stop_reason) == ({2: 7}, {2: "floor"})
    assert [step for step, _ in cooled.evaluations[2]] == [0, 2, 4, 7]
    # The rates of its last three steps are whole, two thirds and a third.
    assert cooled.losses[2][:6] == steady.losses[2][:6]
    assert (own(cooled, 2) - start).norm() < (own(steady, 2) - start).norm()
    # One whose budget is about to end cools down for that alone.
    late = course(steps=6, cool_down=3)
    assert (late.steps, late.stop_reason) == ({2: 6}, {2: "budget"})


@pytest.mark.parametrize("early_stop", [False, True])
def test_a_stopped_and_resumed_run_is_equal_bit_by_bit(
    model: DiffusionModel,
    pictures: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    early_stop: bool,
) -> None:
    settings = invert_settings(
        steps=9, cool_down=3, early_stop=early_stop, early_stop_variance=1e-9, early_stop_floor=0
    )
    names = ["a", "b"]
    whole = invert(model, pictures[:2], names, [1, 3], settings, Runtime())
    steps = 0

    def pending() -> bool:
        nonlocal steps
        steps += 1
        return steps == 5

    def check() -> None:
        if steps == 5:
            raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(interrupts, "pending", pending)
        patch.setattr(interrupts, "check", check)
        with pytest.raises(Interrupted):
            invert(model, pictures[:2], names, [1, 3], settings, Runtime(), checkpoint=tmp_path / "c")
    assert checkpoints(tmp_path / "c")[-1].name == "step-00000005"
    resumed = invert(model, pictures[:2], names, [1, 3], settings, Runtime(), checkpoint=tmp_path / "c")
    assert all(equal(a, b) for a, b in zip(whole, resumed, strict=True))
    sizes = [path.stat().st_size for path in (tmp_path / "c").rglob("*") if path.is_file()]
    assert sum(sizes) < 50_000


def test_resuming_another_optimization_is_refused(
    bert: DiffusionModel, pictures: list[Image.Image], tmp_path: Path
) -> None:
    place = tmp_path / "c"
    invert(bert, pictures[:1], ["a"], [1], invert_settings(), Runtime(), checkpoint=place)
    with pytest.raises(UsageError, match=r"learning_rate was 0\.005, is 0\.001"):
        invert(
            bert, pictures[:1], ["a"], [1], invert_settings(learning_rate=1e-3), Runtime(), checkpoint=place
        )
    with pytest.raises(UsageError, match="pictures was"):
        invert(bert, pictures[1:2], ["a"], [1], invert_settings(), Runtime(), checkpoint=place)
    with pytest.raises(UsageError, match="seed was 0, is 1"):
        invert(bert, pictures[:1], ["a"], [1], invert_settings(), Runtime(seed=1), checkpoint=place)


KILLED = """
import sys
from pathlib import Path
from PIL import Image
from origcli.inversion.optimization import invert
from origcli.models.pipeline import load_pipeline
from origcli.runtime.context import Runtime
from tests.inversion.conftest import invert_settings

source, picture, place = map(Path, sys.argv[1:4])
model, settings = load_pipeline(source, Runtime()), invert_settings(steps=20, checkpoint_every=1)
invert(model, [Image.open(picture)], ["a"], [1, 3], settings, Runtime(), checkpoint=place)
"""


@pytest.mark.fault(10, "an inversion goes on from its last whole checkpoint")
def test_sigkill_leaves_a_whole_checkpoint_to_go_on_from(
    bert: DiffusionModel, pictures: list[Image.Image], tmp_path: Path
) -> None:
    pictures[0].save(tmp_path / "a.png")
    place = tmp_path / "c"
    run = subprocess.Popen([sys.executable, "-c", KILLED, bert.source, tmp_path / "a.png", place])
    while not (place / "step-00000002").exists() and run.poll() is None:
        time.sleep(0.001)
    assert run.poll() is None, "ended before it could be killed"
    run.kill()
    run.wait()
    left = checkpoints(place)
    assert left and left[-1].name < "step-00000020"
    settings = invert_settings(steps=20, checkpoint_every=1)
    resumed = invert(bert, pictures[:1], ["a"], [1, 3], settings, Runtime(), checkpoint=place)
    assert equal(resumed[0], invert(bert, pictures[:1], ["a"], [1, 3], settings, Runtime())[0])


@pytest.mark.fault(13, "an inversion stops and names its step")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_and_names_the_step(
    bert: DiffusionModel,
    pictures: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bad: float,
) -> None:
    plain, calls = lane_losses, 0

    def poisoned(*args: Any) -> Tensor:
        nonlocal calls
        losses = plain(*args)
        calls += args[-1] is True
        if calls == 3 and args[-1]:
            losses[1] = bad
        return losses

    monkeypatch.setattr(optimization, "lane_losses", poisoned)
    with pytest.raises(NonFiniteError, match=f"cat m=2: the loss became {bad} at step 3"):
        invert(bert, pictures[:1], ["cat"], [1, 2], invert_settings(), Runtime(), checkpoint=tmp_path)
    # The last checkpoint is from before the damage.
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002"]


def test_a_learning_rate_that_explodes_is_noticed(bert: DiffusionModel, pictures: list[Image.Image]) -> None:
    with pytest.raises(NonFiniteError, match="a m=1"):
        invert(bert, pictures[:1], ["a"], [1], invert_settings(learning_rate=1e38, steps=20), Runtime())


def test_what_cannot_be_learned_is_refused_before_any_step(
    bert: DiffusionModel, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("a step was made")

    monkeypatch.setattr(optimization, "lane_losses", never)
    two = pictures[:2]
    with pytest.raises(UsageError, match="would share the placeholder"):
        invert(bert, two, ["A b", "a-b"], [1], invert_settings(), Runtime())
    with pytest.raises(UsageError, match="longer than the text encoder"):
        invert(bert, two, ["a", "b"], [1, 20], invert_settings(), Runtime())
    for counts in ([], [0, 1], [-1]):
        with pytest.raises(UsageError, match="token counts"):
            invert(bert, two, ["a", "b"], counts, invert_settings(), Runtime())
    with pytest.raises(UsageError, match="not words"):
        invert(bert, two, ["a", "b"], [1], invert_settings(initialization="日本"), Runtime())


def test_watch_sees_the_vectors_of_its_step(bert: DiffusionModel, pictures: list[Image.Image]) -> None:
    seen: dict[int, Mapping[str, Mapping[int, Vectors]]] = {}
    settings = invert_settings(steps=6, preview_every=3)
    result = invert(bert, pictures[:1], ["a"], [2], settings, Runtime(), watch=seen.__setitem__)[0]
    assert list(seen) == [3, 6]
    assert torch.equal(seen[6]["a"][2]["bert"], own(result, 2))
    assert not torch.equal(seen[3]["a"][2]["bert"], seen[6]["a"][2]["bert"])


def test_a_stop_while_watching_loses_nothing_of_that_step(
    bert: DiffusionModel, pictures: list[Image.Image], tmp_path: Path
) -> None:
    settings = invert_settings(steps=6, preview_every=2, checkpoint_every=2)
    whole: dict[int, Mapping[str, Mapping[int, Vectors]]] = {}
    invert(bert, pictures[:1], ["a"], [2], settings, Runtime(), watch=whole.__setitem__)
    seen: dict[int, Mapping[str, Mapping[int, Vectors]]] = {}

    def stopped(step: int, vectors: Mapping[str, Mapping[int, Vectors]]) -> None:
        if step == 4:
            raise Interrupted(signal.SIGTERM)
        seen[step] = vectors

    place = tmp_path / "c"
    with pytest.raises(Interrupted):
        invert(bert, pictures[:1], ["a"], [2], settings, Runtime(), checkpoint=place, watch=stopped)
    invert(bert, pictures[:1], ["a"], [2], settings, Runtime(), checkpoint=place, watch=seen.__setitem__)
    assert list(seen) == list(whole) == [2, 4, 6]
    assert all(torch.equal(seen[step]["a"][2]["bert"], whole[step]["a"][2]["bert"]) for step in whole)


class Oom:
    """A UNet that has room for some samples and no more."""

    def __init__(self, unet: torch.nn.Module, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []
        self.handle = unet.register_forward_pre_hook(self.check)

    def check(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(len(inputs[0]))


@pytest.mark.fault(14, "an inversion halves its batch; the result stays")
def test_memory_that_runs_out_halves_the_batch_and_changes_no_result(
    bert: DiffusionModel, pictures: list[Image.Image]
) -> None:
    settings = invert_settings(micro_batch=16, steps=2)
    plain = invert(bert, pictures[:1], ["a"], [1, 3], settings, Runtime())[0]
    tight = Oom(bert.denoiser, 3)
    try:
        backed_off = invert(bert, pictures[:1], ["a"], [1, 3], settings, Runtime())[0]
    finally:
        tight.handle.remove()
    assert set(tight.sizes) <= {1, 2} and 2 in tight.sizes
    for m in (1, 3):
        torch.testing.assert_close(own(backed_off, m), own(plain, m), rtol=0, atol=1e-6)
    none = Oom(bert.denoiser, 0)
    try:
        with pytest.raises(DeviceError, match="one sample at a time"):
            invert(bert, pictures[:1], ["a"], [1], settings, Runtime())
    finally:
        none.handle.remove()


class Host:
    """What reads numbers that never were on a device."""

    def __init__(self, function: Callable[..., Any], syncs: "Syncs") -> None:
        self.function, self.syncs = function, syncs

    def __call__(self, *args: Any) -> Any:
        before = self.syncs.count
        result = self.function(*args)
        self.syncs.count = before
        return result


class Syncs(TorchDispatchMode):
    """Counts what makes the host wait for a device: operations, and the methods that are none on a CPU."""

    methods = ("tolist", "cpu", "numpy", "item", "nonzero", "__array__")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        for name in self.methods:
            self.patch.setattr(Tensor, name, self.counted(getattr(Tensor, name)))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self.patch.undo()
        super().__exit__(*error)

    def counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return method(tensor, *args, **kwargs)

        return call

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


def test_steps_between_two_looks_read_nothing_back(
    model: DiffusionModel, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = invert_settings(evaluate_every=50)

    def reads(steps: int) -> int:
        given = settings.model_copy(update={"steps": steps})
        with Syncs() as syncs, monkeypatch.context() as patch:
            patch.setattr(denoising, "distinct_prompts", Host(distinct_prompts, syncs))
            invert(model, pictures[:1], ["a"], [1, 3], given, Runtime())
        return syncs.count

    assert reads(8) == reads(2) > 0

    plain = optimization._Optimization._learn

    def reading(self: Any, active: Any) -> None:
        plain(self, active)
        self._read()

    monkeypatch.setattr(optimization._Optimization, "_learn", reading)
    assert reads(8) > reads(2), "a read in every step is not seen"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.filterwarnings("error:.*deterministic")
def test_a_card_learns_the_same_bytes_again(dtype: str) -> None:
    picture = Image.new("RGB", (64, 64), "red")
    found = []
    for _ in range(2):
        settings = RuntimeSettings.model_validate({"device": "cuda", "dtype": dtype})
        with open_runtime(settings) as runtime:
            _, shapes = open_model("shapes", runtime)
            found += invert(
                shapes, [picture], ["red"], [1, 3], invert_settings(steps=20, batch_size=20), runtime
            )
    assert equal(*found)
