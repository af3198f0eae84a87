"""`origcli synth` against the loop that one would write first, in one run: pictures per second, and memory.

    python benchmarks/synth.py [--directory DIR] [--memory]

The plain loop draws with Pillow's ImageDraw at four times the size, shrinks the picture, saves it with
`Image.save`, and writes a line of JSON and a label file a picture. It shrinks with `Image.resize` as that is
(bicubic), with LANCZOS, as many ask for, or with `Image.reduce`, the fastest that Pillow has. It knows no
hidden elements, no shares and no resuming. All write 64-pixel pictures of the uniform mixture to the same
disk.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

from origcli.runtime.owned import open_folder
from origcli.scenes.captions import caption
from origcli.scenes.elements import ALL_ELEMENTS, Element
from origcli.scenes.geometry import half_extent, outline
from origcli.scenes.mixtures import Recipe, Sampler
from origcli.scenes.png import blank_lines, encode_lines
from origcli.scenes.records import record_line, yolo_labels
from origcli.scenes.rendering import RGB, paint, render
from origcli.scenes.scene import Scene
from origcli.scenes.writing import write_file
from origcli.settings import resolve

RESOLUTION = 64
SUPERSAMPLING = 4
SMALL = (RESOLUTION, RESOLUTION)
SHRINK: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resize": lambda picture: picture.resize(SMALL),
    "LANCZOS": lambda picture: picture.resize(SMALL, Image.Resampling.LANCZOS),
    "reduce": lambda picture: picture.reduce(SUPERSAMPLING),
}


def draw_plainly(draw: ImageDraw.ImageDraw, element: Element, x: float, y: float) -> None:
    """Draws one element on the large picture."""
    scale = RESOLUTION * SUPERSAMPLING
    color = RGB[element.color]
    fill, width = (color, 0) if element.texture == "full" else (None, 8 if element.size == "big" else 5)
    polygon = outline(element.shape, element.size)
    if polygon is None:
        half, _ = half_extent(element.shape, element.size)
        box = ((x - half) * scale, (y - half) * scale, (x + half) * scale, (y + half) * scale)
        draw.ellipse(box, fill=fill, outline=color, width=width)
    else:
        points = [((x + px) * scale, (y + py) * scale) for px, py in polygon[0].tolist()]
        draw.polygon(points, fill=fill, outline=color, width=width)


def plain_loop(directory: Path, count: int, shrink: Callable[[Image.Image], Image.Image]) -> None:
    """What a first script does, one process."""
    (directory / "images").mkdir(parents=True)
    (directory / "labels").mkdir()
    generator = random.Random(0)
    size = RESOLUTION * SUPERSAMPLING
    with (directory / "metadata.jsonl").open("w") as metadata:
        for index in range(count):
            picture = Image.new("RGB", (size, size), "white")
            draw = ImageDraw.Draw(picture)
            number = 0 if generator.random() < 0.1 else generator.randint(1, 4)
            items, labels = [], []
            for _ in range(number):
                element = generator.choice(ALL_ELEMENTS)
                a, b = half_extent(element.shape, element.size)
                x, y = generator.uniform(a, 1 - a), generator.uniform(b, 1 - b)
                draw_plainly(draw, element, x, y)
                items.append({"element": element.phrase, "x": x, "y": y, "box": [x - a, y - b, x + a, y + b]})
                labels.append(f"{element.index} {x:.6f} {y:.6f} {2 * a:.6f} {2 * b:.6f}\n")
            name = f"images/{index:06d}.png"
            shrink(picture).save(directory / name)
            (directory / "labels" / f"{index:06d}.txt").write_text("".join(labels))
            text = " and ".join(str(item["element"]) for item in items)
            metadata.write(json.dumps({"file_name": name, "text": text, "elements": items}) + "\n")


def synth_command(directory: Path, count: int, workers: int) -> list[str]:
    """The command line of a data set."""
    words = ["--count", str(count), "--resolution", str(RESOLUTION), "--workers", str(workers), "--quiet"]
    return [sys.executable, "-m", "origcli", "synth", str(directory), *words]


def run(command: list[str]) -> tuple[float, float, int]:
    """Runs a process: seconds on the clock, CPU seconds, and the peak KiB of its largest process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {command}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def compare(root: Path, count: int, plain_count: int, rounds: int) -> None:
    """All ways in turn, so that a busy machine is busy for all; prints the ratios of the medians."""
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    for number in range(rounds):
        plain = [sys.executable, __file__, "--count", str(plain_count)]
        runs = {
            f"plain, {name}": (
                [*plain, "--shrink", name, "--plain", str(root / f"{name}{number}")],
                plain_count,
            )
            for name in SHRINK
        } | {
            "synth": (synth_command(root / f"synth{number}", count, len(os.sched_getaffinity(0))), count),
        }
        for name, (command, made) in runs.items():
            seconds, cpu, _ = run(command)
            rates.setdefault(name, []).append(made / seconds)
            costs.setdefault(name, []).append(cpu / made * 1e6)
            print(
                f"{name}: {made / seconds:.0f} pictures/s, {cpu / made * 1e6:.0f} µs CPU a picture",
                flush=True,
            )
    for name in [name for name in rates if name != "synth"]:
        ratio = statistics.median(rates["synth"]) / statistics.median(rates[name])
        work = statistics.median(costs[name]) / statistics.median(costs["synth"])
        print(f"synth to {name}: {ratio:.1f} × in pictures per second, {work:.1f} × less CPU time a picture")


def breakdown(root: Path, count: int) -> None:
    """Where the time of one process goes. Stages take turns, 50 pictures each, as in `make_images`."""
    settings, _ = resolve({"synth": {"count": count, "resolution": RESOLUTION}}, environment={})
    sampler = Sampler(Recipe(settings.synth, 0))
    (root / "stages").mkdir()
    for index in range(count):
        render(sampler.scene(index), RESOLUTION)  # fills the caches of stamps
    spent: Counter[str] = Counter()
    for start in range(0, count, 50):
        spent.update(_stages(sampler, range(start, start + 50), root / "stages"))
    total = sum(spent.values())
    for name, seconds in spent.items():
        print(f"{name:45} {seconds / count * 1e6:6.1f} µs  {seconds / total:5.1%}")


def _stages(sampler: Sampler, part: range, folder: Path) -> dict[str, float]:
    """The CPU seconds of each stage for some pictures."""
    clock = [time.process_time()]
    scenes = [sampler.scene(index) for index in part]
    clock.append(time.process_time())
    pictures = blank_lines(len(part), RESOLUTION)
    for scene, picture in zip(scenes, pictures, strict=True):
        paint(scene, picture[:, 1:])
    clock.append(time.process_time())
    files = [encode_lines(picture) for picture in pictures]
    clock.append(time.process_time())
    texts = [_texts(scene) for scene in scenes]
    clock.append(time.process_time())
    with open_folder(folder) as handle:
        for index, data in zip(part, files, strict=True):
            write_file(f"{index:06d}.png", data, handle)
    clock.append(time.process_time())
    with open_folder(folder) as handle:
        for index, (_, labels) in zip(part, texts, strict=True):
            write_file(f"{index:06d}.txt", labels, handle)
    clock.append(time.process_time())
    names = (
        "scenes (elements, places, what is hidden)",
        "painting",
        "PNG encoding",
        "metadata and labels",
        "creating PNG files",
        "creating label files",
    )
    return {name: end - begin for name, begin, end in zip(names, clock, clock[1:], strict=False)}


def _texts(scene: Scene) -> tuple[bytes, bytes]:
    line = record_line(scene, "images/00000/000000.png", caption(scene.elements))
    return line.encode(), yolo_labels(scene).encode()


def memory(root: Path) -> None:
    """The peak of the largest process for ten times as many pictures."""
    peaks = {}
    for layout, extra in (("files", []), ("shards", ["--shards", "4"])):
        for count in (10_000, 100_000):
            target = root / f"{layout}{count}"
            _, _, peaks[count] = run([*synth_command(target, count, 2), *extra])
            print(f"{layout}: {count} pictures, peak {peaks[count] / 1024:.1f} MiB", flush=True)
        print(f"{layout}: {peaks[100_000] / peaks[10_000] - 1:+.1%} from 10,000 to 100,000")


def main() -> None:
    """Reads the words and runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000, help="pictures of synth a round")
    parser.add_argument("--plain-count", type=int, default=6_000, help="pictures of a plain loop a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="measure the memory instead of the speed")
    parser.add_argument("--directory", type=Path, default=Path(), help="where to write; emptied at the end")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--shrink", choices=SHRINK, default="resize", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain is not None:
        plain_loop(options.plain, options.count, SHRINK[options.shrink])
        return
    # All is removed at the end alone: some file systems make new files slowly right after a removal.
    if options.directory:
        options.directory.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="synth-benchmark-", dir=options.directory))
    try:
        if options.memory:
            memory(root)
        else:
            compare(root, options.count, options.plain_count, options.rounds)
            breakdown(root, 4_000)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
