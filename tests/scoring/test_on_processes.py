"""Scores by several processes are the bytes of scores by one, and when there are several."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from origcli.errors import UsageError
from origcli.images.inputs import Input, find_inputs
from origcli.perception.elements import ElementsDistance
from origcli.runtime.context import Runtime
from origcli.scoring import on_processes
from origcli.scoring.batches import Batch, make_batches
from origcli.scoring.on_processes import Layout, layout_of
from origcli.settings import Settings, resolve
from tests.scoring.runs import bytes_of, score
from tests.scoring.test_on_cluster import SMALL, queries

__all__ = ["queries"]
GIGABYTE = 10**9


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine of eight cores and much memory, and a model that takes a gigabyte."""
    facts = SimpleNamespace(cores=8, total=64 * GIGABYTE)
    peak = SimpleNamespace(bytes=lambda batch: batch * GIGABYTE // 100)
    monkeypatch.setattr(on_processes, "cores", lambda: facts.cores)
    monkeypatch.setattr(on_processes, "memory_facts", lambda: {"total": facts.total})
    monkeypatch.setattr(on_processes, "usable_bytes", lambda device: facts.total // 4)
    footprint = SimpleNamespace(weights=GIGABYTE, learning=peak)
    monkeypatch.setattr(on_processes, "count_footprint", lambda model: footprint)
    return facts


MODELS: Any = SimpleNamespace(model=SimpleNamespace(device="cpu"), metric=object.__new__(ElementsDistance))


def _batches(images: int) -> list[Batch]:
    return make_batches([Input(Path(f"{i}.png"), str(i), "") for i in range(images)], 1, "photo")


def _layout(
    images: int, models: Any = MODELS, device: str = "cpu", compiled: bool = False, **runtime: Any
) -> Layout:
    settings = resolve({"runtime": runtime}, presets=("fast",), environment={})[0]
    return layout_of(_batches(images), models, settings, Runtime(torch.device(device), compile=compiled))


@pytest.mark.parametrize(("images", "expected"), [(1, Layout()), (2, Layout(2, 4)), (3, Layout(3, 2))])
def test_each_image_has_a_process_while_there_are_cores(machine: Any, images: int, expected: Layout) -> None:
    assert _layout(images) == expected


def test_more_images_than_cores_have_a_process_a_core_with_one_thread(machine: Any) -> None:
    assert _layout(100) == Layout(8, 1)


def test_there_are_as_many_processes_as_fit_into_memory(machine: Any) -> None:
    machine.total = 10 * GIGABYTE  # a process takes 2.5
    assert _layout(100) == Layout(2, 4)
    machine.total = 5 * GIGABYTE
    assert _layout(100) == Layout()


def test_one_process_does_what_is_not_worth_the_start_of_others(machine: Any) -> None:
    settings = resolve(SMALL, environment={})[0]
    own = settings.runtime.model_copy(update={"threads": None})
    assert layout_of(_batches(4), MODELS, settings.model_copy(update={"runtime": own}), Runtime()) == Layout()


def test_what_the_user_asks_for_goes_before(machine: Any) -> None:
    assert _layout(100, workers=1) == Layout()
    assert _layout(100, threads=3) == Layout(1, 3)
    assert _layout(100, threads=3, workers=5) == Layout(5, 3)
    assert _layout(2, workers=5) == Layout(2, 4)


def test_one_process_works_with_a_metric_of_a_program_or_a_compiled_model(machine: Any) -> None:
    class Own:
        pass

    assert _layout(100, SimpleNamespace(model=MODELS.model, metric=Own())) == Layout()
    assert _layout(100, compiled=True) == Layout()


def test_a_gpu_is_no_reason_for_processes(machine: Any) -> None:
    assert _layout(100, device="cuda") == Layout()
    with pytest.raises(UsageError, match="cores of a CPU, not cuda"):
        _layout(100, device="cuda", workers=2)


def test_several_processes_give_the_bytes_of_one(
    tmp_path: Path, queries: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """With an image that cannot be read among them."""
    inputs = find_inputs(queries[:3])
    reports = []
    for workers in (1, 2):
        runtime = {**SMALL["runtime"], "workers": workers}
        settings: Settings = resolve({**SMALL, "runtime": runtime}, environment={})[0]
        heard: list[Any] = []
        out = tmp_path / f"by-{workers}"
        score(settings, out, inputs, heard.append)
        assert [getattr(one, "id", "failed") for one in heard] == ["0", "1", "failed"]
        embeddings = {path.name: path.read_bytes() for path in (out / "embeddings").iterdir()}
        reports.append((bytes_of(out), embeddings))
    assert reports[0] == reports[1] and len(reports[0][1]) == 2
    assert "Traceback" not in capfd.readouterr().err, "workers close what they opened before they end"
