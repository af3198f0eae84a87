"""train-transformer: a small model of Stable Diffusion 3's kind from scratch, on a VAE's latents.

The transformer and both text encoders learn together. What comes out is a pipeline without T5.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from origcli.errors import ModelError, UsageError
from origcli.inversion.templates import read_templates
from origcli.models.clip_text import build_clip_text, build_clip_tokenizer
from origcli.models.families.stable_diffusion_3 import StableDiffusion3
from origcli.models.pipeline import load_pipeline
from origcli.models.transformer import build_flow_scheduler, build_transformer
from origcli.reports.schema import TrainTransformerReport
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_value
from origcli.runtime.seeding import derive_seed
from origcli.settings import Settings, TransformerSettings
from origcli.training.denoiser import Stage, in_training, open_data, train_denoiser
from origcli.training.features import distinct
from origcli.training.flow_matching import FlowObjective, compute_features

LEARNED = ("transformer", "text_encoder", "text_encoder_2")


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
) -> TrainTransformerReport:
    """Trains a transformer and its text encoders; writes `pipeline/`, a report, `history.csv` and sheets.

    Args:
        data_path: a data set.
        vae_path: a diffusers AutoencoderKL directory, or a run or pipeline that holds one.
        init_from: a pipeline that this command wrote, of the same shape; its vocabulary is taken, too.

    Raises:
        InputError: the data set is missing or too small to hold images out.
        ModelError: the VAE cannot be loaded, or the weights to start from have another shape.
        UsageError: a caption is longer than the text encoders hold, the images or latents cannot be
            divided as the settings ask, or `resume` with other settings, data or models.
    """
    own = settings.transformer
    opened = open_data(data_path, vae_path, settings, runtime)
    data, vae = opened.data, opened.vae
    shape = (int(vae.config.latent_channels), opened.side, opened.side)
    learned = initial_parts(own, shape, data.captions, runtime, init_from)
    family = StableDiffusion3({**learned, "vae": vae, "scheduler": build_flow_scheduler(own)})
    tokenizer = learned["tokenizer"]
    objective = FlowObjective(family, own)
    stage = Stage(
        name="transformer",
        own=own,
        sections={"transformer": own},
        report=TrainTransformerReport,
        model=in_training(family, runtime),
        objective=objective,
        trained=objective.trained,
        features=compute_features(vae, tokenizer, data, *distinct(data.captions), own, runtime),
        identity={"vocabulary": hash_value(tokenizer.get_vocab())},
        init_from=init_from,
        called=LEARNED,
    )
    return train_denoiser(stage, opened, settings, runtime, resume=resume, workers=workers, track=track)


def initial_parts(
    settings: TransformerSettings,
    latent_shape: tuple[int, int, int],
    captions: Sequence[str],
    runtime: Runtime,
    init_from: Path | None,
) -> dict[str, Any]:
    """What learns, and the tokenizers, by their names in the pipeline; the networks on the device.

    New random weights and a vocabulary of the captions' and templates' words, or those of a pipeline.

    Raises:
        ModelError: the pipeline cannot be loaded, or has another shape.
        UsageError: the latents cannot be divided into patches.
    """
    side, patch = latent_shape[1], settings.patch_size
    if side % patch:
        raise UsageError(
            f"latents of {side} × {side} places cannot be divided into patches of {patch}",
            "choose another patch_size under [transformer] in a file for --config",
        )
    start = {} if init_from is None else _start(init_from, runtime)
    tokenizer = start["tokenizer"] if start else _tokenizer(captions, settings)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(runtime.seed, "transformer"))
        networks = {
            "transformer": build_transformer(settings, latent_shape),
            **{
                part: build_clip_text(settings, width, tokenizer)
                for part, width in zip(LEARNED[1:], settings.text_widths, strict=True)
            },
        }
    for part, network in networks.items() if start else ():
        _take_weights(network, start[part], f"{init_from}: its {part}")
    return {
        **{part: network.to(runtime.device) for part, network in networks.items()},
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
    }


def _tokenizer(captions: Sequence[str], settings: TransformerSettings) -> Any:
    templates = [*read_templates("object"), *read_templates("art")]
    return build_clip_tokenizer([*captions, *templates], settings.max_length)


def _start(path: Path, runtime: Runtime) -> dict[str, Any]:
    """The parts of a pipeline, or of the run that holds it.

    Raises:
        ModelError: it cannot be loaded, or is no pipeline of this command.
    """
    inside = path / "pipeline"
    family = load_pipeline(inside if inside.is_dir() else path, runtime).family
    if not isinstance(family, StableDiffusion3) or not family.without_t5:
        raise ModelError(f"{path}: not a pipeline that train-transformer wrote")
    return family.parts


def _take_weights(network: nn.Module, given: nn.Module, name: str) -> None:
    try:
        network.load_state_dict(given.state_dict())
    except RuntimeError as error:
        raise ModelError(
            f"{name} has another shape than the settings ask for",
            "start from one of the same width, layers and vocabulary, or leave --init-from out",
        ) from error
