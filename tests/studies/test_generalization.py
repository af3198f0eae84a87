"""The generalization study from end to end, on toys: stages that resume, failures that stay alone."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from origcli.detection.detector import Detection
from origcli.errors import Interrupted, ModelError, NonFiniteError, StorageError, UsageError
from origcli.models.unet import build_unet
from origcli.reports.schema import Failure, GeneralizeReport, Status
from origcli.reports.writers import read_report
from origcli.runtime.progress import SilentProgress
from origcli.scenes.elements import ALL_ELEMENTS, Element
from origcli.scenes.mixtures import Recipe
from origcli.scenes.png import encode_png
from origcli.scenes.writing import write_dataset
from origcli.settings import resolve
from origcli.studies.generalization import on_cluster, stages
from origcli.studies.generalization.plan import model_facts, picture_count, planned, vae_settings
from origcli.studies.generalization.run import count, run_generalization
from origcli.training import unet, vae
from tests.detection.tiny import write_tiny_detector
from tests.studies.toys import toy_runtime, toy_settings

FIRST, SECOND = "04-01-no-big-red-full-circle", "04-02-no-big-blue-empty-square"


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORIGCLI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, detector: Path) -> Path:
    """The directory of a finished study. Do not write into it."""
    directory = tmp_path_factory.mktemp("study") / "run"
    run_generalization(toy_settings(detector), toy_runtime(directory))
    return directory


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that compute, as they are called."""
    made: list[str] = []

    def watch(owner: Any, name: str, label: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def called(*arguments: Any, **options: Any) -> Any:
            made.append(label)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, called)

    watch(stages, "write_dataset", "data")
    watch(vae, "run", "vae")
    watch(unet, "run", "unet")
    watch(stages, "draw_prompts", "draw")
    return made


def report_of_bytes(data: bytes) -> GeneralizeReport:
    return GeneralizeReport.model_validate_json(data)


def report_of(directory: Path) -> GeneralizeReport:
    report = read_report(directory, "generalize")
    assert isinstance(report, GeneralizeReport)
    return report


def test_a_study_leaves_its_report_figures_and_models(finished: Path) -> None:
    report = report_of(finished)
    assert report.status is Status.complete and not report.errors
    assert [(one.experiment, one.condition) for one in report.results] == [
        (name, condition) for name in (FIRST, SECOND) for condition in ("empty", "prompted")
    ]
    for one in report.results:
        assert one.images == 10 and one.detections >= one.held_out_detections
        assert one.frequency.value == one.held_out_detections / one.detections
        assert one.lift.value == pytest.approx(4 * one.frequency.value)
        assert one.sheet is not None and (finished / one.sheet).is_file()
        assert len(one.spanning) == 3 and one.held_out not in one.spanning
        assert one.prompt == ("" if one.condition == "empty" else one.held_out)
    assert report.summary is not None
    assert [(one.level, one.condition, one.experiments) for one in report.summary.levels] == [
        (4, "empty", 2),
        (4, "prompted", 2),
    ]
    assert all((finished / name).stat().st_size for name in report.figures)
    assert {"figures/frequency.png", "figures/held-out.png", "figures/samples.png"} <= set(report.figures)
    for name in (FIRST, SECOND):
        directory = finished / "experiments" / name
        assert (directory / "unet" / "pipeline" / "model_index.json").is_file()
        assert not (directory / "data").exists()
        assert len(list((directory / "drawings" / "prompted").glob("*.png"))) == 10
        assert set(json.loads((directory / "times.json").read_text())) == {
            "data",
            "vae",
            "unet",
            "drawings",
            "detections",
        }


def test_no_model_saw_its_held_out_element(finished: Path) -> None:
    for name in (FIRST, SECOND):
        directory = finished / "experiments" / name
        plan = json.loads((directory / "plan.json").read_text())
        assert plan["held_out"] not in plan["trained_on"]
        trained = read_report(directory / "unet", "train-unet")
        assert trained.results[0].dataset_hash == read_report(directory / "vae").results[0].dataset_hash


def test_the_data_do_not_show_the_held_out_element(tmp_path: Path, detector: Path) -> None:
    settings, runtime = toy_settings(detector), toy_runtime(tmp_path)
    experiment = planned(settings)[0]
    bench = stages.Bench(experiment, settings, runtime, tmp_path)
    data = write_dataset(Recipe(bench.synth.model_copy(update={"count": 300}), bench.seed), tmp_path / "data")
    shown = {item["element"] for record in data.read_records() for item in record["elements"]}
    assert shown == {element.phrase for element in experiment.trained_on}


def test_the_conditions_differ_in_nothing_but_the_prompt(
    copy: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seeds in both, and the same picture where the prompts are the same, too."""
    shutil.rmtree(copy / "experiments" / FIRST / "drawings")
    monkeypatch.setattr(stages.Bench, "prompt", lambda bench, condition: "")
    run_generalization(toy_settings(detector), toy_runtime(copy), only=[FIRST])
    folder = copy / "experiments" / FIRST / "drawings"
    for number in range(10):
        empty, prompted = (
            np.asarray(Image.open(folder / condition / f"{number:05d}.png"), int)
            for condition in ("empty", "prompted")
        )
        assert np.abs(empty - prompted).max() <= 1  # one is guided by itself


def test_csv_has_a_row_for_each_experiment_and_condition_and_the_averages(finished: Path) -> None:
    lines = (finished / "report.csv").read_text().splitlines()
    assert len(lines) == 1 + 4 + 2
    assert lines[-1].startswith("mean of 2,4,,prompted,")


def test_what_is_done_is_not_done_again(copy: Path, detector: Path, calls: list[str]) -> None:
    before = (copy / "report.json").read_bytes()
    run_generalization(toy_settings(detector), toy_runtime(copy))
    assert calls == []
    assert (copy / "report.json").read_bytes() == before


def test_the_time_left_is_not_told_from_what_was_finished_before(copy: Path, detector: Path) -> None:
    class Watched(SilentProgress):
        opened: tuple[int | None, int] = (None, 0)
        advanced = 0

        @contextmanager
        def task(self, description: str, total: int | None, start: int = 0, phases: int = 0) -> Iterator[Any]:
            if description != "experiments":
                with super().task(description, total, start, phases) as other:
                    yield other
                return
            self.opened = (total, start)
            yield self

        def advance(self, steps: int = 1, **fields: float | str) -> None:
            self.advanced += steps

    watched = Watched()
    (copy / "experiments" / FIRST / "detections.json").unlink()
    run_generalization(toy_settings(detector), replace(toy_runtime(copy), progress=watched))
    assert watched.opened == (2, 1)
    assert watched.advanced == 1


def test_what_a_kill_left_of_a_trained_model_is_cleaned_up(copy: Path, detector: Path) -> None:
    left = copy / "experiments" / FIRST / "data"
    left.mkdir()
    run_generalization(toy_settings(detector), toy_runtime(copy))
    assert not left.exists()


def test_a_worker_that_is_stopped_is_no_failed_experiment(
    finished: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> Any:
        raise Interrupted(15)

    settings = toy_settings(detector)
    work = on_cluster.open_worker(settings, finished)
    monkeypatch.setattr(on_cluster, "run_experiment", stop)
    with pytest.raises(Interrupted):
        work(planned(settings)[0])


def test_more_pictures_and_experiments_go_on_with_what_is_there(
    copy: Path, detector: Path, calls: list[str]
) -> None:
    kept = (copy / "experiments" / FIRST / "drawings" / "empty" / "00003.png").read_bytes()
    settings = toy_settings(detector, samples=18, repeats=1)
    report = run_generalization(settings, toy_runtime(copy))
    assert calls == ["draw", "draw", "draw", "draw"]  # pictures 8 to 15 and 16 to 17 of each condition
    assert {one.images for one in report.results} == {18}
    assert (copy / "experiments" / FIRST / "drawings" / "empty" / "00003.png").read_bytes() == kept


def test_a_stopped_study_goes_on_and_comes_to_the_same_bytes(
    finished: Path, tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    """Stopped after the VAE, then after some drawings."""
    settings, runtime = toy_settings(detector, repeats=1), toy_runtime(tmp_path)

    def stop(*arguments: Any, **options: Any) -> Any:
        raise Interrupted(15)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(unet, "run", stop)
        run_generalization(settings, runtime)
    assert calls == ["data", "vae"]
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        written = iter(range(5))
        encode = encode_png
        patch.setattr(stages, "encode_png", lambda picture: stop() if next(written) == 4 else encode(picture))
        run_generalization(settings, runtime)
    drawn = len(list((tmp_path / "experiments" / FIRST / "drawings" / "empty").glob("*.png")))
    assert drawn == 4
    run_generalization(settings, runtime)
    assert calls.count("vae") == 1 and calls.count("unet") == 1
    for name in ("detections.json", "drawings/prompted/00009.png", "prompted.png"):
        ours, unbroken = (root / "experiments" / FIRST / name for root in (tmp_path, finished))
        if name == "detections.json":
            assert json.loads(ours.read_text())["prompted"] == json.loads(unbroken.read_text())["prompted"]
        else:
            assert ours.read_bytes() == unbroken.read_bytes()


def test_a_failed_experiment_does_not_stop_the_others(
    copy: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copy / "experiments" / FIRST / "unet")
    shutil.rmtree(copy / "experiments" / FIRST / "vae")

    def fail(*arguments: Any, **options: Any) -> Any:
        raise NonFiniteError("train-vae: the loss of step 3 is nan")

    monkeypatch.setattr(vae, "run", fail)
    report = run_generalization(toy_settings(detector), toy_runtime(copy))
    assert report.status is Status.partial
    assert [(one.path, one.code) for one in report.errors] == [(FIRST, "non-finite")]
    assert {one.experiment for one in report.results} == {SECOND}
    assert (
        f"{FIRST},,,,,,,,,,,,,,,,,non-finite: train-vae: the loss of step 3 is nan"
        in (copy / "report.csv").read_text()
    )


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"key": 1}'])
def test_damaged_notes_are_made_again(copy: Path, detector: Path, calls: list[str], content: bytes) -> None:
    """Those of what was detected and how long it took; the drawings stay."""
    before = report_of(copy)
    for name in ("detections.json", "times.json"):
        (copy / "experiments" / FIRST / name).write_bytes(content)
    assert run_generalization(toy_settings(detector), toy_runtime(copy)).results == before.results
    assert calls == []


@pytest.mark.parametrize("looked", [True, False])
def test_a_damaged_drawing_fails_its_experiment_alone(copy: Path, detector: Path, looked: bool) -> None:
    """Whether the detector is to look at it, or has done so and it is to be shown."""
    directory = copy / "experiments" / FIRST
    for drawing in (directory / "drawings" / "prompted").iterdir():
        drawing.write_bytes(drawing.read_bytes()[:60])
    if not looked:
        (directory / "detections.json").unlink()
    report = run_generalization(toy_settings(detector), toy_runtime(copy))
    assert [(one.path, one.code) for one in report.errors] == [(FIRST, "input")]
    assert "prompted" in report.errors[0].message
    assert {one.experiment for one in report.results} == {SECOND}


def test_one_experiment_alone_leaves_a_partial_report(tmp_path: Path, finished: Path, detector: Path) -> None:
    (tmp_path / "experiments").mkdir()
    shutil.copytree(finished / "experiments" / SECOND, tmp_path / "experiments" / SECOND)
    shutil.copytree(finished / "text-encoder", tmp_path / "text-encoder")
    report = run_generalization(toy_settings(detector), toy_runtime(tmp_path), only=["*-02-*"])
    assert report.status is Status.partial and not report.errors
    assert {one.experiment for one in report.results} == {SECOND}


def test_other_settings_are_refused_before_anything_is_computed(
    copy: Path, detector: Path, calls: list[str]
) -> None:
    plan = (copy / "plan.json").read_bytes()
    with pytest.raises(UsageError, match="max_elements was 2, is 3"):
        run_generalization(toy_settings(detector, max_elements=3), toy_runtime(copy))
    assert calls == [] and (copy / "plan.json").read_bytes() == plan


def test_the_shared_text_encoder_is_that_of_the_settings(copy: Path, detector: Path) -> None:
    shutil.rmtree(copy / "experiments")  # which would refuse them before
    with pytest.raises(UsageError, match=r"caption_pool|texts"):
        run_generalization(toy_settings(detector, caption_pool=40), toy_runtime(copy))


def test_captions_that_the_text_encoder_cannot_read_are_refused(
    tmp_path: Path, detector: Path, calls: list[str]
) -> None:
    with pytest.raises(UsageError, match=r"captions of 5 elements have 26 tokens.* reads 24") as caught:
        run_generalization(toy_settings(detector, max_elements=5), toy_runtime(tmp_path / "run"))
    assert "max_length = 26" in caught.value.hint
    assert calls == [] and not (tmp_path / "run" / "text-encoder").exists()


def test_the_directory_of_another_command_is_left_alone(tmp_path: Path, detector: Path) -> None:
    (tmp_path / "plan.json").write_text('{"seed": 0}')
    with pytest.raises(UsageError, match="another command"):
        run_generalization(toy_settings(detector), toy_runtime(tmp_path))
    assert (tmp_path / "plan.json").read_text() == '{"seed": 0}'


def test_another_detector_looks_again_and_nothing_is_drawn_again(
    copy: Path, tmp_path: Path, calls: list[str]
) -> None:
    import torch

    from origcli.detection.card import save_detector
    from tests.detection.tiny import tiny_card, tiny_model

    save_detector(tmp_path / "other", tiny_card(), tiny_model(seed=5).state_dict())
    torch.manual_seed(0)
    before = report_of(copy)
    report = run_generalization(toy_settings(tmp_path / "other"), toy_runtime(copy))
    assert calls == []
    assert [one.detections for one in report.results] != [one.detections for one in before.results]


def test_a_cluster_comes_to_the_same_report(
    copy: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is to look at the drawings again; the worker is a process with another directory."""
    pytest.importorskip("ray")
    before = (copy / "report.json").read_bytes()
    for name in (FIRST, SECOND):
        (copy / "experiments" / name / "detections.json").unlink()
    monkeypatch.chdir(copy)
    settings = toy_settings(Path(os.path.relpath(detector, copy)))
    report = run_generalization(settings, toy_runtime(copy), ray="auto")
    assert not report.errors
    assert report.results == report_of_bytes(before).results
    assert all((copy / "experiments" / name / "detections.json").is_file() for name in (FIRST, SECOND))


def test_a_machine_that_does_not_see_the_run_directory_says_so(tmp_path: Path, detector: Path) -> None:
    with pytest.raises(StorageError, match="not seen"):
        on_cluster.open_worker(toy_settings(detector), tmp_path)


def test_a_worker_gives_the_failure_of_its_experiment(
    copy: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copy / "experiments" / FIRST / "unet")

    def fail(*arguments: Any, **options: Any) -> Any:
        raise NonFiniteError("train-unet: the loss of step 3 is nan")

    monkeypatch.setattr(unet, "run", fail)
    settings = toy_settings(detector)
    work = on_cluster.open_worker(settings, copy)
    first, second = planned(settings)
    failed, found = work(first), work(second)
    assert isinstance(failed, Failure) and (failed.path, failed.code) == (FIRST, "non-finite")
    assert not isinstance(found, Failure) and len(found["prompted"]) == 10


def test_without_a_detector_nothing_is_trained(tmp_path: Path, calls: list[str]) -> None:
    with pytest.raises(ModelError):
        run_generalization(toy_settings(tmp_path / "none"), toy_runtime(tmp_path / "run"))
    assert calls == []


def test_counting_knows_both_thresholds() -> None:
    held_out, other = ALL_ELEMENTS[3], ALL_ELEMENTS[4]

    def seen(element: Element, confidence: float) -> Detection:
        return Detection(element, confidence, (0, 0, 1, 1))

    pictures = [[seen(held_out, 0.95), seen(held_out, 0.6), seen(other, 0.9)], [], [seen(other, 0.7)]]
    counts = count(pictures, held_out, 0.9)
    assert counts.held_out.tolist() == [1, 0, 0]
    assert counts.total.tolist() == [2, 0, 0]
    assert counts.seen.tolist() == [2, 0, 0]
    assert counts.confidence.tolist() == pytest.approx([1.55, 0, 0])


def test_the_small_studys_unet_has_at_most_two_million_weights() -> None:
    settings = resolve(presets=("small", "many"), environment={})[0]
    unet = build_unet(settings.unet, (4, 8, 8), settings.text_encoder.width)
    assert sum(weight.numel() for weight in unet.parameters()) <= 2_000_000
    assert settings.generalize.max_elements <= 2 and settings.synth.resolution == 64
    assert (settings.generalize.levels, settings.generalize.repeats) == ((4, 8, 15, 30, 60), 4)


def test_every_element_is_seen_as_often_at_every_level_and_the_vae_as_many_pictures() -> None:
    settings = resolve(presets=("small", "many"), environment={})[0]
    assert settings.generalize.empty == 0
    for one in planned(settings):
        count = picture_count(one, settings)
        assert count / len(one.trained_on) == pytest.approx(20_000 / 29, rel=1e-3)
        assert vae_settings(one, settings).epochs * count == pytest.approx(1.5 * 20_000)
    paper = resolve(presets=("paper",), environment={})[0]
    assert {picture_count(one, paper) for one in planned(paper)} == {100_000}
    assert all(vae_settings(one, paper) == paper.vae for one in planned(paper))


@pytest.mark.fault(65, "a study knows a text encoder by its weights: it may move, and not be exchanged")
def test_a_text_encoder_is_known_by_its_weights(tmp_path: Path) -> None:
    def facts(name: str, weights: bytes) -> dict[str, Any]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(weights)
        return model_facts(resolve({"text_encoder": {"source": str(tmp_path / name)}}, environment={})[0])

    assert facts("here", b"1") == facts("there", b"1") != facts("elsewhere", b"2")
