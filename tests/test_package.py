"""What is in the wheel and the sdist, and what the other files of the house say."""

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import origcli
from origcli.presets import PRESETS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(built.glob("*.whl")))


def test_the_wheel_has_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    version = origcli.__version__
    assert tops == {"origcli", f"origcli-{version}.dist-info", f"origcli-{version}.data"}
    checked_in = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "origcli").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel.namelist() if name.startswith("origcli/")} == checked_in


def test_the_wheel_has_what_commands_read(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {f"origcli/presets/{name}.toml" for name in PRESETS} <= names
    assert {"origcli/py.typed", "origcli/reports/schemas/score.json"} <= names


def test_the_wheel_puts_pages_and_completions_where_they_are_found(wheel: zipfile.ZipFile) -> None:
    share = f"origcli-{origcli.__version__}.data/data/share/"
    found = {name.removeprefix(share) for name in wheel.namelist() if name.startswith(share)}
    pages = {f"man/man1/{path.name}" for path in (ROOT / "man").glob("*.1")}
    assert found == pages | {
        "bash-completion/completions/origcli",
        "zsh/site-functions/_origcli",
        "fish/vendor_completions.d/origcli.fish",
        "powershell/origcli.ps1",
    }


def test_the_metadata(wheel: zipfile.ZipFile) -> None:
    folder = f"origcli-{origcli.__version__}.dist-info"
    metadata = email.message_from_bytes(wheel.read(f"{folder}/METADATA"))
    assert metadata["License-Expression"] == "AGPL-3.0-or-later"
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md"} == set(metadata.get_all("License-File", []))
    assert {"dev", "ray", "trackers"} <= set(metadata.get_all("Provides-Extra", []))


def test_the_sdist_is_complete(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "constraints.txt", "LICENSE", "README.md", "tests/test_package.py", "man/origcli.1"}
    assert needed <= names
    assert not [name for name in names if name.startswith((".venv", "runs", "data"))]


def test_twine_takes_both(built: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_dependencies_are_bounded_and_constraints_are_exact() -> None:
    constraints = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
    for requirement in PROJECT["dependencies"]:
        match = re.fullmatch(r"([\w.-]+)>=[\w.]+,<[\w.]+", requirement)
        assert match, f"{requirement}: no bounds"
        assert match[1] in constraints, f"{match[1]}: not in constraints.txt"


# The first versions without a known fault, and the advisories that were published about those before.
FAULTLESS = {
    "filelock": ("3.20.3", "CVE-2025-68146, CVE-2026-22701"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "pillow": ("12.3", "CVE-2026-25990, CVE-2026-42309, CVE-2026-59199, CVE-2026-59205"),
    "ray": ("2.52", "CVE-2025-62593"),
    "torch": ("2.6", "CVE-2025-32434"),
}


def test_no_version_with_a_published_advisory_is_admitted() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    admitted = [*project["dependencies"], *project["optional-dependencies"]["ray"]]
    lowest = {
        name: version for name, _, version in (one.partition(",")[0].partition(">=") for one in admitted)
    }
    for name, (version, advisories) in FAULTLESS.items():
        assert numbers(lowest[name]) >= numbers(version), f"{name}: {advisories}"


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_the_notices_name_every_library_and_the_large_ones_behind_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split("[<>=]", one)[0] for one in project["dependencies"]}
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text("utf-8").lower().replace("pytorch", "torch")
    for name in {*names, "opencv", "timm", "open_clip"}:
        assert name.lower().replace("pytorch", "torch") in notices, name


def test_one_version_everywhere() -> None:
    assert PROJECT["version"] == origcli.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == origcli.__version__ and citation["license"] == PROJECT["license"]


def test_the_licence_is_the_affero_one() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert text.lstrip().startswith("GNU AFFERO GENERAL PUBLIC LICENSE") and len(text) > 34_000


@pytest.mark.fault(45, "no library that a score loads links libGL, X11 or glib, which bare containers lack")
def test_no_library_needs_a_display() -> None:
    # In a process of its own: others, such as a browser's driver, may load what they like.
    code = """
import pathlib
import cv2, matplotlib.pyplot, PIL.Image, scipy.optimize, torchvision
from origcli.detection import yolo
yolo._ultralytics()
print(pathlib.Path("/proc/self/maps").read_text())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    loaded = {Path(line.split()[-1]) for line in done.stdout.splitlines() if ".so" in line}
    assert any(path.name.startswith("cv2") for path in loaded)
    # What a wheel brings along, as Pillow does libxcb, no machine lacks.
    of_the_system = {path.name for path in loaded if "site-packages" not in path.parts}
    graphics = ("libGL", "libX", "libxcb", "libglib", "libgthread")
    assert not {name for name in of_the_system if name.startswith(graphics)}


def test_opencv_comes_without_windows() -> None:
    names = {re.split(r"[^\w.-]", line)[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert "opencv-python-headless" in names and "opencv-python" not in names
    assert not [line for line in PROJECT["dependencies"] if line.startswith("ultralytics>")]
