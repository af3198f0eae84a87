"""The figures of docs/scale.md are those that its benchmark counts."""

from pathlib import Path

import pytest

from benchmarks.cost_model import own_budgets, petaflops
from benchmarks.families import row as memory_row
from origcli.inversion.cost import count_flops, decoding_flops
from origcli.models.pipeline import DiffusionModel
from origcli.scoring.advice import own_flops
from origcli.settings import resolve
from tests.stable_diffusion import stable_diffusion_without_weights

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
RATE = 989 * 0.4  # TFLOP/s


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return stable_diffusion_without_weights()


def test_operations_of_a_sample(model: DiffusionModel) -> None:
    flops, page = count_flops(model), PAGE.read_text("utf-8")
    for part, count in (
        ("VAE encoder", flops.vae),
        ("UNet, forward", flops.unet),
        ("UNet, back to the text states", flops.unet_backward),
        ("VAE decoder", decoding_flops(model)),
    ):
        assert f"| {part} | {count / 1e12:.2f} |" in page
    assert f"| {flops.text / 1e12:.3f} / {flops.text_backward / 1e12:.3f} |" in page


def test_operations_and_hours_of_an_image(model: DiffusionModel) -> None:
    cells = [line.strip("| \n").split(" | ") for line in PAGE.open(encoding="utf-8")]
    rows: dict[str, list[str]] = {}
    for row in cells:
        rows.setdefault(row[0].split(",")[0], row[1:])  # of the first table that has it
    for column, presets in enumerate([("paper",), ("paper", "fast")]):
        stages = petaflops(model, resolve({}, presets=presets, environment={})[0])
        whole = sum(stages.values())
        assert f" {stages['learn']:.1f} PFLOP" in rows["learning"][column]
        assert rows["sampling"][column] == f"{stages['draw']:.1f} PFLOP"
        assert rows["decoding"][column] == f"{stages['decode']:.2f} PFLOP"
        assert rows["all"][column].startswith(
            f"{whole:.0f} PFLOP, {100 * stages['learn'] / whole:.0f} % of it"
        )
        seconds = whole * 1e3 / RATE
        assert f"({seconds:.0f} s)" in rows["hours on one GPU"][column]
        hours = rows["10⁶"][2 * column].replace(",", "")
        assert float(hours) == pytest.approx(1e6 * seconds / 3600, rel=0.005)


def test_operations_of_a_self_calibration(model: DiffusionModel) -> None:
    rows = [line for line in PAGE.open(encoding="utf-8") if line.startswith("|")]
    for column, presets in enumerate([("paper",), ("paper", "fast")]):
        settings = resolve({}, presets=presets, environment={})[0]
        for kind, budget in own_budgets(settings).items():
            size = f"{budget.captions} captions × {budget.samples} samples, {budget.controls} controls"
            (row,) = (line for line in rows if size in line)
            counted = own_flops(model, settings, budget) / 1e15
            minutes = counted * 1e3 / RATE / 60
            cell = f"{counted:.1f} PFLOP ({minutes:.1f} minutes)"
            assert row.split("|")[2 + column].strip() == cell, kind


def test_the_memory_of_another_family() -> None:
    """The smallest: the others take minutes."""
    assert memory_row("pixart-sigma") in PAGE.read_text("utf-8")
