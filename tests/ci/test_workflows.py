"""The files that a host of repositories reads: valid, pinned, and about files that are there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.ci.runner import read_yaml
from tests.ci.test_action import PINNED

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "custom.github-workflows-require-timeout": WORKFLOWS,
    "vendor.github-actions": [ROOT / "action.yml"],
    "vendor.dependabot": [GITHUB / "dependabot.yml"],
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "vendor.github-issue-forms": [GITHUB / "ISSUE_TEMPLATE" / name for name in ("bug.yml", "idea.yml")],
    "vendor.citation-file-format": [ROOT / "CITATION.cff"],
}
TEXTS = [*GITHUB.rglob("*.*"), ROOT / "action.yml", ROOT / "Dockerfile", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_are_valid(schema: str) -> None:
    words = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        schema,
        "--default-filetype",
        "yaml",
    ]
    done = subprocess.run([*words, *SCHEMAS[schema]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_auditor_of_workflows_finds_nothing() -> None:
    program = Path(sys.executable).with_name("zizmor")
    words = [str(program), "--offline", "--no-progress", "--persona", "regular"]
    done = subprocess.run([*words, GITHUB, ROOT / "action.yml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_commits(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text("utf-8"))
    assert used and all(
        PINNED.fullmatch(name) and re.fullmatch(r" # v[\d.]+", comment) for name, comment in used
    )


def test_one_commit_of_each_action_everywhere() -> None:
    used = {
        name
        for path in (*WORKFLOWS, ROOT / "action.yml")
        for name in re.findall(r"uses: (\S+)", path.read_text("utf-8"))
    }
    assert len({name.partition("@")[0] for name in used}) == len(used)


def test_every_python_that_is_claimed_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    prefix = "Programming Language :: Python :: 3."
    claimed = {f"3.{one.removeprefix(prefix)}" for one in project["classifiers"] if one.startswith(prefix)}
    tested = set(re.findall(r'python(?:-version)?: "(3\.\d+)"', (GITHUB / "workflows/tests.yml").read_text()))
    assert claimed == tested


def test_the_release_asks_for_no_secret() -> None:
    text = (GITHUB / "workflows" / "release.yml").read_text("utf-8")
    jobs = read_yaml(GITHUB / "workflows" / "release.yml")["jobs"]
    assert "secrets." not in text and jobs["publish"]["permissions"]["id-token"] == "write"
    assert all(
        "id-token" not in job.get("permissions", {}) for name, job in jobs.items() if name != "publish"
    )


def test_hooks_run_tools_that_are_installed() -> None:
    (repository,) = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    programs = {hook["entry"].split()[0] for hook in repository["hooks"]}
    assert programs == {".venv/bin/ruff", ".venv/bin/python"}
    for hook in repository["hooks"]:
        re.compile(hook.get("files", ""))


def test_addresses_are_those_of_torch_and_of_no_one_else() -> None:
    found = {
        address for path in TEXTS for address in re.findall(r"https?://[^\s/'\")]+", path.read_text("utf-8"))
    }
    assert found <= {"https://download.pytorch.org"}


def test_editors_are_told_what_the_formatter_does() -> None:
    text = (ROOT / ".editorconfig").read_text("utf-8")
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]
    assert f"max_line_length = {ruff['line-length']}" in text
    assert yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
