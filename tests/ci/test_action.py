"""action.yml: its steps are run as a CI system runs them, with the bundled model and a tiny budget."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from origcli.cli.demo import examples
from tests.ci.runner import Ran, read_yaml, run_action
from tests.cli.command_line import PROGRAM
from tests.docs.test_commands import TINY

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
STEPS = read_yaml(ACTION)["runs"]["steps"]
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")

OPTIONS = "\n".join(["--max-tokens", "1", "--device", "cpu", "--threads", "1", "--quiet", "--no-cache"])


def test_other_actions_are_pinned_to_commits_and_say_their_version() -> None:
    used = re.findall(r"uses: (\S+)(.*)", ACTION.read_text("utf-8"))
    assert len(used) == sum("uses" in step for step in STEPS) > 0
    for name, comment in used:
        assert PINNED.fullmatch(name) and re.fullmatch(r" # v\d+\.\d+\.\d+", comment), name


def test_nothing_is_put_into_a_shell_by_the_runner() -> None:
    for step in STEPS:
        assert "${{" not in step.get("run", "")
        assert "run" not in step or step["shell"] == "bash"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A checkout with a folder of images, whose name is an attempt to run something."""
    folder = tmp_path / "workspace" / "art $(touch ran) `touch ran`; touch ran"
    folder.mkdir(parents=True)
    for example in examples():
        (folder / f"{example.name}.png").write_bytes(example.path.read_bytes())
    return tmp_path / "workspace"


def act(workspace: Path, **inputs: str) -> Ran:
    """The action, which installs origcli without what it needs: that is here."""
    site = workspace.parent / "site"
    environment = {
        **TINY,
        **{"PIP_TARGET": str(site), "PIP_UPGRADE": "1", "PIP_NO_DEPS": "1"},
        **{"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"},  # 0: none, as pip reads it
        "PYTHONPATH": str(site),
        "PATH": f"{site / 'bin'}:{PROGRAM.parent}:/usr/bin:/bin",
    }
    names = {name.replace("_", "-"): value for name, value in inputs.items()}
    images = next(path for path in workspace.iterdir() if path.is_dir()).name
    given = {"images": images, "model": "shapes", "torch": "default", "options": OPTIONS, **names}
    return run_action(ACTION, given, workspace, environment)


def test_it_installs_scores_reports_and_lets_pass(workspace: Path) -> None:
    ran = act(workspace, fail_if="psnr<1")
    assert ran.status == 0, ran.printed
    assert ran.steps == [
        *("actions/setup-python", "install", "actions/cache"),
        *("score", "actions/upload-artifact", "gate"),
    ]
    assert (workspace.parent / "site" / "origcli" / "cli" / "app.py").is_file()
    report = json.loads((workspace / "originality" / "report.json").read_text("utf-8"))
    assert len(report["results"]) == 2 and not report["errors"]
    cases = list(ElementTree.parse(workspace / "originality" / "junit.xml").iter("testcase"))
    assert len(cases) == 2 and not [case for case in cases if case.find("failure") is not None]
    assert "**2 of 2 images passed**" in ran.summary
    assert (workspace.parent / "runner-temp" / "origcli-cache").is_dir()
    assert not list(workspace.rglob("ran")), "a name was run"


def test_a_condition_fails_the_job_after_the_upload(workspace: Path) -> None:
    ran = act(workspace, fail_if="psnr<1\nfloor>=0", artifact="report", out="runs/it", python_version="")
    assert ran.status == 10 and ran.values["steps.score.outputs.status"] == "10"
    assert ran.steps[-2:] == ["actions/upload-artifact", "gate"] and "actions/setup-python" not in ran.steps
    assert "**2 of 2 images failed**" in ran.summary and "floor&#62;&#61;0" in ran.summary
    assert (workspace / "runs" / "it" / "summary.md").is_file()


def test_a_wrong_word_fails_the_job_without_a_report(workspace: Path) -> None:
    ran = act(workspace, options="--no-such-option", artifact="")
    assert ran.status == 2 and not ran.summary and "no-such-option" in ran.printed
    assert "actions/upload-artifact" not in ran.steps and ran.steps[-1] == "gate"
