"""How fast inversion is, against its floor and against the plain loop, in one run.

    python benchmarks/inversion.py speed [--model DIR] [--rounds 3] [--threads 1] [--out FILE.json]
    python benchmarks/inversion.py budget --model DIR --out DIR [--images 12]

`speed` interleaves, round by round, on the same picture, batch and number of steps:

- floor: bare UNet forward and backward to the text states for m = 1…5, latents and states made beforehand;
- exact: `invert` for m = 1…5 together, as `--preset paper` sets it;
- plain: one loop a token count as the public example does it (plain_inversion.py).

It does so on the bundled model (or `--model`) and on a randomly initialised pipeline of Stable Diffusion
1.5's proportions at reduced width. Both wall and CPU seconds are reported: on a machine that does other
work too, CPU seconds on one thread are the ones to compare.

`budget` scores pictures that are declared below with the presets `paper` and `fast` and reports the mean
|d_fast − d_paper| at each m. It goes on where it was stopped.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from plain_inversion import PlainInversion
from torch import Tensor

from origcli.inversion import cost
from origcli.inversion.denoising import Samples, make_samples
from origcli.inversion.draws import step_draws
from origcli.inversion.optimisation import invert
from origcli.inversion.preparation import encode, noise_schedule
from origcli.inversion.templates import read_templates
from origcli.models.opening import open_model
from origcli.models.pipeline import DiffusionModel
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.memory import slices
from origcli.settings import InvertSettings, resolve

COUNTS = (1, 2, 3, 4, 5)
WARM_UP = 1

# The pictures of `budget`, declared before any of them was scored: the first of each category's query set.
QUERY_SEED = 20240601
QUERY_CATEGORIES = ("common", "rare", "unseen")


@dataclass(frozen=True)
class Seconds:
    """Wall and CPU seconds of some work."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Seconds":
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


def reduced_stable_diffusion(seed: int = 0) -> DiffusionModel:
    """Stable Diffusion 1.5 at an eighth of its widths, at 256 pixels, with its depths and lengths."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    width = 96
    tokenizer = _letters_tokenizer()
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(40, 80, 160, 160),
        cross_attention_dim=width,
        attention_head_dim=(1, 2, 4, 4),  # heads; each is 40 wide, as Stable Diffusion's narrowest are
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        sample_size=256,
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=8,
    )
    for module in (text, unet, vae):
        module.requires_grad_(False).eval()
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    return DiffusionModel(
        name="reduced-sd15",
        source="random",
        weights_hash="",
        vae=vae,
        unet=unet.to(memory_format=torch.channels_last),
        text_encoder=text,
        tokenizer=tokenizer,
        scheduler=scheduler,
        device=torch.device("cpu"),
        dtype=torch.float32,
        guidance=7.5,
    )


def _letters_tokenizer() -> Any:
    """A CLIP tokenizer that reads letter by letter, with a vocabulary as large as the real one."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    pieces += [f"[unused{i}]" for i in range(49406 - len(pieces))]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=77)


def matmul_rate() -> float:
    """GFLOP/s of an fp32 matrix product, by CPU second: the rate that shares are taken of."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    a @ b
    began = Seconds.now()
    for _ in range(10):
        a @ b
    return 10 * 2 * 1024**3 / (Seconds.now() - began).cpu / 1e9


class Bench:
    """The three ways on one model: same picture, batch and steps."""

    def __init__(self, model: DiffusionModel, settings: InvertSettings, steps: int, path: Path) -> None:
        self.model, self.settings, self.steps, self.path = model, settings, steps, path
        self.templates = read_templates(settings.templates)
        noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        self.image = Image.fromarray(noise).resize((model.resolution,) * 2, Image.Resampling.BICUBIC)
        self.image.save(path)
        self.micro_batch = settings.micro_batch or settings.batch_size * len(COUNTS)

    def floor(self) -> Seconds:
        """Bare UNet forward and backward to the text states; all else was made before."""
        query, schedule = encode(self.model, self.image, "picture"), noise_schedule(self.model)
        rows = torch.arange(len(self.templates))
        made = [
            make_samples(self.model, query, self._draws(query.key, i), schedule, rows)
            for i in range(self.steps)
        ]
        width = self.model.unet.config.cross_attention_dim
        states = torch.randn(self.settings.batch_size * len(COUNTS), self.model.max_length, width)
        for samples in made[:WARM_UP]:
            self._bare(samples, states)
        began = Seconds.now()
        for samples in made[WARM_UP:]:
            self._bare(samples, states)
        return Seconds.now() - began

    def _draws(self, key: str, step: int) -> Any:
        return step_draws(
            0,
            key,
            step,
            size=self.settings.batch_size,
            timesteps=1000,
            templates=len(self.templates),
            latent_shape=self.model.latent_shape,
        )

    def _bare(self, samples: Samples, states: Tensor) -> None:
        noisy, target = (x.repeat(len(COUNTS), 1, 1, 1) for x in (samples.noisy, samples.target))
        timesteps = samples.timesteps.repeat(len(COUNTS))
        for part in slices(len(states), self.micro_batch):
            leaf = states[part].requires_grad_()
            predicted = self.model.unet(noisy[part], timesteps[part], leaf).sample
            (predicted - target[part]).square().mean().backward()

    def exact(self) -> Seconds:
        """`invert`, from the end of its first step to the end of its last but one."""
        marks: list[Seconds] = []
        settings = self.settings.model_copy(
            update={
                "steps": self.steps + 1,
                "preview_every": 1,
                "micro_batch": self.micro_batch,
                "evaluate_samples": 1,  # before the first step and after the last: not timed
            }
        )
        watch = lambda step, vectors: marks.append(Seconds.now())  # noqa: E731
        invert(self.model, [self.image], ["picture"], COUNTS, settings, Runtime(), watch=watch)
        return marks[self.steps - 1] - marks[WARM_UP - 1]

    def plain(self) -> Seconds:
        """A loop for each token count, one after the other."""
        total = Seconds(0, 0)
        for m in COUNTS:
            loop = PlainInversion(
                self.model,
                self.path,
                m,
                self.templates,
                self.settings.batch_size,
                self.settings.learning_rate,
            )
            for _ in range(WARM_UP):
                loop.step()
            began = Seconds.now()
            for _ in range(self.steps - WARM_UP):
                loop.step()
            took = Seconds.now() - began
            total = Seconds(total.wall + took.wall, total.cpu + took.cpu)
        return total

    def run(self, rounds: int) -> dict[str, Any]:
        """All three in turn, round by round; the ratios of each round, and their medians."""
        ways: dict[str, Callable[[], Seconds]] = {
            "floor": self.floor,
            "exact": self.exact,
            "plain": self.plain,
        }
        times: dict[str, list[Seconds]] = {way: [] for way in ways}
        rates = []
        for number in range(rounds):
            rates.append(matmul_rate())
            for way, work in ways.items():
                times[way].append(work())
            print(f"  round {number + 1}: " + ", ".join(f"{w} {t[-1].cpu:.1f} s" for w, t in times.items()))
        return self._summary(times, rates)

    def _summary(self, times: Mapping[str, Sequence[Seconds]], rates: Sequence[float]) -> dict[str, Any]:
        flops = cost.count_flops(self.model)
        samples = (self.steps - WARM_UP) * self.settings.batch_size * len(COUNTS)
        unet = flops.unet + flops.unet_backward
        text = flops.text + flops.text_backward
        distinct = (
            cost.expected_distinct(self.settings.batch_size, len(self.templates)) / self.settings.batch_size
        )
        exact_flops, plain_flops = samples * (unet + distinct * text), samples * (flops.vae + unet + text)

        def ratio(way: str, base: str, clock: str) -> float:
            pairs = zip(times[way], times[base], strict=True)
            return statistics.median(getattr(a, clock) / getattr(b, clock) for a, b in pairs)

        exact_cpu = statistics.median(t.cpu for t in times["exact"])
        rate = statistics.median(rates)
        return {
            "model": self.model.name,
            "batch_size": self.settings.batch_size,
            "steps_timed": self.steps - WARM_UP,
            "unet_samples": samples,
            "flops_a_sample": asdict(flops),
            "seconds": {way: [asdict(t) for t in found] for way, found in times.items()},
            **{f"exact_over_floor_{clock}": ratio("exact", "floor", clock) for clock in ("cpu", "wall")},
            **{f"plain_over_exact_{clock}": ratio("plain", "exact", clock) for clock in ("cpu", "wall")},
            "exact_over_floor_flops": exact_flops / (samples * unet),
            "plain_over_exact_flops": plain_flops / exact_flops,
            "exact_gflop": exact_flops / 1e9,
            "matmul_gflop_a_second": rate,
            "exact_share_of_matmul_rate": exact_flops / exact_cpu / 1e9 / rate,
        }


def speed(arguments: argparse.Namespace) -> None:
    """The `speed` command."""
    torch.set_num_threads(arguments.threads)
    paper = resolve(presets=("paper",), environment={})[0].invert
    results = []
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        given = open_model(arguments.model, Runtime())[1]
        print(f"{given.name}: batch {arguments.batch_size}, {arguments.steps} steps a round")
        settings = paper.model_copy(update={"batch_size": arguments.batch_size})
        results.append(Bench(given, settings, arguments.steps, picture).run(arguments.rounds))
        reduced = reduced_stable_diffusion()
        print(
            f"{reduced.name}: batch {arguments.reduced_batch_size}, {arguments.reduced_steps} steps a round"
        )
        settings = paper.model_copy(update={"batch_size": arguments.reduced_batch_size})
        results.append(Bench(reduced, settings, arguments.reduced_steps, picture).run(arguments.rounds))
    for result in results:
        print(
            json.dumps({k: v for k, v in result.items() if k not in ("seconds", "flops_a_sample")}, indent=2)
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def declared_queries(directory: Path, count: int) -> list[Path]:
    """Writes the declared pictures: the first ones of the query set of each category, in turn."""
    from origcli.scenes.mixtures import Recipe, Sampler
    from origcli.scenes.rendering import render

    directory.mkdir(parents=True, exist_ok=True)
    synth = resolve(environment={})[0].synth
    paths = []
    for i in range(count):
        category = QUERY_CATEGORIES[i % len(QUERY_CATEGORIES)]
        settings = synth.model_copy(
            update={"mixture": "originality", "category": category, "no_overlap": True}
        )
        scene = Sampler(Recipe(settings, QUERY_SEED)).scene(i // len(QUERY_CATEGORIES))
        paths.append(directory / f"{category}-{i // len(QUERY_CATEGORIES)}.png")
        Image.fromarray(render(scene, synth.resolution)).save(paths[-1])
    return paths


def budget(arguments: argparse.Namespace) -> None:
    """The `budget` command."""
    from origcli.experiments.originality import Request
    from origcli.experiments.originality import run as score
    from origcli.reports.writers import read_report
    from origcli.runtime.inputs import find_inputs
    from origcli.runtime.progress import open_progress

    paths = declared_queries(arguments.out / "queries", arguments.images)
    curves: dict[str, dict[str, dict[int, float]]] = {}
    took: dict[str, float] = {}
    for preset in ("fast", "paper"):
        flags = {"score": {"model": arguments.model}, "runtime": {"threads": arguments.threads}}
        settings = resolve(flags, presets=("small", preset), environment={})[0]
        began = time.perf_counter()
        with open_runtime(settings.runtime, arguments.out / preset, open_progress(), "use") as runtime:
            score(
                Request(find_inputs([str(path) for path in paths])), settings, runtime, lambda outcome: None
            )
        took[preset] = time.perf_counter() - began
        report = read_report(arguments.out / preset, "score")
        curves[preset] = {r.id: {p.m: p.distance.value for p in r.curve} for r in report.results}
    gaps = {
        m: statistics.fmean(
            abs(curves["fast"][name][m] - curves["paper"][name][m]) for name in curves["paper"]
        )
        for m in COUNTS
    }
    result = {"images": len(curves["paper"]), "mean_gap_by_m": gaps, "curves": curves, "seconds": took}
    print(json.dumps({"images": result["images"], "mean_gap_by_m": gaps}, indent=2))
    (arguments.out / "budget.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    timed = commands.add_parser("speed")
    timed.set_defaults(run=speed)
    timed.add_argument("--model", default="shapes")
    timed.add_argument("--rounds", type=int, default=3)
    timed.add_argument("--threads", type=int, default=1)
    timed.add_argument("--batch-size", type=int, default=20)
    timed.add_argument("--steps", type=int, default=11)
    timed.add_argument("--reduced-batch-size", type=int, default=4)
    timed.add_argument("--reduced-steps", type=int, default=3)
    timed.add_argument("--out", type=Path)
    compared = commands.add_parser("budget")
    compared.set_defaults(run=budget)
    compared.add_argument("--model", default="shapes")
    compared.add_argument("--images", type=int, default=12)
    compared.add_argument("--threads", type=int)
    compared.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
