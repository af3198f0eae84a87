"""How fast train-unet is, against bare UNet steps and against a plain loop, in one run.

    python benchmarks/training.py loop [--threads 2] [--steps 10] [--base-steps 3] [--out FILE.json]
    python benchmarks/training.py ways [--threads 2] [--steps 5] [--out FILE.json]
    python benchmarks/training.py denoisers [--threads 1] [--steps 10] [--batch-size 32] [--out FILE.json]

`loop` interleaves, step by step, with the same UNet (of the bundled size), data, batch and threads:

- bare: UNet forward, backward and optimizer on tensors that are in memory already;
- train-unet: the loop of the command (`origcli.training.loop.train`), data loading, random numbers, noise,
  clipping, average of the weights and history included;
- plain: a loop that opens its pictures and encodes pictures and captions in each step, as the public
  text-to-image example of diffusers does. It has our memory format and optimizer, no average of weights, no
  accelerator and no data loader around it, which only helps it.

It does so with the bundled text encoder, and for a few steps with a random one of bert-base's shape.

`ways` compares ways of computing the bare step: memory formats, optimizers, compilation, precision. Run it
with several --threads, and with other allocators by LD_PRELOAD. On one core (`ways --threads 1 --steps 3`)
contiguous weights took 2.8 % longer, AdamW by foreach 2.9 %, tensor by tensor 0.6 %; compiled it took 5.3 %
less after a minute of compilation, which is left to --compile.

`denoisers` takes turns with a step of train-unet's objective and one of train-transformer's, its text
encoders learning too, of the small preset's sizes in bf16: random numbers, forward, backward and optimizer.

Both wall and CPU seconds are reported, and ratios are medians over steps of what ran one after another: on a
machine that does other work too, CPU seconds on one thread are the ones to compare.
"""

import argparse
import copy
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timing import CLOCKS, Seconds, matmul_rate, median, ratio, timed
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from origcli.models.families.stable_diffusion_3 import StableDiffusion3
from origcli.models.noising import diffusion_of
from origcli.models.text_encoder import load_bert, text_states, tokenize
from origcli.models.transformer import build_flow_scheduler
from origcli.models.unet import build_scheduler
from origcli.models.vae import load_vae
from origcli.runtime.atomic import make_directory
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.device import autocast, learning_kernels
from origcli.scenes.dataset import Dataset
from origcli.scenes.mixtures import Recipe
from origcli.scenes.writing import write_dataset
from origcli.settings import Settings, resolve
from origcli.training import flow_matching, transformer
from origcli.training.denoising import DenoisingObjective, Latents, Randoms, compute_features, step_randoms
from origcli.training.features import distinct
from origcli.training.loop import Batch, Job, train
from origcli.training.unet import initial_unet
from origcli.weights.registry import bundled_directory

WARM_UP = 1
Step = Callable[[], Any]


Times = dict[str, list[Seconds]]


def unet_flops(unet: Any, length: int) -> int:
    """Operations of a sample forward and back, to the weights; counted on the meta device."""
    config = unet.config
    with torch.device("meta"):
        empty = type(unet).from_config(config)
        latents = torch.zeros(1, config.in_channels, config.sample_size, config.sample_size)
        states = torch.zeros(1, length, config.cross_attention_dim)
        with FlopCounterMode(display=False) as counter:
            empty(latents, torch.zeros(1, dtype=torch.long), states).sample.sum().backward()
    return int(counter.get_total_flops())


def forward_flops(run: Step) -> int:
    """Operations of `run`."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def fused_adamw(unet: Any, rate: float) -> torch.optim.AdamW:
    """The optimizer of the training loop."""
    return torch.optim.AdamW(unet.parameters(), lr=rate, weight_decay=0.0, fused=True)


class Bare:
    """UNet forward, backward and optimizer on one batch in memory."""

    def __init__(self, unet: Any, optimizer: torch.optim.Optimizer, batch: int, length: int) -> None:
        self.unet, self.optimizer = unet, optimizer
        config = unet.config
        shape = (batch, config.in_channels, config.sample_size, config.sample_size)
        channels_last = unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        self.noisy, self.target = torch.randn(shape), torch.randn(shape)
        if channels_last:
            self.noisy = self.noisy.contiguous(memory_format=torch.channels_last)
        self.timesteps = torch.randint(1000, (batch,))
        self.states = torch.randn(batch, length, config.cross_attention_dim)

    def step(self) -> None:
        predicted = self.unet(self.noisy, self.timesteps, self.states).sample
        (predicted - self.target).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Plain:
    """The loop that encodes in every step."""

    def __init__(
        self, data: Dataset, vae: Any, encoder: Any, tokenizer: Any, unet: Any, settings: Settings
    ) -> None:
        own = settings.unet
        self.data, self.vae, self.encoder, self.tokenizer, self.unet = data, vae, encoder, tokenizer, unet
        self.batch, self.prediction, self.norm = own.batch_size, own.prediction, own.max_grad_norm
        self.optimizer = fused_adamw(unet, own.learning_rate)
        self.schedule = build_scheduler(own)
        self.random = np.random.default_rng(0)
        self.captions = list(data.captions)
        self.files = [data.path / record["file_name"] for record in data.records]

    def _pixels(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as image:
            array = np.asarray(image.convert("RGB"), dtype=np.float32)
        return torch.from_numpy(array / 127.5 - 1).permute(2, 0, 1)

    def step(self) -> float:
        """One step; the loss."""
        chosen = self.random.integers(len(self.files), size=self.batch)
        pixels = torch.stack([self._pixels(int(i)) for i in chosen])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        ids, mask = tokenize(self.tokenizer, [self.captions[i] for i in chosen])
        with torch.no_grad():
            latents = self.vae.encode(pixels).latent_dist.sample() * self.vae.config.scaling_factor
            states = text_states(self.encoder, ids, mask)
        noise = torch.randn_like(latents)
        timesteps = torch.randint(self.schedule.config.num_train_timesteps, (self.batch,))
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        predicted = self.unet(noisy, timesteps, states).sample
        epsilon = self.prediction == "epsilon"
        target = noise if epsilon else self.schedule.get_velocity(latents, noise, timesteps)
        loss = F.mse_loss(predicted, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), self.norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


def interleaved(job: Job, others: Mapping[str, Step], times: Times) -> Job:
    """The job with the other ways' steps before each of its own.

    The loop asks for its random numbers once a step: from there to where it asks again is a whole step.
    """
    left: Seconds | None = None

    def randoms(source: torch.Generator, count: int) -> Batch:
        nonlocal left
        if left is not None:
            times["train-unet"].append(Seconds.now() - left)
            print("  " + ", ".join(f"{way} {took[-1].cpu:.2f} s" for way, took in times.items()), flush=True)
        for name, step in others.items():
            times[name].append(timed(step))
        left = Seconds.now()
        return job.randoms(source, count)

    return Job(**{**vars(job), "randoms": randoms})


def random_bert_base(max_length: int) -> Any:
    """A text encoder of bert-base's shape that reads the bundled vocabulary."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(use_attention_mask=True, max_position_embeddings=max(512, max_length))
    return BertModel(config).requires_grad_(False).eval()


def compare(
    name: str, encoder: Any, tokenizer: Any, data: Dataset, settings: Settings, runtime: Runtime, steps: int
) -> dict[str, Any]:
    """All three ways with one text encoder."""
    own = settings.unet
    vae = load_vae(bundled_directory()).float().to(memory_format=torch.channels_last)
    prompts, rows = distinct(data.captions)
    features = compute_features(vae, encoder, tokenizer, data, prompts, rows, own, runtime)
    latent_shape = tuple(features.moments.shape[2:])
    unet = initial_unet(own, latent_shape, encoder.config.hidden_size, 0, None)
    unet.to(memory_format=torch.channels_last)
    length, batch = tokenizer.model_max_length, own.batch_size
    bare_unet = copy.deepcopy(unet)
    bare = Bare(bare_unet, fused_adamw(bare_unet, own.learning_rate), batch, length)
    plain = Plain(data, vae, encoder, tokenizer, copy.deepcopy(unet), settings)
    scheduler, scale = build_scheduler(own), float(vae.config.scaling_factor)
    job = Job(
        name="train-unet",
        objective=DenoisingObjective(unet, scheduler, own, scale),
        trained=unet,
        samples=Latents(features, 0, len(data)),
        size=len(data),
        randoms=step_randoms(latent_shape, diffusion_of(scheduler)),
        identity={},
    )
    times: Times = {"bare": [], "plain": [], "train-unet": []}
    print(f"{name}: batch {batch}, {torch.get_num_threads()} threads", flush=True)
    rates = [matmul_rate()]
    job = interleaved(job, {"bare": bare.step, "plain": plain.step}, times)
    train(job, own, WARM_UP + steps + 1, runtime, directory=make_directory(runtime.out / name))
    rates.append(matmul_rate())
    times = {way: found[WARM_UP : WARM_UP + steps] for way, found in times.items()}
    flops = unet_flops(unet, length)
    side = data.resolution
    ids = torch.zeros(1, length, dtype=torch.long)
    encoding = forward_flops(lambda: vae.encode(torch.zeros(1, 3, side, side))) + forward_flops(
        lambda: encoder(ids)
    )
    result: dict[str, Any] = {
        "text_encoder": name,
        "unet_parameters": sum(p.numel() for p in unet.parameters()),
        "batch_size": batch,
        "threads": torch.get_num_threads(),
        "steps_timed": steps,
        "unet_gflop_a_sample": flops / 1e9,
        "encoding_gflop_a_sample": encoding / 1e9,
        "plain_over_train_unet_flops": (flops + encoding) / flops,
        "seconds": {way: [asdict(t) for t in found] for way, found in times.items()},
    }
    for clock in CLOCKS:
        result[f"throughput_of_bare_{clock}"] = ratio(times["bare"], times["train-unet"], clock)
        result[f"plain_over_train_unet_{clock}"] = ratio(times["plain"], times["train-unet"], clock)
        seconds = median(times["train-unet"], clock)
        result[f"train_unet_gflop_a_second_{clock}"] = batch * flops / seconds / 1e9
        result[f"matmul_gflop_a_second_{clock}"] = statistics.fmean(rate[clock] for rate in rates)
    return result


def loop(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The `loop` command."""
    settings = small_settings(arguments)
    bundled = bundled_directory()
    encoder, tokenizer = load_bert(bundled / "text_encoder", 512, tokenizer=bundled / "tokenizer")
    encoders = {"bundled": (encoder.float(), arguments.steps)}
    if arguments.base_steps:
        encoders["bert-base"] = (random_bert_base(tokenizer.model_max_length), arguments.base_steps)
    with tempfile.TemporaryDirectory() as folder:
        data = write_dataset(Recipe(settings.synth, 0), Path(folder) / "data")
        with open_runtime(settings.runtime, Path(folder) / "run") as runtime:
            return [
                compare(name, encoder, tokenizer, data, settings, runtime, steps)
                for name, (encoder, steps) in encoders.items()
            ]


def ways(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The `ways` command."""
    settings = small_settings(arguments)
    own = settings.unet
    torch.set_num_threads(arguments.threads)
    unet = initial_unet(own, (4, 8, 8), 128, 0, None)
    length = settings.text_encoder.max_length

    def way(layout: torch.memory_format, compiled: bool = False, **options: Any) -> Step:
        twin = copy.deepcopy(unet).to(memory_format=layout)
        optimizer = torch.optim.AdamW(twin.parameters(), lr=own.learning_rate, weight_decay=0.0, **options)
        if compiled:
            twin.compile()
        return Bare(twin, optimizer, own.batch_size, length).step

    def bf16(step: Step, *contexts: Callable[[], AbstractContextManager[Any]]) -> Step:
        def run() -> None:
            with ExitStack() as stack:
                stack.enter_context(autocast(device, torch.bfloat16))
                for context in contexts:
                    stack.enter_context(context())
                step()

        return run

    device = torch.device("cpu")
    last, first = torch.channels_last, torch.contiguous_format
    steps = {
        "channels last, fused AdamW": way(last, fused=True),
        "contiguous, fused AdamW": way(first, fused=True),
        "channels last, foreach AdamW": way(last, foreach=True),
        "channels last, AdamW tensor by tensor": way(last, foreach=False),
        "channels last, fused AdamW, compiled": way(last, compiled=True, fused=True),
        "bf16, fused attention": bf16(way(last, fused=True)),
        "bf16, attention of --dtype bf16": bf16(
            way(last, fused=True), lambda: learning_kernels(device, torch.bfloat16)
        ),
    }
    times: Times = {name: [] for name in steps}
    for _ in range(WARM_UP + arguments.steps):
        for name, step in steps.items():
            times[name].append(timed(step))
    base = times["channels last, fused AdamW"][WARM_UP:]
    return [
        {
            "way": name,
            "threads": arguments.threads,
            **{f"seconds_{clock}": median(found[WARM_UP:], clock) for clock in CLOCKS},
            **{f"over_the_first_{clock}": ratio(found[WARM_UP:], base, clock) for clock in CLOCKS},
        }
        for name, found in times.items()
    ]


def stepping(objective: torch.nn.Module, samples: Latents, randoms: Randoms, batch: int) -> Step:
    """A whole step of an objective in bf16, without the loop around it."""
    parameters = [one for one in objective.parameters() if one.requires_grad]
    optimizer, device = torch.optim.AdamW(parameters, lr=1e-4, fused=True), torch.device("cpu")
    source = torch.Generator().manual_seed(0)

    def step() -> None:
        drawn = samples.__getitems__(list(range(batch))) | randoms(source, batch)
        with learning_kernels(device, torch.bfloat16):
            with autocast(device, torch.bfloat16):
                loss = objective(**drawn)["loss"].mean()
            loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def denoisers(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The `denoisers` command."""
    settings = small_settings(arguments)
    torch.set_num_threads(arguments.threads)
    batch, shape, bundled = arguments.batch_size, (4, 8, 8), bundled_directory()
    runtime, vae = Runtime(), load_vae(bundled)
    encoder, tokenizer = load_bert(bundled / "text_encoder", 512, tokenizer=bundled / "tokenizer")
    with tempfile.TemporaryDirectory() as folder:
        data = write_dataset(Recipe(settings.synth, 0), Path(folder) / "data")
        prompts, rows = distinct(data.captions)
        features = compute_features(
            vae, encoder.float(), tokenizer, data, prompts, rows, settings.unet, runtime
        )
        parts = transformer.initial_parts(settings.transformer, shape, data.captions, runtime, None)
        family = StableDiffusion3(
            {**parts, "vae": vae, "scheduler": build_flow_scheduler(settings.transformer)}
        )
        ids = flow_matching.compute_features(
            vae, parts["tokenizer"], data, prompts, rows, settings.transformer, runtime
        )
    unet = initial_unet(settings.unet, shape, encoder.config.hidden_size, 0, None)
    unet.to(memory_format=torch.channels_last)
    scheduler = build_scheduler(settings.unet)
    scale = float(vae.config.scaling_factor)
    objectives = {
        "train-unet": (
            DenoisingObjective(unet, scheduler, settings.unet, scale),
            features,
            step_randoms(shape, diffusion_of(scheduler)),
        ),
        "train-transformer": (
            flow_matching.FlowObjective(family, settings.transformer),
            ids,
            step_randoms(shape, family.noising),
        ),
    }
    steps = {
        name: stepping(objective, Latents(samples, 0, len(data)), randoms, batch)
        for name, (objective, samples, randoms) in objectives.items()
    }
    times: Times = {name: [] for name in steps}
    for _ in range(WARM_UP + arguments.steps):
        for name, step in steps.items():
            times[name].append(timed(step))
    return [
        {
            "step": name,
            "threads": arguments.threads,
            "batch_size": batch,
            "parameters": sum(one.numel() for one in objectives[name][0].parameters() if one.requires_grad),
            **{f"samples_a_second_{clock}": batch / median(found[WARM_UP:], clock) for clock in CLOCKS},
        }
        for name, found in times.items()
    ]


def small_settings(arguments: argparse.Namespace) -> Settings:
    """The small preset's sizes."""
    flags = {
        "synth": {"count": arguments.pictures, "mixture": "originality"},
        "unet": {"batch_size": arguments.batch_size, "sample_every": 0},
        "runtime": {"device": "cpu", "threads": arguments.threads},
    }
    return resolve(flags, environment={})[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for run, steps in ((loop, 10), (ways, 5), (denoisers, 10)):
        command = commands.add_parser(run.__name__)
        command.set_defaults(run=run)
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--batch-size", type=int, default=64)
        command.add_argument("--steps", type=int, default=steps)
        command.add_argument("--base-steps", type=int, default=3)
        command.add_argument("--pictures", type=int, default=256)
        command.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = arguments.run(arguments)
    print(json.dumps([{k: v for k, v in r.items() if k != "seconds"} for r in results], indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
