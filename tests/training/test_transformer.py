"""train-transformer from a data set to a pipeline, at toy size."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from origcli.errors import Interrupted, ModelError, UsageError
from origcli.images.inputs import find_inputs
from origcli.models.families.family import Drawing
from origcli.models.families.stable_diffusion_3 import StableDiffusion3
from origcli.models.pipeline import load_pipeline
from origcli.models.transformer import build_flow_scheduler
from origcli.models.vae import load_vae
from origcli.reports.schema import ScoreResult
from origcli.reports.writers import ResultLog
from origcli.runtime.context import Runtime, open_runtime
from origcli.runtime.provenance import hash_file
from origcli.runtime.seeding import generator
from origcli.scenes.dataset import Dataset
from origcli.scoring.run import Request, score_images
from origcli.settings import Settings, resolve
from origcli.training import transformer
from origcli.training.denoising import Latents, step_randoms
from origcli.training.features import distinct
from origcli.training.flow_matching import FlowObjective, compute_features
from tests.measuring import TINY, pixel_metric
from tests.training.stopping import StopAfter

__all__ = ["pixel_metric"]  # a fixture

WEIGHTS = "pipeline/transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def settings(tiny_settings: Settings) -> Settings:
    own = tiny_settings.transformer.model_copy(
        update={
            "epochs": 0.5,
            "batch_size": 6,
            "width": 16,
            "layers": 2,
            "heads": 2,
            "text_widths": (32, 64),
            "text_layers": 2,
            "max_length": 30,
            "warmup_steps": 1,
            "sample_every": 3,
            "checkpoint_every": 2,
        }
    )
    return tiny_settings.model_copy(update={"transformer": own})


def changed(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"transformer": settings.transformer.model_copy(update=changes)})


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Dataset, settings: Settings, vae_run: Path
) -> Path:
    out = tmp_path_factory.mktemp("runs") / "transformer"
    with open_runtime(settings.runtime, out) as runtime:
        transformer.run(tiny_dataset.path, vae_run, settings, runtime)
    return out


def plain(run: Path) -> Any:
    """The pipeline as diffusers opens it."""
    pipe = StableDiffusion3Pipeline.from_pretrained(run / "pipeline", text_encoder_3=None, tokenizer_3=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_a_run_reports_and_shows_samples(trained: Path) -> None:
    report = json.loads((trained / "report.json").read_text())
    result = report["results"][0]
    assert (report["schema"], result["stage"], result["steps"]) == (
        "origcli/train-transformer/1",
        "transformer",
        5,
    )
    assert result["metrics"]["held_out_loss"]["value"] > 0
    pipe = plain(trained)
    learned = (pipe.transformer, pipe.text_encoder, pipe.text_encoder_2)
    assert result["parameters"] == sum(p.numel() for part in learned for p in part.parameters())
    assert {path.name for path in trained.glob("*.png")} == {
        "samples.png",
        "samples-00000003.png",
        "loss.png",
    }
    assert {row["step"] for row in result["history"]} == {5}


def test_diffusers_generates_the_same(trained: Path) -> None:
    """Its own loop, with 256 rows of zeros, from the same noise, beside ours with one row that counts."""
    pipe, model = plain(trained), load_pipeline(trained / "pipeline", Runtime())
    assert (pipe.tokenizer.model_max_length, pipe.scheduler.config.shift) == (30, 1.0)
    prompt, noise = "a photo of big red full circle", torch.randn(1, 4, 16, 16)
    theirs = pipe(
        prompt,
        latents=noise,
        num_inference_steps=3,
        guidance_scale=2.0,
        height=32,
        width=32,
        output_type="latent",
    ).images
    assert isinstance(model.family, StableDiffusion3)
    with torch.no_grad():
        given = model.family.condition([prompt])
        assert given.parts["states"].shape == (1, 31, 96)
        drawing = Drawing(steps=3, guidance=2.0, scheduler="own")
        ours = model.family.draw(given, model.unconditional, noise, drawing)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def batch_of(
    data: Dataset, vae: Path, settings: Settings, init_from: Path | None = None
) -> tuple[FlowObjective, dict[str, Tensor]]:
    """An objective with new weights, and the samples and random numbers of one step."""
    own, network = settings.transformer, load_vae(vae)
    parts = transformer.initial_parts(own, (4, 16, 16), data.captions, Runtime(), init_from)
    family = StableDiffusion3({**parts, "vae": network, "scheduler": build_flow_scheduler(own)})
    prompts, rows = distinct(data.captions)
    features = compute_features(network, parts["tokenizer"], data, prompts, rows, own, Runtime())
    batch = Latents(features, 0, 60).__getitems__(list(range(6)))
    randoms = step_randoms((4, 16, 16), family.noising)(generator("a step"), 6)
    return FlowObjective(family, own), {**batch, **randoms}


def test_a_few_steps_reduce_the_loss_of_a_fixed_batch(
    tiny_dataset: Dataset, vae_run: Path, settings: Settings
) -> None:
    objective, batch = batch_of(tiny_dataset, vae_run, settings)
    optimizer = torch.optim.AdamW(objective.trained.parameters(), lr=3e-3)
    losses = []
    for _ in range(5):
        loss = objective(**batch)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    for name, parameter in objective.trained.named_parameters():
        assert parameter.grad is not None, name


def test_what_is_predicted_is_the_slope_of_the_schedulers_path(
    tiny_dataset: Dataset, vae_run: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noisy latents are `scale_noise`'s, and a model of no loss takes the scheduler's step to them."""
    objective, batch = batch_of(tiny_dataset, vae_run, settings)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=settings.transformer.shift)
    scheduler.set_timesteps(sigmas=[0.9, 0.7, 0.5, 0.3, 0.2, 0.1])
    batch["times"] = scheduler.sigmas[:6].clone()
    clean = batch["moments"][:, 0] + batch["moments"][:, 1] * batch["sample"]
    seen: list[Tensor] = []

    def spy(noisy: Tensor, times: Tensor, given: Any) -> Tensor:
        seen.append(noisy)
        return torch.zeros_like(noisy)

    monkeypatch.setattr(objective.family, "predict", spy)
    errors = objective(**batch)["loss"]
    noisy = seen[0]
    torch.testing.assert_close(noisy, scheduler.scale_noise(clean, scheduler.timesteps, batch["noise"]))
    target = batch["noise"] - clean
    torch.testing.assert_close(errors, target.square().mean((1, 2, 3)))  # of a prediction of zero
    step = scheduler.step(target[2:3], scheduler.timesteps[2], noisy[2:3]).prev_sample
    there = scheduler.sigmas[3] * batch["noise"][2:3] + (1 - scheduler.sigmas[3]) * clean[2:3]
    torch.testing.assert_close(step, there)


def test_captions_are_dropped_from_states_pooled_vectors_or_both(
    tiny_dataset: Dataset, vae_run: Path, settings: Settings
) -> None:
    objective, batch = batch_of(tiny_dataset, vae_run, settings)
    row = next(i for i, caption in enumerate(tiny_dataset.captions) if caption)
    spoken, silent = batch["texts"][row % 6, 0], batch["dropped"][row % 6, 0]
    assert not torch.equal(spoken, silent)
    with torch.no_grad():
        found = objective.read(
            spoken.repeat(4, 1),
            silent.repeat(4, 1),
            torch.tensor([False, False, False, True]),
            torch.tensor([0.5, 0.1, 0.9, 0.5]),  # both, the pooled vector alone, the states alone, neither
        ).parts
        told = objective.family.condition([tiny_dataset.captions[row % 6]]).parts
        untold = objective.family.condition([""]).parts
    for name, dropped in (("states", [False, True, False, True]), ("pooled", [False, False, True, True])):
        for one, without in zip(found[name], dropped, strict=True):
            torch.testing.assert_close(one, (untold if without else told)[name][0])


def test_equal_seeds_give_equal_weights(tiny_dataset: Dataset, settings: Settings) -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        parts = transformer.initial_parts(
            settings.transformer, (4, 16, 16), tiny_dataset.captions, Runtime(seed=seed), None
        )
        return {
            f"{name}.{key}": value
            for name in transformer.LEARNED
            for key, value in parts[name].state_dict().items()
        }

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    assert not torch.equal(
        first["text_encoder_2.text_projection.weight"], other["text_encoder_2.text_projection.weight"]
    )


@pytest.mark.fault(11, "so does train-transformer")
def test_a_stopped_run_goes_on_to_the_same_bytes(
    tmp_path: Path, tiny_dataset: Dataset, settings: Settings, vae_run: Path, trained: Path
) -> None:
    out = tmp_path / "transformer"
    progress = StopAfter(3, "train-transformer")
    with pytest.raises(Interrupted), open_runtime(settings.runtime, out, progress) as runtime:
        transformer.run(tiny_dataset.path, vae_run, settings, runtime)
    assert not (out / "pipeline").exists()
    other = changed(settings, part_probability=0.1)
    with (
        open_runtime(settings.runtime, shutil.copytree(out, tmp_path / "other")) as runtime,
        pytest.raises(UsageError, match=r"settings\.part_probability was 0\.5, is 0\.1"),
    ):
        transformer.run(tiny_dataset.path, vae_run, other, runtime, resume=True)
    with open_runtime(settings.runtime, out) as runtime:
        transformer.run(tiny_dataset.path, vae_run, settings, runtime, resume=True)
    for name in ("report.json", "history.csv", WEIGHTS, "pipeline/text_encoder_2/model.safetensors"):
        assert hash_file(trained / name) == hash_file(out / name), name


def test_a_run_starts_from_another(
    tmp_path: Path, tiny_dataset: Dataset, settings: Settings, vae_run: Path, trained: Path
) -> None:
    captions = ["a caption of other words"]
    own = settings.transformer
    parts = transformer.initial_parts(own, (4, 16, 16), captions, Runtime(), trained)
    weights = load_file(trained / WEIGHTS)
    assert all(torch.equal(parts["transformer"].state_dict()[name], value) for name, value in weights.items())
    assert parts["tokenizer"].get_vocab() == plain(trained).tokenizer.get_vocab()
    for start, match in ((vae_run, "model_index"), (tmp_path, "model_index")):
        with pytest.raises(ModelError, match=match):
            transformer.initial_parts(own, (4, 16, 16), captions, Runtime(), start)
    with pytest.raises(ModelError, match="its transformer has another shape"):
        wider = changed(settings, width=32).transformer
        transformer.initial_parts(wider, (4, 16, 16), captions, Runtime(), trained)


def test_what_does_not_fit_is_refused(
    tmp_path: Path, tiny_dataset: Dataset, settings: Settings, vae_run: Path
) -> None:
    for change, match in (
        ({"patch_size": 3}, "patches of 3"),
        ({"max_length": 8}, "longer than the text encoder"),
    ):
        with (
            open_runtime(settings.runtime, tmp_path / match) as runtime,
            pytest.raises(UsageError, match=match),
        ):
            transformer.run(tiny_dataset.path, vae_run, changed(settings, **change), runtime)


def test_the_trained_pipeline_is_scored(trained: Path, tmp_path: Path, pixel_metric: None) -> None:
    Image.effect_noise((32, 32), 60).convert("RGB").save(tmp_path / "photo.png")
    own = {**TINY["score"], "model": str(trained / "pipeline"), "measure_anyway": True}
    settings = resolve({**TINY, "score": own}, environment={})[0]
    with open_runtime(settings.runtime, tmp_path / "score") as runtime:
        score_images(Request(find_inputs([str(tmp_path / "photo.png")])), settings, runtime)
    (result,) = ResultLog(tmp_path / "score/results.jsonl", ScoreResult)
    assert [point.m for point in result.curve] == [1, 2]
    assert all(point.distance.value is not None for point in result.curve)
    tokens = load_file(next((tmp_path / "score").rglob("*-m2.safetensors")))
    assert {key: tuple(vectors.shape) for key, vectors in tokens.items()} == {
        "clip_l": (2, 32),
        "clip_g": (2, 64),
    }
