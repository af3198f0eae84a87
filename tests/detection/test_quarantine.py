"""What ultralytics leaves behind, watched from outside in a process of its own."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from origcli.detection.quarantine import quarantine
from tests.detection.test_yolo import Touch, write_checkpoint
from tests.detection.tiny import tiny_model

PROGRAM = r"""
import json, logging, os, sys, warnings
import cv2, numpy, PIL.Image, torch

torch.set_num_threads(1)

def state():
    return {
        "environment": dict(os.environ),
        "functions": [id(f) for f in (PIL.Image.open, torch.save, torch.load, cv2.imread, cv2.imwrite)],
        "numpy": repr(numpy.get_printoptions()),
        "torch": repr(vars(torch._tensor_str.PRINT_OPTS)),
        "threads": [torch.get_num_threads(), cv2.getNumThreads()],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": [torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark],
        "warnings": repr(warnings.filters),
        "streams": [id(sys.stdout), id(sys.stderr), id(sys.excepthook)],
        "path": list(sys.path),
        "root logger": [logging.root.level, len(logging.root.handlers)],
    }

events = []
def watch(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        events.append([event, repr(arguments)])
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] is not None:
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            events.append(["write", os.fsdecode(arguments[0])])
    if event == "os.mkdir":
        events.append(["write", os.fsdecode(arguments[0])])
sys.addaudithook(watch)

from pathlib import Path
from PIL import Image
from origcli.errors import ModelError
from origcli.detection import yolo
from origcli.detection.evaluation import Evaluation
from origcli.scenes.scene import Scene
from tests.detection.tiny import tiny_card, tiny_model
from origcli.settings import DetectSettings

assert "ultralytics" not in sys.modules
events.clear()  # torchvision makes a directory of its own
before = state()
model = tiny_model()
yolo.read_architecture("yolov8n", 60)
loss = yolo.training_loss(model)
boxes = {"batch_idx": torch.tensor([0.0]), "cls": torch.tensor([3.0]), "bboxes": torch.full((1, 4), 0.5)}
loss(model.train()(torch.rand(1, 3, 64, 64)), boxes)
yolo.fuse(model)
detector = yolo.YoloDetector(
    model, tiny_card(), DetectSettings(confidence=0.3, iou=0.7, batch_size=2), torch.device("cpu")
)
found = detector.detect([Image.new("RGB", (64, 64))] * 3)
evaluation = Evaluation(0.9)
evaluation.add(found[0], Scene((), "empty"), 64)
evaluation.results()
yolo.load_matching(tiny_model(seed=1), yolo.published_weights(Path("good.pt")))
try:
    yolo.published_weights(Path("hostile.pt"))
    refused = "no"
except ModelError as problem:
    refused = str(problem)
after = state()
try:
    PIL.Image.open("torn.png").load()
    torn = "read"
except Exception as problem:
    torn = type(problem).__name__
changed = [name for name in before if before[name] != after[name]]
json.dump({"changed": changed, "events": events, "torn": torn, "refused": refused}, sys.stderr)
"""


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The process's report, its stdout, and the directory that was its home and its working directory."""
    home = tmp_path_factory.mktemp("home")
    (home / "torn.png").write_bytes(b"no picture")
    write_checkpoint(home / "good.pt", tiny_model())
    write_checkpoint(home / "hostile.pt", Touch(home / "marker"))
    cache = tmp_path_factory.mktemp("cache")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO", "ULTRALYTICS", "OMP"))}
    environment |= {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "ORIGCLI_CACHE": str(cache),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": str(cache / "matplotlib"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        cwd=home,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1]), done, home, cache


def test_the_process_is_as_it_was(witness: Any) -> None:
    assert witness[0]["changed"] == []


def test_nothing_is_printed(witness: Any) -> None:
    assert witness[1].stdout == ""
    assert len(witness[1].stderr.splitlines()) == 1  # the report itself


def test_no_network_and_no_processes(witness: Any) -> None:
    assert [event for event in witness[0]["events"] if event[0] != "write"] == []


def test_nothing_is_written_outside_of_our_cache(witness: Any) -> None:
    _, _, home, cache = witness
    assert sorted(path.name for path in home.rglob("*")) == ["good.pt", "hostile.pt", "torn.png"]
    written = [name for kind, name in witness[0]["events"] if kind == "write"]
    # A name alone is of a file in an open folder. Any that were home's would be listed above or be gone.
    absolute = [name for name in written if Path(name).is_absolute()]
    assert absolute and all(name.startswith((str(cache), "/dev/null")) for name in absolute)


def test_its_settings_are_in_our_cache(witness: Any) -> None:
    assert (witness[3] / "ultralytics" / "Ultralytics" / "settings.json").is_file()


def test_a_hostile_checkpoint_is_refused(witness: Any) -> None:
    assert "without running its code" in witness[0]["refused"]


def test_a_torn_picture_is_still_torn(witness: Any) -> None:
    assert witness[0]["torn"] == "UnidentifiedImageError"


def test_threads_leave_nothing_of_ultralytics_behind(tmp_path: Path) -> None:
    """One that came while another was inside would note, and give back, what that one had changed."""
    own, inside, left = PIL.Image.open, threading.Event(), threading.Event()

    def late() -> None:
        inside.wait(10)
        with quarantine(tmp_path):
            left.wait(0.2)

    other = threading.Thread(target=late)
    other.start()
    with quarantine(tmp_path):
        PIL.Image.open = lambda *words, **named: None  # type: ignore[assignment]
        inside.set()
        other.join(0.2)
    left.set()
    other.join(10)
    assert PIL.Image.open is own
