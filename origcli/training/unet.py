"""train-unet: the denoiser from scratch, on the latents of a trained VAE (supplement 2.1, 6.1)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from origcli.errors import ModelError
from origcli.inversion.templates import read_templates
from origcli.models.families.stable_diffusion import StableDiffusion
from origcli.models.text_encoder import load_bert
from origcli.models.unet import build_scheduler, build_unet, load_unet
from origcli.reports.schema import TrainUnetReport
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_value
from origcli.runtime.seeding import derive_seed
from origcli.settings import Settings, UNetSettings
from origcli.training.denoiser import Stage, in_training, open_data, train_denoiser
from origcli.training.denoising import (
    DenoisingObjective,
    compute_features,
)
from origcli.training.features import distinct, hash_module
from origcli.training.text_encoder import pretrain
from origcli.weights.registry import bert_directory, weights_directory

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
    """Trains a UNet and writes `pipeline/`, a report, `history.csv` and sheets of samples.

    Args:
        data_path: a data set.
        vae_path: a diffusers AutoencoderKL directory, or a train-vae run that holds one.
        init_from: a UNet directory, or a pipeline that holds one, of the same shape; its text encoder may
            have had another width, and then what reads the text is new.

    Raises:
        InputError: the data set is missing or too small to hold images out.
        ModelError: the VAE or the text encoder cannot be loaded.
        UsageError: a caption is longer than the text encoder holds, the VAE cannot halve the images, or
            `resume` with other settings, data or models.
    """
    own = settings.unet
    opened = open_data(data_path, vae_path, settings, runtime)
    data, vae = opened.data, opened.vae
    encoder, tokenizer = open_text_encoder(data.captions, settings, runtime, resume=resume)
    encoder.to(runtime.device)

    features = compute_features(vae, encoder, tokenizer, data, *distinct(data.captions), own, runtime)
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
    model = in_training(StableDiffusion(parts), runtime)
    stage = Stage(
        name="unet",
        own=own,
        sections={"unet": own, "text_encoder": settings.text_encoder},
        report=TrainUnetReport,
        model=model,
        objective=DenoisingObjective(unet, model.scheduler, own, float(vae.config.scaling_factor)),
        trained=unet,
        features=features,
        identity={
            "text_encoder": hash_module(encoder),
            "tokenizer": {
                "max_length": tokenizer.model_max_length,
                "vocabulary": hash_value(tokenizer.get_vocab()),
            },
        },
        init_from=init_from,
    )
    return train_denoiser(stage, opened, settings, runtime, resume=resume, workers=workers, track=track)


def open_text_encoder(
    captions: Sequence[str], settings: Settings, runtime: Runtime, *, resume: bool
) -> tuple[Any, Any]:
    """The text encoder that the settings name; `captions` trains one into the run directory first."""
    own = settings.text_encoder
    if own.source == "captions":
        told = [caption for caption in captions if caption]
        templates = [*read_templates("object"), *read_templates("art")]
        return pretrain(told, templates, own, runtime, runtime.out / "text_encoder", resume=resume)

    given = weights_directory(own.source)
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
