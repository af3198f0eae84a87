"""train-unet: the denoiser from scratch, on the latents of a trained VAE (supplement 2.1, 6.1)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from origcli.errors import ModelError
from origcli.inversion.templates import read_templates
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.pipeline import DiffusionModel, save_pipeline
from origcli.models.text_encoder import load_bert
from origcli.models.unet import build_scheduler, build_unet, load_unet
from origcli.models.vae import load_vae
from origcli.reports.envelope import Status
from origcli.reports.schema import TrainUnetReport
from origcli.reports.writers import write_report
from origcli.runtime.atomic import atomic_directory
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_value
from origcli.runtime.seeding import derive_seed
from origcli.scenes import dataset as datasets
from origcli.settings import Settings, UNetSettings
from origcli.training.denoising import (
    DenoisingObjective,
    Latents,
    compute_features,
    held_out_loss,
    step_randoms,
)
from origcli.training.features import distinct, hash_module
from origcli.training.identity import start_hash
from origcli.training.loop import Job, train
from origcli.training.report import (
    Amount,
    by_the_first,
    notes_on_start,
    provenance,
    save_loss_figure,
    stage_result,
)
from origcli.training.samples import SAMPLE_GUIDANCE, draw_samples, sample_prompts
from origcli.training.schedule import steps_in
from origcli.training.text_encoder import pretrain
from origcli.training.vae import held_out_indices, latent_side
from origcli.weights.hashing import hash_pipeline
from origcli.weights.registry import BUNDLED, bert_directory, bundled_directory

_READS_TEXT = re.compile(r"\.attn2\.to_[kv]\.weight$")


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
        init_from: a UNet directory, or a pipeline that holds one, of the same shape; its text encoder may
            have had another width, and then what reads the text is new.

    Raises:
        InputError: the data set is missing or too small to hold pictures out.
        ModelError: the VAE or the text encoder cannot be loaded.
        UsageError: a caption is longer than the text encoder holds, the VAE cannot halve the pictures, or
            `resume` with other settings, data or models.
    """
    own = settings.unet
    data = datasets.read_dataset(data_path)
    held_out = held_out_indices(data, settings.vae.held_out)

    vae = load_vae(vae_path).to(runtime.device, memory_format=torch.channels_last)
    latent_side(data, len(vae.config.block_out_channels))
    encoder, tokenizer = open_text_encoder(data.captions, settings, runtime, resume=resume)
    encoder.to(runtime.device)

    prompts, rows = distinct(data.captions)
    features = compute_features(vae, encoder, tokenizer, data, prompts, rows, own, runtime)
    latent_shape = tuple(features.moments.shape[2:])
    unet = initial_unet(own, latent_shape, encoder.config.hidden_size, runtime.seed, init_from)
    unet.to(runtime.device, memory_format=torch.channels_last)
    parts = {
        "vae": vae,
        "unet": unet,
        "text_encoder": encoder,
        "tokenizer": tokenizer,
        "scheduler": build_scheduler(own),
    }
    model = DiffusionModel(
        name="training",
        source=str(runtime.out),
        weights_hash="",
        family=StableDiffusion(parts),
        device=runtime.device,
        dtype=torch.float32,
        guidance=SAMPLE_GUIDANCE,
    )

    objective = DenoisingObjective(unet, model.scheduler, own, float(vae.config.scaling_factor))
    randoms = step_randoms(latent_shape, model.scheduler.config.num_train_timesteps)
    shown = sample_prompts(prompts)
    job = Job(
        name="train-unet",
        objective=objective,
        trained=unet,
        samples=Latents(features, 0, held_out.start),
        size=held_out.start,
        randoms=randoms,
        identity={
            "settings": own.model_dump(mode="json"),
            "seed": runtime.seed,
            **made_of(model, data, held_out),
            "init_from": start_hash(init_from),
        },
        preview=lambda step: draw_samples(model, shown, settings, runtime, f"samples-{step:08d}.png"),
    )
    amount = Amount(steps_in(own.epochs, job.size, own.batch_size), own.batch_size, job.size)
    history = train(job, own, amount.steps, runtime, resume=resume, workers=workers, track=track)

    def finish() -> TrainUnetReport:
        pictures = Latents(features, held_out.start, len(held_out))
        measured = held_out_loss(objective, pictures, randoms, runtime)
        write_pipeline(model, runtime.out)
        draw_samples(model, shown, settings, runtime, "samples.png")
        save_loss_figure(runtime.out / "loss.png", history, ("loss",))

        sections = {"unet": own, "text_encoder": settings.text_encoder}
        report = TrainUnetReport(
            status=Status.complete,
            provenance=provenance("train-unet", sections, runtime, data.hash, notes_on_start(init_from)),
            results=(
                stage_result(
                    "unet",
                    amount,
                    unet,
                    measured,
                    history,
                    directory="pipeline",
                    dataset_hash=data.hash,
                    weights_hash=hash_pipeline(runtime.out / "pipeline"),
                    figures=("loss.png", "samples.png"),
                ),
            ),
        )
        write_report(runtime.out, report)
        return report

    return by_the_first(finish, runtime)


def made_of(model: DiffusionModel, data: datasets.Dataset, held_out: range) -> dict[str, Any]:
    """The part of an identity that is data and frozen networks."""
    encoder = model.words.encoders[0]
    tokenizer = encoder.tokenizer
    return {
        "data": data.hash,
        "pictures": data.pictures_hash,
        "captions": hash_value(data.captions),
        "held_out": len(held_out),
        "vae": hash_module(model.vae),
        "text_encoder": hash_module(encoder.module),
        "tokenizer": {
            "max_length": tokenizer.model_max_length,
            "vocabulary": hash_value(tokenizer.get_vocab()),
        },
    }


def open_text_encoder(
    captions: Sequence[str], settings: Settings, runtime: Runtime, *, resume: bool
) -> tuple[Any, Any]:
    """The text encoder that the settings name; `captions` trains one into the run directory first."""
    own = settings.text_encoder
    if own.source == "captions":
        told = [caption for caption in captions if caption]
        templates = [*read_templates("object"), *read_templates("art")]
        return pretrain(told, templates, own, runtime, runtime.out / "text_encoder", resume=resume)

    given = bundled_directory() if own.source == BUNDLED else Path(own.source)
    source = given / "text_encoder"
    if source.is_dir():  # a run or a pipeline: the tokenizer lies beside it
        return load_bert(source, own.max_length, tokenizer=given / "tokenizer")
    return load_bert(bert_directory(own.source, runtime), own.max_length)


def initial_unet(
    settings: UNetSettings,
    latent_shape: tuple[int, ...],
    text_width: int,
    seed: int,
    init_from: Path | None,
) -> Any:
    """New random weights, or those of a UNet of the same shape.

    Where that UNet read text states of another width, its projections of them, and they alone, are new.

    Raises:
        ModelError: it cannot be loaded, or has another shape.
    """
    channels, height, width = latent_shape
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "unet"))
        unet = build_unet(settings, (channels, height, width), text_width)
    if init_from is None:
        return unet
    loaded = load_unet(init_from)
    weights = loaded.state_dict()
    if loaded.config.cross_attention_dim != text_width:
        weights |= {name: weight for name, weight in unet.state_dict().items() if _READS_TEXT.search(name)}
    try:
        unet.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(
            f"{init_from}: its UNet has another shape than the settings ask for",
            "start from one of the same channels, layers and latents, or leave --init-from out",
        ) from error
    return unet


def write_pipeline(model: DiffusionModel, out: Path) -> None:
    """Writes `pipeline/`, whole or not at all."""
    for part in (model.vae, model.denoiser):
        part.to(memory_format=torch.contiguous_format)
    with atomic_directory(out / "pipeline") as partial:
        save_pipeline(
            partial,
            vae=model.vae,
            unet=model.denoiser,
            text_encoder=model.words.encoders[0].module,
            tokenizer=model.words.encoders[0].tokenizer,
            scheduler=model.scheduler,
        )
