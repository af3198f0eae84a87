"""What scoring costs, on paper: the figures of docs/scale.md.

    python benchmarks/cost_model.py [--peak 989] [--utilization 0.4]
    python benchmarks/cost_model.py --check MODEL_DIR

The first counts the floating-point operations of Stable Diffusion 1.5, without weights, and carries them to
hours on a GPU of a peak rate (TFLOP/s, dense, in bf16) at a utilization that is an assumption. The second
measures on this machine how far such a prediction is off: it times a matrix product and a few steps of
learning and of drawing of a model that is here, and predicts longer runs of both from the counts.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from origcli.generation.sampling import sample_latents
from origcli.inversion.cost import count_flops, count_footprint, decoding_flops, total_flops, work
from origcli.inversion.templates import read_templates
from origcli.models.pipeline import DiffusionModel, load_pipeline
from origcli.runtime.context import Runtime
from origcli.scoring.advice import own_flops
from origcli.scoring.self_calibration import Budget, automatic_budget
from origcli.settings import Settings, resolve
from tests.stable_diffusion import stable_diffusion_without_weights

DREAMSIM_FLOPS = 3 * 35.1e9  # three ViT-B/16 at 224 px, 17.6 GMAC each
GUIDED = 2


def petaflops(model: DiffusionModel, settings: Settings) -> dict[str, float]:
    """10¹⁵ operations of scoring one picture, by stage, at most."""
    flops = count_flops(model)
    tokens, images = settings.score.max_tokens, settings.score.samples
    amount = work(settings.invert, tokens, len(read_templates(settings.invert.templates)))
    drawings = tokens * images
    return {
        "learn": total_flops(flops, amount) / 1e15,
        "draw": drawings * model.drawing(settings.draw).steps * GUIDED * flops.unet / 1e15,
        "decode": drawings * decoding_flops(model) / 1e15,
        "dreamsim": (drawings + 1) * DREAMSIM_FLOPS / 1e15,
    }


def own_budgets(settings: Settings) -> dict[str, Budget]:
    """What a self-calibration takes: `score` by itself, and `origcli calibrate`."""
    own = settings.calibrate
    explicit = Budget(own.captions, own.samples, own.controls)
    return {"automatic": automatic_budget(settings), "explicit": explicit}


def on_paper(peak: float, utilization: float) -> None:
    """Prints the tables."""
    model = stable_diffusion_without_weights()
    print("TFLOP a sample:", {k: round(v / 1e12, 3) for k, v in vars(count_flops(model)).items()})
    print("decode:", round(decoding_flops(model) / 1e12, 3))
    footprint = count_footprint(model)
    for kind in ("learning", "drawing", "decoding"):
        one = getattr(footprint, kind)
        print(
            f"{kind}: {one.fixed / 1e9:.2f} + {one.each / 1e9:.3f} GB each, 20: {one.bytes(20) / 1e9:.1f} GB"
        )
    for name, presets in (("paper", ("paper",)), ("fast", ("paper", "fast"))):
        settings = resolve({}, presets=presets, environment={})[0]
        stages = petaflops(model, settings)
        whole = sum(stages.values())
        seconds = whole * 1e3 / (peak * utilization)
        shares = {k: f"{v:.2f} ({v / whole:.0%})" for k, v in stages.items()}
        print(
            f"{name}: {whole:.1f} PFLOP {shares}; {seconds:.0f} s an image at {peak} TFLOP/s × {utilization}"
        )
        for kind, budget in own_budgets(settings).items():
            counted = own_flops(model, settings, budget) / 1e15
            minutes = counted * 1e3 / (peak * utilization) / 60
            size = f"{budget.captions} × {budget.samples} samples + {budget.controls} controls"
            print(f"  self-calibration, {kind}: {size}: {counted:.1f} PFLOP; {minutes:.1f} minutes")
        for count in (10**4, 10**5, 10**6, 10**7):
            hours = count * seconds / 3600
            print(f"  {count:>10,} images: {hours:>12,.0f} GPU hours, on 1,000 GPUs {hours / 1000:>9,.1f} h")


def timed(run: Callable[[], Any]) -> float:
    """CPU seconds of the quickest of three calls: other work on the machine disturbs them least."""
    run()
    seconds = []
    for _ in range(3):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return min(seconds)


def learn_once(model: DiffusionModel, batch: int) -> None:
    """Samples forward and back through the denoiser."""
    latents, times = torch.randn(batch, *model.latent_shape), model.noising.times(torch.rand(batch))
    given = model.unconditional.repeated(batch).learnable()
    model.family.predict(latents, times, given).square().mean().backward()


def check(directory: Path) -> None:
    """Predicts longer runs from short ones and from the counts, and compares."""
    torch.set_num_threads(1)  # so that CPU seconds are the seconds of the work
    model = load_pipeline(directory, Runtime())
    flops = count_flops(model)
    a = torch.randn(1024, 1024)
    product = 2 * 1024**3 / timed(lambda: a @ a)
    learn = timed(lambda: learn_once(model, 8)) / 8
    rate = (flops.unet + flops.unet_backward) / learn
    settings = resolve({}, environment={})[0].draw.model_copy(update={"guidance": 2.0})

    def draw(steps: int) -> Callable[[], Any]:
        short = settings.model_copy(update={"steps": steps})
        return lambda: sample_latents(model, model.unconditional.expanded(4), [1, 2, 3, 4], short)

    with torch.inference_mode():
        short, long = timed(draw(4)), timed(draw(40))
    counted = 40 * 4 * GUIDED * flops.unet / rate
    print(f"matrix product: {product / 1e9:.0f} GFLOP/s on one thread")
    print(f"learning: {rate / 1e9:.1f} GFLOP/s, {rate / product:.0%} of that")
    print(f"4 drawings of 40 steps took {long:.2f} s; ten times 4 steps say {10 * short:.2f} s;")
    print(f"the count at learning's rate says {counted:.2f} s ({counted / long - 1:+.0%})")


def main() -> None:
    """Reads the words of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peak", type=float, default=989.0)
    parser.add_argument("--utilization", type=float, default=0.4)
    parser.add_argument("--check", type=Path)
    words = parser.parse_args()
    if words.check:
        check(words.check)
    else:
        on_paper(words.peak, words.utilization)


if __name__ == "__main__":
    main()
