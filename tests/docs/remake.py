"""`make docs`: docs/images and the outputs that the pages show, made from real runs.

    python -m tests.docs.remake [outputs] [strip]

`outputs` runs the commands of every page that shows some, at their full budgets, and writes what came out
under each. `strip` runs the demo: strip-light.png and strip-dark.png explain the method with its images,
report.png is a page of it in Chromium. Both take minutes on two CPU cores.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.docs import terminal
from tests.docs.pages import PAGES, ROOT, blocks, with_outputs
from tests.docs.strip import THEMES, strip

IMAGES = ROOT / "docs" / "images"
COLUMNS = 100
WINDOW = (1200, 1180)  # down to the curve
CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
]


def environment(home: Path) -> dict[str, str]:
    """That of a new user: nothing of ours is set, and nothing is kept from before."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("ORIGCLI_", "HF_"))}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**theirs, "PATH": programs, "HOME": str(home)}


def strips(place: Path) -> None:
    """Runs the demo, and makes the pictures that explain the method and show a page."""
    subprocess.run(["origcli", "demo", "--out", "run"], cwd=place, env=environment(place), check=True)
    for theme in THEMES:
        strip(place / "run", theme).save(IMAGES / f"strip-{theme}.png", optimize=True)
    screenshot(place / "run" / "pages" / "unseen.html", IMAGES / "report.png")


def screenshot(page: Path, target: Path) -> None:
    """A picture of the upper part of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("the picture of the report needs Chromium (Debian: apt-get install chromium)")
    size = f"--window-size={WINDOW[0]},{WINDOW[1]}"
    shot = page.with_suffix(".png")
    subprocess.run(
        [browser, *CHROMIUM, size, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True
    )
    with Image.open(shot) as image:
        image.convert("RGB").save(target, optimize=True)


def outputs(place: Path) -> None:
    """Runs the quick commands of the pages that show outputs, and writes these again."""
    for page in PAGES:
        found = [block for block in blocks(page) if block.need == ""]
        if not any(block.shown is not None for block in found):
            continue
        directory = place / page.stem
        directory.mkdir()
        printed = []
        for block in found:
            # What goes to stderr, such as progress, is no result.
            line = "exec 2>/dev/null; " + "\n".join(block.commands)
            shell = ["bash", "-euo", "pipefail", "-c", line]
            pieces = terminal.record(shell, COLUMNS, directory, environment(place))
            if block.shown is not None:
                text = terminal.at_the_end(pieces).text()
                printed.append(text.replace(str(place), "~").replace(str(ROOT), "~/origcli"))
        page.write_text(with_outputs(page.read_text("utf-8"), printed), "utf-8")


if __name__ == "__main__":
    for work in sys.argv[1:] or ("outputs", "strip"):
        with tempfile.TemporaryDirectory() as folder:
            {"outputs": outputs, "strip": strips}[work](Path(folder))
