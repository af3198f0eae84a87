"""How fast inversion is, against its floor and against the plain loop, in one run.

    python benchmarks/inversion.py speed [--model DIR] [--steps 20] [--threads 1] [--out FILE.json]
    python benchmarks/inversion.py budget --out DIR [--fast-runs 4] [--paper-runs 2] [--shard 1/2]

`speed` interleaves, step by step, on the same picture, batch and number of steps:

- floor: bare UNet forward and backward to the text states for m = 1…5, latents and states made beforehand;
- exact: `invert` for m = 1…5 together, as `--preset paper` sets it;
- plain: one loop a token count as the public example does it (plain_inversion.py).

It does so on the bundled model (or `--model`) and on a randomly initialized pipeline of Stable Diffusion
1.5's proportions at reduced width. On the former it then learns the picture once with the whole budget
`fast`, and holds that against all the steps that `paper` asks of the plain loops. Both wall and CPU seconds
are reported: on a machine that does other work too, CPU seconds on one thread are the ones to compare.

`budget` scores pictures that are declared below with the presets `paper` and `fast`, both in the prompts
that `--templates` names, each in so many runs with seeds 0, 1, … (which are of the drawings, too; those of
`score --repeats` share theirs). It reports the mean |d_fast − d_paper| at each m, of single runs and of their
means; how far runs of `paper` are from each other; and what either would be by the chance of drawings alone.
It goes on where it was stopped. With `--shard` it scores a part of the pictures and reports nothing: a run of
all finds what parts have done.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from plain_inversion import PlainInversion
from runs import Sampled, scored
from timing import CLOCKS, Seconds, matmul_rate, median, ratio, timed

from origcli.inversion import cost
from origcli.inversion.denoising import make_samples
from origcli.inversion.draws import step_draws
from origcli.inversion.embeddings import learning_rates
from origcli.inversion.optimization import invert
from origcli.inversion.preparation import encode
from origcli.inversion.templates import read_templates
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.opening import open_model
from origcli.models.pipeline import DiffusionModel
from origcli.runtime.context import Runtime
from origcli.settings import InvertSettings, resolve

COUNTS = (1, 2, 3, 4, 5)
WARM_UP = 1

# The pictures of `budget`, declared before any of them was scored: the first of each category's query set.
QUERY_SEED = 20240601
QUERY_CATEGORIES = ("common", "rare", "unseen")


def reduced_stable_diffusion(seed: int = 0) -> DiffusionModel:
    """Stable Diffusion 1.5 at an eighth of its widths, at 256 pixels, with its depths and lengths.

    The heads are fewer, not narrower: narrow ones would cost a share that the real model does not pay.
    """
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
            num_attention_heads=2,
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
        attention_head_dim=(1, 2, 4, 4),
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
    parts = {
        "vae": vae,
        "unet": unet.to(memory_format=torch.channels_last),
        "text_encoder": text,
        "tokenizer": tokenizer,
        "scheduler": scheduler,
    }
    return DiffusionModel(
        name="reduced-sd15",
        source="random",
        weights_hash="",
        family=StableDiffusion(parts),
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


class Bench:
    """The three ways on one model: same picture, batch and steps, in turn step by step."""

    def __init__(self, model: DiffusionModel, settings: InvertSettings, path: Path) -> None:
        self.model, self.settings = model, settings
        self.templates = read_templates(settings.templates)
        noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        self.image = Image.fromarray(noise).resize((model.resolution,) * 2, Image.Resampling.BICUBIC)
        self.image.save(path)
        self.posterior = encode(model, self.image, "picture")
        self.samples = settings.batch_size * len(COUNTS)
        rate = learning_rates(model, settings.learning_rate)["clip"]
        self.loops = [
            PlainInversion(model, path, m, self.templates, settings.batch_size, rate) for m in COUNTS
        ]
        self.times: dict[str, list[Seconds]] = {"exact": [], "floor": [], "plain": []}
        self.rates: list[float] = []

    def run(self, steps: int) -> dict[str, Any]:
        """Learns for so many steps after one to warm up; the other ways make theirs after each."""
        left = Seconds.now()

        def watch(step: int, vectors: Any) -> None:
            nonlocal left
            took = {"exact": Seconds.now() - left, "floor": self._floor(step), "plain": self._plain()}
            if WARM_UP < step <= WARM_UP + steps:  # the one after these ends with an evaluation
                for way, seconds in took.items():
                    self.times[way].append(seconds)
                self.rates.append(matmul_rate()["cpu"])
                shown = ", ".join(f"{way} {seconds.cpu:.2f} s" for way, seconds in took.items())
                print(f"  step {step}: {shown}", flush=True)
            left = Seconds.now()

        changes = {"steps": WARM_UP + steps + 1, "preview_every": 1, "evaluate_samples": 1}
        settings = self.settings.model_copy(update={**changes, "micro_batch": self.samples})
        invert(self.model, [self.image], ["picture"], COUNTS, settings, Runtime(), watch=watch)
        return self._summary()

    def _floor(self, step: int) -> Seconds:
        """Bare UNet forward and backward to the text states; all else is made before."""
        draws = step_draws(
            0,
            self.posterior.key,
            step,
            size=self.settings.batch_size,
            noising=self.model.noising,
            templates=len(self.templates),
            latent_shape=self.model.latent_shape,
        )
        rows = torch.arange(len(self.templates))
        made = make_samples(self.model, self.posterior, draws, rows)
        noisy, target = (x.repeat(len(COUNTS), 1, 1, 1) for x in (made.noisy, made.target))
        times = made.times.repeat(len(COUNTS))
        width = self.model.denoiser.config.cross_attention_dim
        length = self.model.words.encoders[0].length
        states = torch.randn(self.samples, length, width, requires_grad=True)

        def work() -> None:
            predicted = self.model.denoiser(noisy, times, states).sample
            (predicted - target).square().mean().backward()

        return timed(work)

    def _plain(self) -> Seconds:
        """A step of the loop of each token count."""
        return timed(lambda: [loop.step() for loop in self.loops])

    def _summary(self) -> dict[str, Any]:
        flops = cost.count_flops(self.model)
        batch = self.settings.batch_size
        unet, text = flops.unet + flops.unet_backward, flops.text + flops.text_backward
        exact = unet + cost.expected_distinct(batch, len(self.templates)) / batch * text
        rate = statistics.median(self.rates)
        seconds = median(self.times["exact"], "cpu")
        return {
            "model": self.model.name,
            "batch_size": batch,
            "steps_timed": len(self.rates),
            "flops_a_sample": asdict(flops),
            "seconds": {way: [asdict(t) for t in found] for way, found in self.times.items()},
            **{
                f"exact_over_floor_{clock}": ratio(self.times["exact"], self.times["floor"], clock)
                for clock in CLOCKS
            },
            **{
                f"plain_over_exact_{clock}": ratio(self.times["plain"], self.times["exact"], clock)
                for clock in CLOCKS
            },
            "exact_over_floor_flops": exact / unet,
            "plain_over_exact_flops": (flops.vae + unet + text) / exact,
            "exact_gflop_a_step": self.samples * exact / 1e9,
            "matmul_gflop_a_second": rate,
            "exact_share_of_matmul_rate": self.samples * exact / seconds / 1e9 / rate,
        }


def fast_run(bench: Bench, paper_steps: int) -> dict[str, Any]:
    """A whole `fast` inversion: its samples through the UNet, and its time against the plain loops'."""
    fast = resolve(presets=("small", "fast"), environment={})[0].invert
    fast = fast.model_copy(update={"micro_batch": fast.batch_size * len(COUNTS)})
    samples = 0

    def count(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal samples
        samples += len(inputs[0])

    handle = bench.model.denoiser.register_forward_pre_hook(count)
    try:
        took = timed(lambda: invert(bench.model, [bench.image], ["picture"], COUNTS, fast, Runtime()))
    finally:
        handle.remove()
    plain = {clock: paper_steps * median(bench.times["plain"], clock) for clock in CLOCKS}
    return {
        "fast_unet_samples": samples,
        "fast_unet_samples_at_most": cost.work(fast, len(COUNTS), len(bench.templates)).samples,
        "fast_seconds": asdict(took),
        **{f"plain_paper_over_fast_{clock}": plain[clock] / getattr(took, clock) for clock in CLOCKS},
    }


def speed(arguments: argparse.Namespace) -> None:
    """The `speed` command."""
    torch.set_num_threads(arguments.threads)
    paper = resolve(presets=("paper",), environment={})[0].invert
    results = []
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        ways: list[tuple[Callable[[], DiffusionModel], int, int]] = [
            (lambda: open_model(arguments.model, Runtime())[1], arguments.batch_size, arguments.steps),
            (reduced_stable_diffusion, arguments.reduced_batch_size, arguments.reduced_steps),
        ]
        for make, batch_size, steps in ways:
            model = make()
            print(f"{model.name}: batch {batch_size}")
            settings = paper.model_copy(update={"batch_size": batch_size})
            bench = Bench(model, settings, picture)
            results.append(bench.run(steps))
            if make is not reduced_stable_diffusion and not arguments.without_fast:
                results[-1] |= fast_run(bench, paper.steps)
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


PRESETS = ("fast", "paper")


def budget(arguments: argparse.Namespace) -> None:
    """The `budget` command."""
    paths = declared_queries(arguments.out / "queries", arguments.images)
    runs: dict[str, list[Sampled]] = {preset: [] for preset in PRESETS}
    made_by: dict[str, list[Any]] = {preset: [] for preset in PRESETS}
    for preset, count in zip(PRESETS, (arguments.fast_runs, arguments.paper_runs), strict=True):
        for seed in range(count):
            drawn, provenance = preset_run(paths, preset, seed, arguments)
            runs[preset].append(drawn)
            made_by[preset].append(provenance)
    if arguments.shard is not None:
        return
    fast, paper = runs["fast"], runs["paper"]
    gaps = {
        "fast, paper": mean_gap(product(fast, paper)),
        "means of the runs of fast, of paper": gap_by_m(fast, paper),
    }
    if len(paper) > 1:
        gaps["paper, paper"] = mean_gap(combinations(paper, 2))
    summary = {
        "images": len(paths),
        "drawings": arguments.drawings,
        "runs": {preset: len(of) for preset, of in runs.items()},
        "mean_gap_by_m": gaps,
    }
    curves = {preset: [means(run) for run in of] for preset, of in runs.items()}
    print(json.dumps(summary, indent=2))
    (arguments.out / "budget.json").write_text(
        json.dumps({**summary, "curves": curves, "provenance": made_by}, indent=2) + "\n", "utf-8"
    )


def preset_run(
    paths: list[Path], preset: str, seed: int, arguments: argparse.Namespace
) -> tuple[Sampled, Any]:
    """What `origcli score` finds with a preset and a run seed, and what it was made by."""
    part = "" if arguments.shard is None else "-" + arguments.shard.replace("/", "-of-")
    directory = arguments.out / f"{preset}{f'-seed-{seed}' if seed else ''}{part}"
    flags = {
        "score": {"model": arguments.model, "samples": arguments.drawings},
        "invert": {"templates": arguments.templates},
        "runtime": {"threads": arguments.threads, "dtype": arguments.dtype, "seed": seed},
    }
    sampled, made_by = scored(
        paths, flags, directory, arguments.out / "cache", preset=preset, shard=arguments.shard
    )
    return sampled, made_by.model_dump(mode="json")


def means(run: Sampled) -> dict[str, dict[int, float]]:
    """The distances of a run: means over drawings."""
    return {name: {m: statistics.fmean(found) for m, found in by_m.items()} for name, by_m in run.items()}


def gap_by_m(some: Sequence[Sampled], others: Sequence[Sampled]) -> dict[int, dict[str, float]]:
    """At each m the mean over pictures of |difference| of their distances, which are means over runs.

    And what it would be by the chance of drawings alone: the mean size of a normal difference about zero,
    √(2/π) of its standard error.
    """
    found = {}
    for m in COUNTS:
        pairs = [([run[name][m] for run in some], [run[name][m] for run in others]) for name in some[0]]
        differences = [abs(_mean(a) - _mean(b)) for a, b in pairs]
        errors = [math.hypot(_standard_error(a), _standard_error(b)) for a, b in pairs]
        found[m] = {
            "measured": statistics.fmean(differences),
            "by_drawings_alone": math.sqrt(2 / math.pi) * statistics.fmean(errors),
        }
    return found


def mean_gap(pairs: Iterable[tuple[Sampled, Sampled]]) -> dict[int, dict[str, float]]:
    """The mean over pairs of single runs of their `gap_by_m`."""
    gaps = [gap_by_m([one], [other]) for one, other in pairs]
    return {m: {name: statistics.fmean(gap[m][name] for gap in gaps) for name in gaps[0][m]} for m in gaps[0]}


def _mean(runs: Sequence[Sequence[float]]) -> float:
    return statistics.fmean(statistics.fmean(run) for run in runs)


def _standard_error(runs: Sequence[Sequence[float]]) -> float:
    """Of the mean over runs, by the chance of their drawings."""
    return math.hypot(*(statistics.stdev(run) / math.sqrt(len(run)) for run in runs)) / len(runs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    measured = commands.add_parser("speed")
    measured.set_defaults(run=speed)
    measured.add_argument("--model", default="shapes")
    measured.add_argument("--threads", type=int, default=1)
    measured.add_argument("--batch-size", type=int, default=20)
    measured.add_argument("--steps", type=int, default=20)
    measured.add_argument("--reduced-batch-size", type=int, default=4)
    measured.add_argument("--reduced-steps", type=int, default=8)
    measured.add_argument("--without-fast", action="store_true", help="leave out the whole fast inversion")
    measured.add_argument("--out", type=Path)
    compared = commands.add_parser("budget")
    compared.set_defaults(run=budget)
    compared.add_argument("--model", default="shapes")
    compared.add_argument("--images", type=int, default=12)
    compared.add_argument("--drawings", type=int, default=20, help="of each picture and m")
    compared.add_argument("--fast-runs", type=int, default=1, help="with `fast`: run seeds 0, 1, …")
    compared.add_argument("--paper-runs", type=int, default=1, help="with `paper`, likewise")
    compared.add_argument("--templates", default="photo", help="fast's own; see score --help")
    compared.add_argument("--threads", type=int)
    compared.add_argument("--dtype", default="auto")
    compared.add_argument("--shard", metavar="I/N")
    compared.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
