"""Many pictures: files, report, failures, resuming."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from origcli.errors import Interrupted, NonFiniteError, UsageError
from origcli.images.inputs import Input
from origcli.inversion import optimization, sweep
from origcli.inversion.optimization import Inversion
from origcli.inversion.token_files import read_tokens, write_tokens
from origcli.reports.schema import InvertReport
from origcli.reports.writers import read_report
from origcli.runtime import interrupts
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.run_directory import RunDirectory
from origcli.settings import DrawSettings, ScoreSettings, Settings, resolve
from tests.chaos.processes import contents
from tests.inversion.conftest import invert_settings


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture
def inputs(tmp_path: Path) -> list[Input]:
    """Three pictures, the second of which is no picture."""
    source = np.random.default_rng(1)
    for i in range(3):
        array = source.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / f"p{i}.png")
    (tmp_path / "p1.png").write_bytes(b"not a picture")
    return [Input(tmp_path / f"p{i}.png", f"p{i}") for i in range(3)]


def settings_for(model: Path, together: int = 1, **invert: Any) -> Settings:
    base = resolve(environment={})[0]
    score: ScoreSettings = base.score.model_copy(update={"model": str(model), "together": together})
    draw: DrawSettings = base.draw.model_copy(update={"steps": 1})
    return base.model_copy(
        update={"invert": invert_settings(steps=4, **invert), "score": score, "draw": draw}
    )


def run(
    directory: Path, inputs: Sequence[Input], settings: Settings, seen: list[Any] | None = None
) -> InvertReport:
    heard = [] if seen is None else seen
    with RunDirectory(directory) as owned:
        sweep.run(inputs, [1, 3], settings, Runtime(directory=owned), heard.append)
    return read_report(directory, "invert")  # type: ignore[return-value]


@pytest.mark.parametrize("together", [1, 3])
def test_one_bad_picture_costs_the_others_nothing(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, inputs: list[Input], together: int
) -> None:
    seen: list[Any] = []
    settings = settings_for(tiny_bert_pipeline_dir, together, preview_every=4)
    report = run(tmp_path / "run", inputs, settings, seen)
    assert report.status == "partial" and [failure.code for failure in report.errors] == ["input"]
    assert [result.id for result in report.results] == ["p0", "p2"] and len(seen) == 3
    for result in report.results:
        assert [tokens.m for tokens in result.tokens] == [1, 3]
        for tokens in result.tokens:
            token, vectors = read_tokens(tmp_path / "run" / tokens.file)
            assert token == tokens.placeholder == f"<origcli-{result.id}-m{tokens.m}>"
            assert len(vectors[""]) == tokens.m
            assert [point.step for point in tokens.history] == [0, 2, 4]
            assert set(tokens.history[-1].values) == {"loss", "l_det"}
            assert tokens.l_det.value == tokens.history[-1].values["l_det"]
        assert [Path(name).name for name in result.pictures] == [f"{result.id}-step-000004.png"]
        assert Image.open(tmp_path / "run" / result.pictures[0]).width > 3 * 64
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_history_has_every_step(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, inputs: list[Input]
) -> None:
    run(tmp_path / "run", inputs[:1], settings_for(tiny_bert_pipeline_dir))
    with (tmp_path / "run" / "history" / "p0.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["m"], row["step"]) for row in rows] == [(m, str(s)) for m in "13" for s in range(5)]
    assert all(bool(row["loss"]) == (row["step"] != "0") for row in rows)
    assert [row["step"] for row in rows if row["l_det"]] == ["0", "4", "0", "4"]


def test_history_points_are_means_between_evaluations() -> None:
    inversion = Inversion(
        name="a",
        vectors={},
        losses={1: [1.0, 2.0, 3.0, 4.0, 5.0]},
        evaluations={1: [(0, 9.0), (5, 7.0)]},
        l_det={},
        l_det_none=0.0,
        steps={},
        stop_reason={},
    )
    points = {point.step: point.values for point in sweep.history_points(inversion, 1, 2)}
    assert points == {0: {"l_det": 9.0}, 2: {"loss": 1.5}, 4: {"loss": 3.5}, 5: {"loss": 5.0, "l_det": 7.0}}


def test_an_interrupted_run_goes_on_and_ends_the_same(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, inputs: list[Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [inputs[0], inputs[2]]
    settings = settings_for(tiny_bert_pipeline_dir)
    run(tmp_path / "whole", inputs, settings)
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 7:  # in the middle of the second picture, one step after a checkpoint
            raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(interrupts, "check", check)
        with pytest.raises(Interrupted):
            run(tmp_path / "broken", inputs, settings)
    assert not (tmp_path / "broken" / "report.json").exists()
    seen: list[Any] = []
    run(tmp_path / "broken", inputs, settings, seen)
    assert len(seen) == 2
    for name in (
        "report.json",
        "report.csv",
        "history/p0.csv",
        "history/p2.csv",
        "embeddings/p2-m3.safetensors",
    ):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("moment", ["between two results", "before the checkpoint goes"])
def test_a_group_that_is_broken_off_is_learned_as_a_group(
    tmp_path: Path,
    tiny_bert_pipeline_dir: Path,
    inputs: list[Input],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    Image.effect_noise((64, 64), 90).convert("RGB").save(inputs[1].path)
    settings = settings_for(tiny_bert_pipeline_dir, together=3)
    run(tmp_path / "whole", inputs, settings)
    broken, plain_write, plain_remove = tmp_path / "broken", sweep._write, shutil.rmtree

    def write(picture: sweep.SourceImage, *rest: Any) -> Any:
        if picture.source.name == "p1":
            raise Killed
        return plain_write(picture, *rest)

    def remove(path: Path, **options: Any) -> None:
        if Path(path).parent.name == "checkpoints":
            raise Killed
        plain_remove(path, **options)

    with monkeypatch.context() as patch:
        if moment == "between two results":
            patch.setattr(sweep, "_write", write)
        else:
            patch.setattr(shutil, "rmtree", remove)
        with pytest.raises(Killed):
            run(broken, inputs, settings)
    assert (broken / "checkpoints").is_dir()
    run(broken, inputs, settings)
    assert contents(broken) == contents(tmp_path / "whole")


def test_a_directory_of_another_run_is_refused(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, inputs: list[Input]
) -> None:
    run(tmp_path / "run", inputs[:1], settings_for(tiny_bert_pipeline_dir))
    with pytest.raises(UsageError, match=r"invert\.batch_size was 4, is 5"):
        run(tmp_path / "run", inputs[:1], settings_for(tiny_bert_pipeline_dir, batch_size=5))
    with pytest.raises(UsageError, match="'p0' was among them"):
        run(tmp_path / "run", inputs[2:], settings_for(tiny_bert_pipeline_dir))


@pytest.mark.fault(12, "invert refuses another precision, another model and another start")
def test_another_precision_model_or_start_is_refused(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, inputs: list[Input]
) -> None:
    model, start = shutil.copytree(tiny_bert_pipeline_dir, tmp_path / "model"), tmp_path / "start.safetensors"
    write_tokens(start, "<x>", {"": torch.ones(1, 16)})
    settings = settings_for(model, initialization=str(start))
    run(tmp_path / "run", inputs[:1], settings)
    with RunDirectory(tmp_path / "run") as owned:
        half = Runtime(directory=owned, dtype=torch.bfloat16)
        with pytest.raises(UsageError, match="dtype was 'float32', is 'bfloat16'"):
            sweep.run(inputs[:1], [1, 3], settings, half)
    write_tokens(start, "<x>", {"": torch.zeros(1, 16)})
    with pytest.raises(UsageError, match="start was"):
        run(tmp_path / "run", inputs[:1], settings)
    write_tokens(start, "<x>", {"": torch.ones(1, 16)})
    weights = next((model / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UsageError, match="model was"):
        run(tmp_path / "run", inputs[:1], settings)


def test_a_refused_run_leaves_nothing_in_the_way(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, inputs: list[Input]
) -> None:
    def attempt(counts: list[int], **changes: Any) -> InvertReport:
        settings = settings_for(tiny_bert_pipeline_dir, **changes)
        with open_runtime(settings.runtime, tmp_path / "run", existing="refuse") as runtime:
            return sweep.run(inputs[:1], counts, settings, runtime)

    for counts, changes, words in (
        ([1, 30], {}, "longer than the text encoder"),
        ([1], {"initialization": "日本"}, "not words"),
    ):
        with pytest.raises(UsageError, match=words):
            attempt(counts, **changes)
        assert not (tmp_path / "run").exists()
    assert attempt([1]).status == "complete"


def test_a_picture_that_breaks_down_is_told_and_the_others_are_learned(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, inputs: list[Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = optimization.invert

    def poisoned(model: Any, images: Any, names: list[str], *rest: Any, **more: Any) -> Any:
        if "p0" in names:
            raise NonFiniteError("p0 m=1: the loss became nan at step 3")
        return plain(model, images, names, *rest, **more)

    monkeypatch.setattr(sweep, "invert", poisoned)
    two = [inputs[0], inputs[2]]
    report = run(tmp_path / "run", two, settings_for(tiny_bert_pipeline_dir, together=2))
    assert [result.id for result in report.results] == ["p2"]
    assert [(failure.code, failure.message.split()[0]) for failure in report.errors] == [("non-finite", "p0")]


def test_clashes_are_found_before_any_picture_is_learned(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, inputs: list[Input]
) -> None:
    same = [inputs[0], replace(inputs[2], name="P0")]
    with pytest.raises(UsageError, match="share the placeholder"):
        run(tmp_path / "run", same, settings_for(tiny_bert_pipeline_dir))
    assert not (tmp_path / "run" / "embeddings").exists()


@pytest.mark.fault(65, "invert resumes over moved images, and names one that was exchanged")
def test_images_are_known_by_their_content(
    tmp_path: Path, tiny_bert_pipeline_dir: Path, inputs: list[Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, images = settings_for(tiny_bert_pipeline_dir), [inputs[0], inputs[2]]
    run(tmp_path / "run", images, settings)
    (tmp_path / "there").mkdir()
    there = [Input(Path(shutil.copy(one.path, tmp_path / "there")), one.name) for one in images]
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "invert", lambda *_, **__: pytest.fail("learned again"))
        report = run(tmp_path / "run", there, settings)
    assert [result.image.path for result in report.results] == [str(one.path) for one in there]
    shutil.copy(images[1].path, there[0].path)
    with pytest.raises(UsageError, match=r"p0\.png: not the image that this run measured as 'p0'"):
        run(tmp_path / "run", there, settings)
