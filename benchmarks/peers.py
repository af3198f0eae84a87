"""Commands of origcli against what people would run instead: CPU seconds of whole processes, in turn.

    python benchmarks/peers.py [--rows synth detect invert train-unet train-vae] [--rounds 3]
        [--diffusers CHECKOUT] [--out FILE]

Each command is run for a small and for a large amount of work, on one thread. The difference is what a unit
of work costs; what is left of the small one is its start and end. `--diffusers` names a checkout of that
repository, whose `examples/` are run as they are, but for the text encoder: they know CLIP's alone, and get
the bundled model's BERT in its place. Without it their rows are left out. `bare` is no peer but the floor:
forward, backward and AdamW on one batch that is already in memory.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from detection import export_checkpoint, make_pictures
from synth import RESOLUTION, run, synth_command

from origcli.detection.reporting import detector_directory
from origcli.settings import resolve
from origcli.training.vae import VaeObjective, initial_vae
from origcli.weights.registry import bundled_directory

OURS = "origcli"
COUNTS = range(1, 6)
BATCH = 20  # of learning tokens, as `paper` has it
TRAINING_BATCH = 32
TRAINING_IMAGES, HELD_OUT = 1024, 64
SCRIPTS = {
    "invert": "examples/textual_inversion/textual_inversion.py",
    "train-unet": "examples/text_to_image/train_text_to_image.py",
}

# What a public script is run by: where it opens CLIP, it gets the bundled model's BERT.
WITH_BERT = """
import sys
from pathlib import Path
from transformers import AutoTokenizer, BertConfig, BertModel

class Encoder(BertModel):
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        # Other names for modules that the script freezes; not registered twice, so each is saved once.
        self.__dict__["final_layer_norm"] = self.encoder.layer[-1].output.LayerNorm
        self.embeddings.__dict__["position_embedding"] = self.embeddings.position_embeddings

    @classmethod
    def from_pretrained(cls, pipeline, subfolder, **others):
        return cls(BertConfig.from_pretrained(pipeline, subfolder=subfolder))

sys.argv = sys.argv[1:]
source = Path(sys.argv[0]).read_text("utf-8")
for clip, bert in (("CLIPTextModel", "Encoder"), ("CLIPTokenizer", "AutoTokenizer")):
    source = source.replace(f"{clip}.from_pretrained(", f"{bert}.from_pretrained(")
exec(compile(source, sys.argv[0], "exec"))
"""

# The commands that do an amount of work; what they write goes under the path.
Work = Callable[[int, Path], list[list[str]]]


@dataclass(frozen=True)
class Row:
    """Ways to do one thing, and the two amounts of it that are timed.

    Attributes:
        unit: what is counted.
    """

    unit: str
    amounts: tuple[int, int]
    ways: Mapping[str, Work]


def origcli(*words: object) -> list[str]:
    """A command line of ours."""
    return [sys.executable, "-m", "origcli", *map(str, words), "--quiet"]


def synth_row(place: Path, checkout: Path | None) -> Row:
    """Files and labels of 64 pixels."""
    plain = [sys.executable, str(Path(__file__).with_name("synth.py"))]

    def loop(shrink: str) -> Work:
        return lambda count, out: [[*plain, "--count", str(count), "--shrink", shrink, "--plain", str(out)]]

    peers = {f"a plain loop, {shrink}": loop(shrink) for shrink in ("resize", "reduce")}
    return Row("image", (200, 3000), {OURS: lambda count, out: [synth_command(out, count, 1)], **peers})


def detect_row(place: Path, checkout: Path | None) -> Row:
    """Elements in PNG files."""
    checkpoint = place / "detector.pt"
    export_checkpoint(detector_directory("shapes"), checkpoint)
    amounts = (1, 2000)
    folders = {count: make_pictures(place / f"detect-{count}", count) for count in amounts}
    own = resolve({}, environment={})[0].detect

    def yolo(batch: int) -> Work:
        options = {
            "model": checkpoint, "imgsz": RESOLUTION, "conf": own.confidence, "iou": own.iou,
            "agnostic_nms": True, "device": "cpu", "batch": batch, "save": False, "verbose": False,
        }  # fmt: skip
        command = [str(Path(sys.executable).with_name("yolo")), "predict"]
        command += [f"{name}={value}" for name, value in options.items()]
        return lambda count, out: [[*command, f"source={folders[count]}/**/*.png", f"project={out}"]]

    def ours(count: int, out: Path) -> list[list[str]]:
        return [origcli("detect", folders[count], "--format", "csv", "--threads", 1)]

    return Row("image", amounts, {OURS: ours, "yolo predict": yolo(1), "yolo predict batch=32": yolo(32)})


def invert_row(place: Path, checkout: Path | None) -> Row:
    """A step of learning one to five tokens of an image, batches of 20."""
    folder = place / "image"
    folder.mkdir()
    image = folder / "example.png"
    image.write_bytes((bundled_directory() / "example.png").read_bytes())

    def ours(steps: int, out: Path) -> list[list[str]]:
        return [
            origcli(
                "invert", image, "--model", "shapes", "--tokens", "1-5", "--learning-steps", steps,
                "--batch-size", BATCH, "--templates", "object", "--no-early-stop", "--threads", 1,
                "--out", out,
            )
        ]  # fmt: skip

    def public(steps: int, out: Path) -> list[list[str]]:
        return [
            script(
                checkout, "invert", train_data_dir=folder, placeholder_token="<s>", initializer_token="red",
                num_vectors=m, resolution=RESOLUTION, train_batch_size=BATCH, max_train_steps=steps,
                output_dir=out / str(m),
            )
            for m in COUNTS
        ]  # fmt: skip

    return Row("step", (4, 36), {OURS: ours} | ({"diffusers' script": public} if checkout else {}))


def train_unet_row(place: Path, checkout: Path | None) -> Row:
    """A step of training the UNet, with a moving average."""
    data = training_data(place)

    def ours(steps: int, out: Path) -> list[list[str]]:
        words = ["train-unet", data, "--vae", bundled_directory(), "--text-encoder", "shapes"]
        return [origcli(*words, *training_options(steps, out))]

    def public(steps: int, out: Path) -> list[list[str]]:
        return [
            script(
                checkout, "train-unet", train_data_dir=data / "folder", resolution=RESOLUTION, use_ema=True,
                train_batch_size=TRAINING_BATCH, max_train_steps=steps, output_dir=out,
            )
        ]  # fmt: skip

    return Row("step", (8, 64), {OURS: ours} | ({"diffusers' script": public} if checkout else {}))


def train_vae_row(place: Path, checkout: Path | None) -> Row:
    """A step of training the VAE."""
    data = training_data(place)
    return Row(
        "step",
        (16, 128),
        {
            OURS: lambda steps, out: [origcli("train-vae", data, *training_options(steps, out))],
            "bare": lambda steps, out: [[sys.executable, __file__, "--bare-vae", str(steps)]],
        },
    )


def bare_vae(steps: int) -> None:
    """Trains on one batch that is already in memory."""
    torch.set_num_threads(1)
    own = resolve({}, presets=("small",), environment={})[0].vae
    vae = initial_vae(own, RESOLUTION, 0, None).to(memory_format=torch.channels_last)
    objective = VaeObjective(vae, own)
    optimizer = torch.optim.AdamW(vae.parameters(), own.learning_rate, fused=True)
    pixels = torch.randint(0, 256, (TRAINING_BATCH, RESOLUTION, RESOLUTION, 3), dtype=torch.uint8)
    side = RESOLUTION >> (len(own.channels) - 1)
    noise = torch.randn(TRAINING_BATCH, own.latent_channels, side, side)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(pixels, noise)["loss"].mean().backward()
        optimizer.step()


ROWS: dict[str, Callable[[Path, Path | None], Row]] = {
    "synth": synth_row,
    "detect": detect_row,
    "invert": invert_row,
    "train-unet": train_unet_row,
    "train-vae": train_vae_row,
}


def training_data(place: Path) -> Path:
    """A data set, made once; in it `folder/`, the same images as the public script reads them."""
    data = place / "data"
    if not data.exists():
        run([*synth_command(data, TRAINING_IMAGES + HELD_OUT, 1), "--mixture", "originality"])
        folder = data / "folder"
        folder.mkdir()
        lines = []
        for number, line in enumerate((data / "metadata.jsonl").read_text("utf-8").splitlines()):
            row = json.loads(line)
            name = f"{number}.png"
            (folder / name).write_bytes((data / row["file_name"]).read_bytes())
            lines.append(json.dumps({"file_name": name, "text": row["text"]}))
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return data


def training_options(steps: int, out: Path) -> list[object]:
    """Options for this number of steps, too few for a sheet of samples in between."""
    epochs = steps * TRAINING_BATCH / TRAINING_IMAGES
    return ["--epochs", epochs, "--batch-size", TRAINING_BATCH, "--threads", 1, "--out", out]


def script(checkout: Path | None, row: str, **options: object) -> list[str]:
    """The command line of a public script."""
    assert checkout is not None
    words = ["--pretrained_model_name_or_path", str(bundled_directory())]
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return [sys.executable, "-c", WITH_BERT, str(checkout / SCRIPTS[row]), *words]


def measure(row: Row, rounds: int, place: Path) -> dict[str, dict[str, float]]:
    """Medians by way: CPU and wall seconds of a unit, CPU seconds of start and end, and ours against it."""
    small, large = row.amounts
    units: dict[str, list[tuple[float, float]]] = {way: [] for way in row.ways}
    starts: dict[str, list[float]] = {way: [] for way in row.ways}
    wholes: dict[str, list[float]] = {way: [] for way in row.ways}
    for number in range(rounds):
        for way, work in row.ways.items():
            took = {
                amount: seconds(work(amount, place / f"{way}-{number}-{amount}".replace(" ", "-")))
                for amount in row.amounts
            }
            cpu, clock = (
                (after - before) / (large - small)
                for before, after in zip(took[small], took[large], strict=True)
            )
            units[way].append((cpu, clock))
            starts[way].append(took[small][0] - small * cpu)
            wholes[way].append(took[large][0])
            print(f"  {way}: {cpu:.5f} CPU s per {row.unit}, start {starts[way][-1]:.1f}", flush=True)
    return {
        way: {
            "cpu_s_a_unit": statistics.median(cpu for cpu, _ in units[way]),
            "clock_s_a_unit": statistics.median(clock for _, clock in units[way]),
            "cpu_s_start": statistics.median(starts[way]),
            "unit_to_ours": ratio([cpu for cpu, _ in units[way]], [cpu for cpu, _ in units[OURS]]),
            "whole_to_ours": ratio(wholes[way], wholes[OURS]),
        }
        for way in row.ways
    }


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over rounds."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def seconds(commands: Sequence[list[str]]) -> tuple[float, float]:
    """CPU and wall seconds of commands one after the other."""
    took = [run(command) for command in commands]
    return sum(cpu for _, cpu, _ in took), sum(clock for clock, _, _ in took)


def main() -> None:
    """Runs the benchmark and prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--diffusers", type=Path, help="a checkout of the diffusers repository")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--bare-vae", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare_vae is not None:
        return bare_vae(arguments.bare_vae)

    measured = {}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {
            "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ORIGCLI_CACHE": f"{scratch}/cache",
            "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": scratch, "YOLO_AUTOINSTALL": "false",
            "ORIGCLI_VAE_HELD_OUT": str(HELD_OUT),
        }  # fmt: skip
        for name in arguments.rows:
            place = Path(scratch, name)
            place.mkdir()
            print(name, flush=True)
            row = ROWS[name](place, arguments.diffusers)
            measured[name] = {
                "unit": row.unit,
                "amounts": row.amounts,
                "ways": measure(row, arguments.rounds, place),
            }
    found = {"rounds": arguments.rounds, "torch": torch.__version__, "rows": measured}
    print(json.dumps(found, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
