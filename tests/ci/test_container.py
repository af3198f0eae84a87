"""The Dockerfile: linted, built where there is an engine, and what it promises of read-only file systems."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from origcli.cli.demo import examples
from tests.cli.command_line import PROGRAM
from tests.docs.test_commands import TINY

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", TEXT).splitlines()
    if line.strip() and not line.startswith("#")
]
VARIABLES = dict(re.findall(r"(\w+)=(\S+)", " ".join(words for name, words in INSTRUCTIONS if name == "ENV")))


ARGUMENTS = dict(re.findall(r"^ARG (\w+)=(\S+)", TEXT, re.MULTILINE))
BASE = next(words for name, words in INSTRUCTIONS if name == "FROM").replace("${PYTHON}", ARGUMENTS["PYTHON"])


def works(program: str, *words: str) -> bool:
    if shutil.which(program) is None:
        return False
    return subprocess.run([program, *words], capture_output=True).returncode == 0


def test_the_linter_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, "--failure-threshold", "style", ROOT / "Dockerfile"], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_it_runs_as_nobody_in_particular_and_keeps_what_it_needs_in_a_volume() -> None:
    last = {name: words for name, words in INSTRUCTIONS}
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert VARIABLES["ORIGCLI_CACHE"] == last["VOLUME"] == "/cache"
    assert VARIABLES["HF_HOME"].startswith("/cache/") and VARIABLES["HOME"] == "/tmp"


def test_what_it_copies_is_there_and_in_the_context() -> None:
    context = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = [word for name, words in INSTRUCTIONS if name == "COPY" for word in words.split()[:-1]]
    assert copied and all((ROOT / name).exists() and f"!{name}" in context for name in copied)


@pytest.mark.skipif(not works("unshare", "--mount", "true"), reason="a mount namespace needs root")
def test_a_score_needs_nothing_but_the_cache_the_work_and_tmp(tmp_path: Path) -> None:
    """In a mount namespace whose root is read-only, with the variables of the image."""
    for name in ("cache", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "work" / "a.png").write_bytes(examples()[0].path.read_bytes())
    script = """
mount --make-rprivate / && mount --rbind / / && mount -o remount,bind,ro /
mount --bind "$PLACE" "$PLACE" && mount -o remount,bind,rw "$PLACE"
if touch /read-only 2>/dev/null; then echo "/ can be written" >&2; exit 99; fi
mkdir "$PLACE/tmp" && export HOME="$PLACE/tmp" TMPDIR="$PLACE/tmp" && cd "$PLACE/work"
exec "$PROGRAM" score a.png --model shapes --max-tokens 1 --threads 1 --quiet --out out
"""
    variables = {
        **{name: value.replace("/cache", f"{tmp_path}/cache") for name, value in VARIABLES.items()},
        **{"PLACE": str(tmp_path), "PROGRAM": str(PROGRAM)},
    }
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, **TINY, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "work" / "out" / "report.html").is_file() and list((tmp_path / "cache").iterdir())


@pytest.mark.slow
def test_the_image_builds_and_scores(tmp_path: Path) -> None:
    engine = next((name for name in ("docker", "podman") if works(name, "info")), None)
    if engine is None:
        pytest.skip("building the image needs podman, or docker with its engine")
    base = f"docker.io/library/{BASE}"
    if not works(engine, "image", "inspect", base) and not works(engine, "pull", base):
        pytest.skip(f"building the image needs {base}, which cannot be pulled")
    subprocess.run([engine, "build", "--tag", "origcli-test", ROOT], check=True, timeout=3600)
    (tmp_path / "a.png").write_bytes(examples()[0].path.read_bytes())
    tmp_path.chmod(0o777)
    variables = [word for name, value in TINY.items() for word in ("--env", f"{name}={value}")]
    subprocess.run(
        [
            *(engine, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none"),
            *("--volume", f"{tmp_path}:/work", *variables, "origcli-test"),
            *("score", "a.png", "--model", "shapes", "--max-tokens", "1", "--out", "out"),
        ],
        check=True,
        timeout=600,
    )
    assert (tmp_path / "out" / "report.html").is_file()
