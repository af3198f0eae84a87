"""A small runner of composite actions: what the steps of action.yml do on a CI system, done here.

Only what the action uses is there: `inputs`, `steps.ID.outputs`, `runner` and `github` in expressions, the
files of GITHUB_OUTPUT and GITHUB_STEP_SUMMARY, and conditions of `always()` and `!=`.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")


def read_yaml(path: Path) -> dict[str, Any]:
    value = yaml.safe_load(path.read_text("utf-8"))
    assert isinstance(value, dict)
    return value


@dataclass
class Ran:
    """What became of an action.

    Attributes:
        status: of the first step that failed, else 0.
        steps: names of the steps that ran, in order.
        values: `inputs.x`, `steps.id.outputs.y` and so on.
    """

    status: int = 0
    steps: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    printed: str = ""
    summary: str = ""


def run_action(
    action: Path, inputs: Mapping[str, str], workspace: Path, environment: Mapping[str, str]
) -> Ran:
    """Runs the `run:` steps of a composite action in bash; of the others it notes that they came."""
    described = read_yaml(action)
    temp = workspace.parent / "runner-temp"
    temp.mkdir(exist_ok=True)
    summary = temp / "summary.md"
    summary.touch()
    given = {name: str(one.get("default", "")) for name, one in described["inputs"].items()} | {**inputs}
    ran = Ran(
        values={
            **{f"inputs.{name}": value for name, value in given.items()},
            "runner.temp": str(temp),
            "runner.os": "Linux",
            "github.action_path": str(action.parent),
            "github.run_id": "1",
        }
    )
    for step in described["runs"]["steps"]:
        name = step.get("id") or step["uses"].partition("@")[0]
        if not _is_wanted(step.get("if", ""), ran):
            continue
        ran.steps.append(name)
        for value in step.get("with", {}).values():
            filled(value, ran.values)  # every name that it asks for is there
        if "run" not in step:
            continue
        output = temp / f"output-{name}"
        output.touch()
        own = {key: filled(value, ran.values) for key, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=workspace,
            env={
                **os.environ,
                **environment,
                **own,
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(summary),
            },
            capture_output=True,
            text=True,
            timeout=600,
        )
        ran.printed += done.stdout + done.stderr
        for line in output.read_text().splitlines():
            key, _, value = line.partition("=")
            ran.values[f"steps.{name}.outputs.{key}"] = value
        ran.status = ran.status or done.returncode
    ran.summary = summary.read_text("utf-8")
    return ran


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its expressions replaced. KeyError: one asks for what is not there."""
    return _EXPRESSION.sub(lambda match: values[match[1]], text)


def _is_wanted(condition: str, ran: Ran) -> bool:
    parts = [part.strip() for part in condition.split("&&") if part.strip()]
    if "always()" not in parts and ran.status:
        return False
    compared = [re.fullmatch(r"([\w.-]+) != ''", part) for part in parts if part != "always()"]
    assert all(compared), condition
    return all(ran.values[match[1]] != "" for match in compared if match)
