import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from origcli.detection import reporting, yolo
from origcli.detection.card import read_card
from origcli.errors import InputError, Interrupted, UsageError
from origcli.runtime.context import open_runtime
from origcli.runtime.run_place import Existing
from origcli.runtime.seeding import generator
from origcli.scenes.elements import ALL_ELEMENTS
from origcli.scenes.mixtures import Recipe
from origcli.scenes.writing import write_dataset
from origcli.settings import Settings, resolve
from origcli.training import detector
from origcli.training.hardening import draw_randoms
from origcli.training.loop import Job
from tests.detection.test_yolo import Touch
from tests.detection.tiny import ARCHITECTURE, tiny_model
from tests.training.stopping import StopAfter


def write_shapes(path: Path, count: int = 100, seed: int = 0, resolution: int = 32) -> Any:
    values = {
        "count": count,
        "resolution": resolution,
        "max_elements": 4,
        "mixture": "uniform",
        "sizes": ("big", "small"),
        "textures": ("full", "empty"),
    }
    settings, _ = resolve({"synth": values}, environment={})
    return write_dataset(Recipe(settings.synth, seed), path)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes").path


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("model") / "tiny.yaml"
    path.write_text(yaml.safe_dump(ARCHITECTURE))
    return str(path)


@pytest.fixture(scope="module")
def settings(architecture: Any) -> Any:
    """Four steps on 32-pixel pictures."""
    own = {
        "architecture": architecture,
        "input_size": 32,
        "epochs": 0.35,
        "batch_size": 8,
        "held_out": 10,
        "checkpoint_every": 2,
        "sample_every": 3,
    }
    return resolve({"detector": own, "runtime": {"device": "cpu", "threads": 1}}, environment={})[0]


def train(shapes: Any, settings: Settings, out: Path, **options: Any) -> Any:
    paths = [shapes] if isinstance(shapes, Path) else shapes
    existing: Existing = "use" if options.get("resume") else "refuse"
    with open_runtime(settings.runtime, out, None, existing) as runtime:
        return detector.run(paths, settings, runtime, **options)


@pytest.fixture(scope="module")
def unbroken(shapes: Any, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    return out, train(shapes, settings, out)


def test_a_run_leaves_a_detector_that_loads_and_a_report(unbroken: Any) -> None:
    out, report = unbroken
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == {
        "detector",
        "checkpoints",
        "history.csv",
        "report.json",
        "report.csv",
        "run.json",
        "loss.png",
        "confusion.png",
    }
    card = read_card(out / "detector")
    yolo.load_model(out / "detector", card)
    (result,) = report.results
    assert result.weights_hash == card.weights_sha256
    assert (result.steps, result.samples) == (4, 32)
    for metric in ("precision", "recall", "map50", "map50_95"):
        assert 0 <= result.metrics[metric].value <= 1
        assert 0 <= result.metrics[f"{metric}_hardened"].value <= 1
    assert len(result.confusion.classes) == 61
    assert json.loads((out / "report.json").read_text())["schema"] == "origcli/train-detector/1"


def test_every_element_that_counts_is_in_the_matrix(unbroken: Any, shapes: Any) -> None:
    _, report = unbroken
    testing = detector.pools([shapes], 10)[2]
    elements = sum(
        p.box is not None and p.covered <= 0.5 for i in range(len(testing)) for p in testing.scene(i).placed
    )
    matrix = report.results[0].confusion
    assert sum(sum(row) for row in matrix.counts[:-1]) == elements  # rows are true classes


def test_a_stopped_run_goes_on_to_the_same_bits(
    unbroken: Any, shapes: Any, settings: Any, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with (
        pytest.raises(Interrupted),
        open_runtime(settings.runtime, out, StopAfter(3, "train-detector")) as runtime,
    ):
        detector.run([shapes], settings, runtime)
    assert not (out / "detector").exists()
    report = train(shapes, settings, out, resume=True)
    assert report.results[0].weights_hash == unbroken[1].results[0].weights_hash
    assert report == unbroken[1]
    assert (out / "report.json").read_bytes() == (unbroken[0] / "report.json").read_bytes()


def test_a_run_does_not_go_on_with_other_settings(
    unbroken: Any, shapes: Any, settings: Any, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with (
        pytest.raises(Interrupted),
        open_runtime(settings.runtime, out, StopAfter(2, "train-detector")) as runtime,
    ):
        detector.run([shapes], settings, runtime)
    other = settings.model_copy(update={"detector": settings.detector.model_copy(update={"harden": 0.1})})
    with pytest.raises(UsageError, match="harden"):
        train(shapes, other, out, resume=True)


@pytest.mark.fault(18, "data.yaml and label caches of a data set run and fetch nothing")
def test_a_hostile_data_set_runs_nothing(settings: Any, tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "shapes").path
    marker = tmp_path / "marker"
    torch.save(Touch(marker), data / "labels.cache")
    for cache in (data / "labels" / "00000.cache", data / "labels" / "labels.cache", data / "images.cache"):
        torch.save(Touch(marker), cache)
    code = f"import pathlib; pathlib.Path({str(marker)!r}).touch()"
    (data / "data.yaml").write_text(
        f"path: nowhere\ntrain: no\nval: no\ndownload: {json.dumps(code)}\nnames: {{0: a}}\n"
    )
    train(data, settings, tmp_path / "run")
    assert not marker.exists()


def test_it_starts_from_a_published_checkpoint(shapes: Any, settings: Any, tmp_path: Path) -> None:
    torch.save({"model": tiny_model(seed=5), "ema": None}, tmp_path / "start.pt")
    model = detector.initial_model(ARCHITECTURE, 0)
    note = yolo.load_published(model, tmp_path / "start.pt")
    size = len(model.state_dict())
    assert note == f"{size} of {size} tensors loaded from start.pt"
    expected = tiny_model(seed=5).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(3, 4), "ema": None}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"0 of .* tensors fit"):
        yolo.load_published(detector.initial_model(ARCHITECTURE, 0), tmp_path / "other.pt")


def test_a_checkpoint_starts_its_own_architecture_alone_whatever_its_classes(tmp_path: Path) -> None:
    """Weights as those of yolov8n.pt, of 80 classes: some fit the layers of yolov8-shapes by chance."""
    published = yolo.build(yolo.read_architecture("yolov8n", 80))
    torch.save({"model": published, "ema": None}, tmp_path / "yolov8n.pt")
    with pytest.raises(UsageError, match=r"another architecture: [1-9]") as caught:
        yolo.load_published(yolo.build(yolo.read_architecture("yolov8-shapes", 60)), tmp_path / "yolov8n.pt")
    assert "--architecture yolov8n" in caught.value.hint
    own = yolo.build(yolo.read_architecture("yolov8n", 60))
    note = yolo.load_published(own, tmp_path / "yolov8n.pt")
    loaded, size = (int(word) for word in note.split() if word.isdigit())
    assert 0 < loaded < size
    weights = published.state_dict()
    left = [name for name, value in own.state_dict().items() if not torch.equal(value, weights[name])]
    assert left and all(".cv3." in name for name in left)


@pytest.mark.weights
def test_the_published_yolov8n_is_read_safely() -> None:
    import os

    path = Path(os.environ.get("ORIGCLI_YOLOV8N", "yolov8n.pt"))
    if not path.is_file():
        pytest.skip("set ORIGCLI_YOLOV8N to the published yolov8n.pt")
    model = detector.initial_model(yolo.read_architecture("yolov8n", 60), 0)
    yolo.load_published(model, path)
    weights = yolo.published_weights(path)
    assert torch.equal(model.state_dict()["model.0.conv.weight"], weights["model.0.conv.weight"])


def test_the_same_seed_gives_the_same_start_whatever_was_drawn_before() -> None:
    first = detector.initial_model(ARCHITECTURE, 3).state_dict()
    torch.rand(5)
    again = detector.initial_model(ARCHITECTURE, 3).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    other = detector.initial_model(ARCHITECTURE, 4).state_dict()
    assert not torch.equal(first["model.0.conv.weight"], other["model.0.conv.weight"])


def test_what_is_held_out_is_not_trained_on(shapes: Any, tmp_path: Path) -> None:
    more = write_shapes(tmp_path / "more", 60, seed=1).path
    training, calibrating, testing, hashes = detector.pools([shapes, more], 12)
    places = [set(pool.places) for pool in (training, calibrating, testing)]
    assert not places[0] & places[1] and not places[1] & places[2] and not places[0] & places[2]
    assert len(set.union(*places)) == 160
    assert sorted(testing.places) == [(0, 97), (0, 98), (0, 99), (1, 57), (1, 58), (1, 59)]
    assert len(calibrating) == 6
    assert len(set(hashes)) == 2


def test_data_sets_that_do_not_go_together_are_refused(shapes: Any, tmp_path: Path) -> None:
    other = write_shapes(tmp_path / "other", 20, resolution=64).path
    with pytest.raises(UsageError, match="different resolutions"):
        detector.pools([shapes, other], 10)
    small = write_shapes(tmp_path / "small", 5).path
    with pytest.raises(InputError, match="too few"):
        detector.pools([small], 10)
    with pytest.raises(InputError, match="no finished data set"):
        detector.pools([tmp_path / "nowhere"], 10)


def test_labels_are_padded_and_leave_out_what_cannot_be_seen(shapes: Any) -> None:
    pool = detector.pools([shapes], 10)[0]
    labelled = detector.Labelled(pool)
    batch = labelled.__getitems__(list(range(len(pool))))
    assert batch["pictures"].shape == (90, 32, 32, 3) and batch["pictures"].dtype == torch.uint8
    assert batch["boxes"].shape == (90, 4, 4) and batch["classes"].shape == (90, 4)
    for number in range(len(pool)):
        seen = [p for p in pool.scene(number).placed if p.box and p.covered <= 0.75]
        classes = [c for c in batch["classes"][number].tolist() if c >= 0]
        assert classes == [p.element.index for p in seen]
        for row, placed in zip(batch["boxes"][number], seen, strict=False):
            assert row.tolist() == pytest.approx(placed.box)


def test_targets_are_one_row_an_element() -> None:
    boxes = torch.tensor([[[0.1, 0.2, 0.3, 0.6], [0, 0, 0, 0]], [[0.5, 0.5, 1.0, 0.9], [0.0, 0.0, 0.2, 0.2]]])
    classes = torch.tensor([[7, -1], [0, 59]])
    found = detector.targets(boxes, classes)
    assert found["batch_idx"].tolist() == [0, 1, 1]
    assert found["cls"].tolist() == [7, 0, 59]
    assert found["bboxes"][0].tolist() == pytest.approx([0.2, 0.4, 0.2, 0.4])


def test_the_loss_is_least_for_the_true_labels(tmp_path: Path) -> None:
    """Of a detector that can see: labels that are mirrored, moved or renamed must cost more."""
    data = write_shapes(tmp_path / "shapes", 40, seed=5, resolution=64).path
    directory = reporting.detector_directory("shapes")
    objective = detector.DetectionObjective(yolo.load_model(directory, read_card(directory)), 64)
    batch = detector.Labelled(detector.pools([data], 10)[0]).__getitems__(list(range(24)))
    randoms = draw_randoms(generator(0), 24, 0.5)

    def loss(**changed: Any) -> Any:
        with torch.no_grad():
            terms = objective(**{**batch, **changed}, **randoms)
        assert all(rows.shape == (24,) for rows in terms.values())
        return terms["loss"][0].item()

    true = loss()
    boxes, classes = batch["boxes"], batch["classes"]
    x0, y0, x1, y1 = boxes.unbind(-1)
    assert true < 0.7 * loss(boxes=torch.stack([1 - x1, y0, 1 - x0, y1], -1))
    assert true < 0.7 * loss(boxes=torch.stack([y0, x0, y1, x1], -1))
    assert true < 0.9 * loss(boxes=(boxes + 0.04) * (classes >= 0)[..., None])
    assert true < 0.7 * loss(classes=torch.where(classes >= 0, (classes + 1) % 60, -1))


def test_a_batch_without_elements_has_a_loss(shapes: Any) -> None:
    objective = detector.DetectionObjective(detector.initial_model(ARCHITECTURE, 0), 32)
    pictures = torch.full((2, 32, 32, 3), 255, dtype=torch.uint8)
    terms = objective(
        pictures, torch.zeros(2, 4, 4), torch.full((2, 4), -1), **draw_randoms(generator(0), 2, 0.5)
    )
    terms["loss"].sum().backward()
    assert torch.isfinite(terms["loss"]).all()


def test_statistics_are_those_of_the_averaged_weights(shapes: Any, settings: Any) -> None:
    model = detector.initial_model(ARCHITECTURE, 0)
    objective = detector.DetectionObjective(model, 32)
    pool = detector.pools([shapes], 10)[0]
    job = Job(
        "test",
        objective,
        model,
        detector.Labelled(pool),
        len(pool),
        lambda g, n: draw_randoms(g, n, 0.0),
        {},
    )
    from origcli.runtime.context import Runtime

    detector.average_statistics(objective, job, settings.detector, Runtime())
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    conv = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    batch = detector.Labelled(pool).__getitems__(list(range(len(pool))))
    with torch.no_grad():
        outputs = conv(yolo.to_pixels(batch["pictures"]))
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, outputs.mean((0, 2, 3)), atol=5e-3)
    assert not model.training


def test_all_names_have_a_class(unbroken: Any) -> None:
    card = read_card(unbroken[0] / "detector")
    assert card.elements == ALL_ELEMENTS
