"""The pictures and outputs that the pages show: how they are made."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from origcli.reports.writers import write_report
from tests.docs import terminal
from tests.docs.pages import MOST_LINES, ROOT, blocks, shortened, with_outputs
from tests.docs.strip import HEAD, SIDE, THEMES, strip
from tests.reports import samples

PAGE = """# A page

```sh
one
```

```text
old
```

```sh slow
two
```

```json
{}
```
"""

BARS = """
import sys
from origcli.runtime.progress import RichProgress
progress = RichProgress()
with progress.task("outer", 2) as outer:
    for _ in range(2):
        with progress.task("inner", 3) as inner:
            for step in range(3):
                inner.advance(1, loss=step / 2)
                progress.bars.refresh()
        outer.advance(1)
print("done")
"""


def test_outputs_go_under_their_commands_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert [block.shown for block in blocks(page)] == ["old\n", None]
    assert with_outputs(PAGE, ["new\nlines\n"]) == PAGE.replace("old\n", "new\nlines\n")
    assert with_outputs(PAGE, ["old\n"]) == PAGE


def test_long_outputs_are_cut() -> None:
    assert shortened("\na\n\nb\n\n") == "a\n\nb\n"
    lines = shortened("x\n" * 50).splitlines()
    assert len(lines) == MOST_LINES and lines[-1] == "…"


def test_a_terminal_is_seen_at_the_end(tmp_path: Path) -> None:
    pieces = terminal.record([sys.executable, "-c", BARS], 80, tmp_path, os.environ)
    assert "outer" in "".join(pieces), "progress was shown"
    assert terminal.at_the_end(pieces).text().strip().endswith("done")


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="status 3"):
        terminal.record(["bash", "-c", "exit 3"], 80, tmp_path, os.environ)


def test_the_strip_shows_a_row_for_each_image_in_light_and_dark(tmp_path: Path) -> None:
    results = [samples.result(tmp_path, name, drawings=3, test=False, seed=i) for i, name in enumerate("ab")]
    write_report(tmp_path, samples.report(*results))
    light, dark = (strip(tmp_path, theme) for theme in ("light", "dark"))
    assert light.tobytes() == strip(tmp_path, "light").tobytes() and light.size == dark.size
    assert (light.getpixel((0, 0)), dark.getpixel((0, 0))) == ((255, 255, 255), (13, 17, 23))
    image = samples.picture(0).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    inside = (20, 20, SIDE - 20, SIDE - 20)  # without the frame
    shown = light.crop((0, HEAD, SIDE, HEAD + SIDE))
    assert shown.crop(inside).tobytes() == image.crop(inside).tobytes()


def test_the_pictures_are_small_and_whole() -> None:
    report = ROOT / "docs" / "images" / "report.png"
    assert report.stat().st_size < 200_000
    with Image.open(report) as image:
        assert image.width >= 1000
    sizes = set()
    for theme in THEMES:
        path = ROOT / "docs" / "images" / f"strip-{theme}.png"
        assert path.stat().st_size < 100_000
        assert f"docs/images/{path.name}" in (ROOT / "README.md").read_text("utf-8")
        with Image.open(path) as image:
            sizes.add(image.size)
    assert len(sizes) == 1, "light and dark are one picture in two colors"
