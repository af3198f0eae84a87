"""Installs a wheel in a virtual environment outside the checkout and runs `origcli demo` with it.

Run as `python tests/installed.py WHEEL`. The dependencies are those of the environment that runs it, so
that nothing has to be fetched; origcli itself comes from the wheel.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ORIGIN = "import origcli; print(origcli.__file__)"


def main(wheel: Path) -> None:
    """Makes the environment, installs, scores, and looks at what came out."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        site = next((place / "venv" / "lib").glob("python*/site-packages"))
        # After its own packages, so that an origcli that is installed there for development is not seen.
        (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        run(
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            wheel.absolute(),
            place=place,
        )
        origin = Path(run(python, "-c", ORIGIN, place=place))
        assert origin.is_relative_to(place), f"origcli came from {origin}, not from the wheel"
        origcli = python.with_name("origcli")
        for page in ("man/man1/origcli-score.1", "bash-completion/completions/origcli"):
            assert (place / "venv" / "share" / page).is_file(), page
        run(origcli, "demo", "--out", "run", "--offline", place=place)
        report = json.loads((place / "run" / "report.json").read_text("utf-8"))
        assert report["status"] == "complete" and len(report["results"]) == 2
        assert (place / "run" / "report.html").stat().st_size > 10_000
        print(f"{wheel.name}: both images are scored")  # noqa: T201


def run(*command: str | Path, place: Path) -> str:
    """Runs a command there, with a cache of its own, and gives what it printed."""
    environment = {**os.environ, "ORIGCLI_CACHE": str(place / "cache")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=place, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
