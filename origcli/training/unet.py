"""train-unet: the denoiser from scratch, on the latents of a trained VAE (supplement 2.1, 6.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from origcli.generation.sampling import draw_prompts
from origcli.inversion.templates import read_templates
from origcli.models.checkpoints import atomic_directory, quiet_loading
from origcli.models.pipeline import DiffusionModel, hash_pipeline, save_pipeline
from origcli.models.registry import COMPANIONS, bert_directory
from origcli.models.text_encoder import load_bert
from origcli.models.unet import (
    add_noise,
    build_scheduler,
    build_unet,
    min_snr_weight,
    prediction_target,
    signal_and_noise,
)
from origcli.models.vae import load_vae
from origcli.reports.envelope import Estimate, Status
from origcli.reports.schema import TrainResult, TrainUnetReport
from origcli.reports.writers import write_report
from origcli.runtime.context import Runtime
from origcli.runtime.memory import slices
from origcli.runtime.provenance import hash_files
from origcli.runtime.seeding import derive_seed, generator
from origcli.scenes import dataset as datasets
from origcli.settings import Settings, UNetSettings
from origcli.training.features import caption_states, distinct, hash_module, latent_moments
from origcli.training.loop import Batch, Job, train
from origcli.training.report import (
    by_the_first,
    loss_points,
    notes_on_start,
    parameter_count,
    provenance,
    save_loss_figure,
    save_sheet,
)
from origcli.training.schedule import steps_in
from origcli.training.text_encoder import pretrain
from origcli.training.vae import held_out_indices

_PHOTO = "a photo of {S}"  # the prompt of the measure (supplement 6.2)
_SAMPLE_STEPS, _SAMPLE_GUIDANCE = 25, 2.0
_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Features:
    """What the UNet trains on, computed once.

    Attributes:
        moments: (pictures, 2, c, h, w): posterior mean and standard deviation.
        rows: (pictures,): the caption of each picture.
        states: (captions, L, d) of the distinct captions, once for each way of putting them.
        empty: (L, d) of the empty prompt.
        prompts: the distinct captions.
    """

    moments: np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]
    states: tuple[np.ndarray[Any, Any], ...]
    empty: Tensor
    prompts: list[str]


class Latents(Dataset[Any]):
    """Posterior moments and text states of pictures, fetched a batch at a time."""

    def __init__(self, features: Features, first: int, size: int) -> None:
        self.features, self.first, self.size = features, first, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """`moments` (n, 2, c, h, w) and `states` (n, ways, L, d)."""
        pictures = np.asarray(indices) + self.first
        rows = self.features.rows[pictures]
        states = np.stack([way[rows] for way in self.features.states], axis=1)
        return {
            "moments": torch.from_numpy(self.features.moments[pictures]),
            "states": torch.from_numpy(states),
        }


class DenoisingObjective(nn.Module):
    """Mean squared error of the UNet's prediction (Ho et al. 2020, eq. 14), captions dropped at random."""

    def __init__(
        self, unet: Any, scheduler: Any, settings: UNetSettings, empty: Tensor, scale: float
    ) -> None:
        super().__init__()
        self.unet, self.settings, self.scale = unet, settings, scale
        self.alphas_cumprod: Tensor
        self.empty: Tensor
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod.clone(), persistent=False)
        self.register_buffer("empty", empty, persistent=False)  # (L, d)

    def forward(
        self,
        moments: Tensor,
        states: Tensor,
        sample: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        drop: Tensor,
        way: Tensor,
    ) -> dict[str, Tensor]:
        """Terms, each (n,).

        Args:
            moments: (n, 2, c, h, w).
            states: (n, ways, L, d): of the bare caption, and of the caption after "a photo of".
            sample, noise: standard normal (n, c, h, w): of the posterior, of the diffusion.
            timesteps: (n,).
            drop, way: uniform in [0, 1), (n,): whether the caption is dropped, and how it is put.
        """
        settings = self.settings
        latents = (moments[:, 0] + moments[:, 1] * sample) * self.scale  # (n, c, h, w)
        photo = (way < settings.photo_probability).long() * (states.shape[1] - 1)
        text = states[torch.arange(len(states), device=states.device), photo]  # (n, L, d)
        text = torch.where((drop < settings.caption_dropout)[:, None, None], self.empty, text)
        signal, sigma = signal_and_noise(self.alphas_cumprod, timesteps)  # (n, 1, 1, 1)
        noisy = add_noise(latents, noise, signal, sigma)
        target = prediction_target(settings.prediction, latents, noise, signal, sigma)
        predicted = self.unet(
            noisy.contiguous(memory_format=torch.channels_last), timesteps, encoder_hidden_states=text
        ).sample
        mse = (predicted.float() - target).square().mean((1, 2, 3))
        if settings.min_snr_gamma is None:
            return {"loss": mse}
        weight = min_snr_weight(settings.prediction, signal, sigma, settings.min_snr_gamma)
        return {"loss": mse * weight.view(-1), "mse": mse}


def step_randoms(latent_shape: tuple[int, ...], timesteps: int) -> Any:
    """The random numbers of a step's n samples, from its generator."""

    def randoms(source: torch.Generator, count: int) -> Batch:
        return {
            "sample": torch.randn((count, *latent_shape), generator=source),
            "noise": torch.randn((count, *latent_shape), generator=source),
            "timesteps": torch.randint(timesteps, (count,), generator=source),
            "drop": torch.rand((count,), generator=source),
            "way": torch.rand((count,), generator=source),
        }

    return randoms


def run(
    data_path: Path,
    vae_path: Path,
    settings: Settings,
    runtime: Runtime,
    *,
    resume: bool = False,
    workers: int = 0,
    track: str | None = None,
    init_from: Path | None = None,
) -> TrainUnetReport:
    """Trains a UNet and writes `pipeline/`, a report, `history.csv` and sheets of drawings.

    Args:
        data_path: a data set.
        vae_path: a diffusers AutoencoderKL directory, or a train-vae run that holds one.
        init_from: a UNet directory, or a pipeline that holds one, of the same shape.

    Raises:
        ModelError: the VAE or the text encoder cannot be loaded.
        UsageError: a caption is longer than the text encoder holds.
    """
    own = settings.unet
    data = datasets.read_dataset(data_path)
    vae = load_vae(vae_path).to(runtime.device, memory_format=torch.channels_last)
    prompts, rows = distinct(data.captions)
    encoder, tokenizer = open_text_encoder(prompts, settings, runtime, resume=resume)
    encoder.to(runtime.device)
    features = compute_features(vae, encoder, tokenizer, data, prompts, rows, own, runtime)
    latent_shape = tuple(features.moments.shape[2:])
    unet = initial_unet(own, latent_shape, encoder.config.hidden_size, runtime.seed, init_from)
    unet.to(runtime.device, memory_format=torch.channels_last)
    scheduler = build_scheduler(own)
    objective = DenoisingObjective(unet, scheduler, own, features.empty, float(vae.config.scaling_factor))
    held_out = held_out_indices(len(data), settings.vae.held_out)
    size = len(data) - len(held_out)
    model = DiffusionModel(
        name="training",
        source=str(runtime.out),
        weights_hash="",
        vae=vae,
        unet=unet,
        text_encoder=encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        device=runtime.device,
        dtype=torch.float32,
        guidance=_SAMPLE_GUIDANCE,
    )
    job = Job(
        name="train-unet",
        objective=objective,
        trained=unet,
        samples=Latents(features, 0, size),
        size=size,
        randoms=step_randoms(latent_shape, scheduler.config.num_train_timesteps),
        identity={
            "settings": own.model_dump(mode="json"),
            "seed": runtime.seed,
            "data": data.hash,
            "vae": hash_module(vae),
            "text_encoder": hash_module(encoder),
            "init_from": init_from and hash_files(init_from.rglob("*.safetensors"), init_from),
        },
        preview=lambda step: draw_samples(
            model, sample_prompts(prompts), settings, runtime, f"samples-{step:08d}.png"
        ),
    )
    steps = steps_in(own.epochs, size, own.batch_size)
    history = train(job, own, steps, runtime, resume=resume, workers=workers, track=track)

    def finish() -> TrainUnetReport:
        measured = held_out_loss(objective, features, held_out, latent_shape, runtime)
        write_pipeline(model, runtime.out)
        draw_samples(model, sample_prompts(prompts), settings, runtime, "samples.png")
        save_loss_figure(runtime.out / "loss.png", history, ("loss",))
        report = TrainUnetReport(
            status=Status.complete,
            provenance=provenance(
                "train-unet",
                {"unet": own, "text_encoder": settings.text_encoder},
                runtime,
                data.hash,
                notes_on_start(init_from),
            ),
            results=(
                TrainResult(
                    stage="unet",
                    directory="pipeline",
                    dataset_hash=data.hash,
                    weights_hash=hash_pipeline(runtime.out / "pipeline"),
                    parameters=parameter_count(unet),
                    steps=steps,
                    samples=steps * own.batch_size,
                    epochs=steps * own.batch_size / size,
                    metrics={name: Estimate.of(value) for name, value in measured.items()},
                    history=loss_points(history),
                    figures=("loss.png", "samples.png"),
                ),
            ),
        )
        write_report(runtime.out, report)
        return report

    return by_the_first(finish, runtime)


def open_text_encoder(
    prompts: Sequence[str], settings: Settings, runtime: Runtime, *, resume: bool
) -> tuple[Any, Any]:
    """The text encoder that the settings name; `captions` trains one into the run directory first."""
    own = settings.text_encoder
    if own.source != "captions":
        source = Path(own.source) / "text_encoder"
        if source.is_dir():  # a run or a pipeline: the tokenizer lies beside it
            return load_bert(
                str(source), own.max_length, offline=True, tokenizer=str(source.parent / "tokenizer")
            )
        if own.source in ("bert", COMPANIONS["bert"].id):  # at the pinned commit, its files checked
            return load_bert(str(bert_directory(runtime)), own.max_length, offline=True)
        return load_bert(own.source, own.max_length, offline=runtime.offline)
    directory = runtime.out / "text_encoder"
    if resume and (directory / "report.json").is_file():
        return load_bert(
            str(directory / "text_encoder"),
            own.max_length,
            offline=True,
            tokenizer=str(directory / "tokenizer"),
        )
    known = [prompt for prompt in prompts if prompt]
    return pretrain(
        known, [*read_templates("object"), *read_templates("art")], own, runtime, directory, resume=resume
    )


def compute_features(
    vae: Any,
    encoder: Any,
    tokenizer: Any,
    data: datasets.Dataset,
    prompts: list[str],
    rows: np.ndarray[Any, Any],
    settings: UNetSettings,
    runtime: Runtime,
) -> Features:
    """Latents of all pictures and states of all captions, from the cache where they are there."""
    ways = [prompts]
    if settings.photo_probability:
        ways.append([_PHOTO.replace("{S}", prompt) if prompt else "a photo" for prompt in prompts])
    states = tuple(caption_states(encoder, tokenizer, way, runtime) for way in ways)
    empty = torch.from_numpy(np.array(caption_states(encoder, tokenizer, [""], runtime)[0]))
    return Features(latent_moments(vae, data, len(data), runtime), rows, states, empty, prompts)


def initial_unet(
    settings: UNetSettings,
    latent_shape: tuple[int, ...],
    text_width: int,
    seed: int,
    init_from: Path | None,
) -> Any:
    """New random weights, or those of a UNet of the same shape."""
    channels, height, width = latent_shape
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "unet"))
        unet = build_unet(settings, (channels, height, width), text_width)
    if init_from is not None:
        from diffusers import UNet2DConditionModel

        directory = init_from / "unet" if (init_from / "unet").is_dir() else init_from
        with quiet_loading():
            loaded = UNet2DConditionModel.from_pretrained(directory, use_safetensors=True)
        unet.load_state_dict(loaded.float().state_dict())
    return unet


@torch.inference_mode()
def held_out_loss(
    objective: DenoisingObjective,
    features: Features,
    indices: range,
    latent_shape: tuple[int, ...],
    runtime: Runtime,
) -> dict[str, float]:
    """The mean loss on held-out pictures at fixed random numbers, captions never dropped."""
    total, batches = 0.0, Latents(features, indices.start, len(indices))
    for part in slices(len(indices), _EVALUATION_BATCH):
        count = part.stop - part.start
        randoms = step_randoms(latent_shape, 1000)(generator("held-out loss", part.start), count)
        randoms["drop"], randoms["way"] = torch.ones(count), torch.ones(count)
        batch = batches.__getitems__(list(range(part.start, part.stop))) | randoms
        terms = objective(**{name: rows.to(runtime.device) for name, rows in batch.items()})
        total += float(terms["loss"].sum())
    return {"held_out_loss": total / len(indices), "held_out_pictures": len(indices)}


def write_pipeline(model: DiffusionModel, out: Path) -> None:
    """Writes `pipeline/`, whole or not at all."""
    for part in (model.vae, model.unet):
        part.to(memory_format=torch.contiguous_format)
    with atomic_directory(out / "pipeline") as partial:
        save_pipeline(
            partial,
            vae=model.vae,
            unet=model.unet,
            text_encoder=model.text_encoder,
            tokenizer=model.tokenizer,
            scheduler=model.scheduler,
        )


def sample_prompts(prompts: Sequence[str]) -> list[str]:
    """A few captions spread over the data set's, and the empty prompt twice."""
    known = [prompt for prompt in prompts if prompt]
    stride = max(1, len(known) // 14)
    return [*known[::stride][:14], "", ""]


def draw_samples(
    model: DiffusionModel, prompts: Sequence[str], settings: Settings, runtime: Runtime, name: str
) -> None:
    """A sheet of drawings of fixed prompts from fixed seeds."""
    drawing = settings.draw.model_copy(update={"steps": _SAMPLE_STEPS, "guidance": _SAMPLE_GUIDANCE})
    pictures = draw_prompts(model, prompts, range(len(prompts)), drawing, runtime, description="samples")
    labels = [prompt or "(empty prompt)" for prompt in prompts]
    save_sheet(runtime.out / name, pictures, 8, labels)
