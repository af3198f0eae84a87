"""Where runs go: numbers that mkdir gives out, and the run that --resume and --force find again."""

import subprocess
import sys
from pathlib import Path

import pytest

from origcli.errors import DeviceError, InputError, UsageError
from origcli.runtime.atomic import write_json
from origcli.runtime.context import open_runtime
from origcli.runtime.plan import record_plan
from origcli.runtime.run_directory import RunDirectory
from origcli.runtime.run_place import RunPlace, place_of, request_of
from origcli.settings import RuntimeSettings, resolve


class Killed(BaseException):
    """Stands for a kill."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def place(request: str = "a", resume: bool = False, force: bool = False, out: Path | None = None) -> RunPlace:
    return place_of("score", out, ["cat"], request, resume, force)


def run(where: RunPlace, came: bool = True, done: bool = True) -> str:
    """A run that leaves a plan, if it comes so far, and is finished or killed."""
    try:
        with RunDirectory(where) as directory:
            if came:
                record_plan(directory.path, {})
            if not done:
                raise Killed
    except Killed:
        if not came:  # a kill leaves more than an exception does
            directory.path.mkdir(exist_ok=True)
            write_json(directory.path / "run.json", {"schema": "origcli.run/1", "request": where.request})
    return str(directory.given)


def test_runs_are_numbered() -> None:
    assert [run(place()) for _ in range(3)] == ["runs/score-cat", "runs/score-cat-2", "runs/score-cat-3"]
    Path("runs/score-cat-10").mkdir()
    Path("runs/score-cat-4").touch()
    assert run(place()) == "runs/score-cat-5"
    assert run(place(out=Path("mine"))) == "mine"


@pytest.mark.fault(17, "two runs that are started together without --out get a directory each")
def test_runs_that_start_together_get_a_number_each(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from origcli.runtime.run_directory import RunDirectory
from origcli.runtime.run_place import place_of
place = place_of("score", None, ["cat"], "a", False, False)
Path(sys.argv[1]).touch()
while len(list(Path().glob("ready-*"))) < 3:
    time.sleep(0.01)
with RunDirectory(place) as run:
    (run.path / "mine").touch()
    print(run.given)
"""
    started = [
        subprocess.Popen([sys.executable, "-c", code, f"ready-{i}"], stdout=subprocess.PIPE, text=True)
        for i in range(3)
    ]
    answers = sorted(process.communicate(timeout=120)[0].strip() for process in started)
    assert answers == ["runs/score-cat", "runs/score-cat-2", "runs/score-cat-3"]


@pytest.mark.fault(11, "--resume without --out takes the latest unfinished run of the same request")
def test_resume_finds_the_run_that_was_stopped() -> None:
    assert run(place("other"), done=False) == "runs/score-cat"
    assert run(place(), done=False) == "runs/score-cat-2"
    assert run(place("other"), done=False) == "runs/score-cat-3"
    assert run(place(), came=False, done=False) == "runs/score-cat-4"  # nothing came of it
    Path("runs/score-cat-5").mkdir()  # nor of this
    assert run(place(resume=True)) == "runs/score-cat-2"
    with pytest.raises(UsageError, match="already finished"):
        place(resume=True)
    with pytest.raises(UsageError, match="no unfinished run"):
        place("a third", resume=True)
    assert place(resume=True, out=Path("named")).path == Path("named")


def test_resume_where_there_are_no_runs_says_so() -> None:
    with pytest.raises(UsageError, match="no unfinished run"):
        place(resume=True)
    assert not Path("runs").exists()


def test_force_does_the_latest_run_over() -> None:
    assert run(place(force=True)) == "runs/score-cat"
    assert run(place("other")) == "runs/score-cat-2"
    Path("runs/score-cat-3").mkdir()
    Path("runs/score-cat-3/thesis.tex").touch()
    assert run(place(force=True)) == "runs/score-cat-2"
    assert [path.name for path in Path("runs/score-cat-3").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("problem", [InputError("no such model"), DeviceError("no such device")])
def test_a_run_that_fails_at_once_leaves_no_directory(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(problem, DeviceError):
        monkeypatch.setattr("origcli.runtime.context.select_device", lambda name: fail(problem))
    with pytest.raises(type(problem)), open_runtime(RuntimeSettings(device="cpu"), place()):
        fail(problem)
    assert not list(Path("runs").glob("*")) if Path("runs").exists() else True


def fail(problem: Exception) -> None:
    raise problem


def test_a_request_is_settings_images_and_seed() -> None:
    settings = resolve(environment={})[0]
    base = request_of("score", settings, ["a"], shard=None)
    other = resolve({"invert": {"steps": 7}}, environment={})[0]
    seeded = resolve({"runtime": {"seed": 7}}, environment={})[0]
    threads = resolve({"runtime": {"threads": 1, "device": "cpu"}}, environment={})[0]
    assert request_of("score", threads, ["a"], shard=None) == base
    different = {
        request_of("invert", settings, ["a"], shard=None),
        request_of("score", other, ["a"], shard=None),
        request_of("score", seeded, ["a"], shard=None),
        request_of("score", settings, ["b"], shard=None),
        request_of("score", settings, ["a"], shard="1/2"),
    }
    assert len(different - {base}) == 5
