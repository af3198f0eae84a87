"""train-vae: an AutoencoderKL from scratch on a data set (supplement 2.1, 6.1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from origcli.errors import InputError, ModelError, UsageError
from origcli.models.loading import quiet_loading
from origcli.models.pipeline import forget_origin
from origcli.models.vae import (
    build_vae,
    decode_latents,
    encode_moments,
    fold_normalization,
    load_vae,
    to_array,
    to_pixels,
)
from origcli.reports.envelope import Status
from origcli.reports.schema import TrainVaeReport
from origcli.reports.writers import write_report
from origcli.runtime.atomic import atomic_directory
from origcli.runtime.context import Runtime
from origcli.runtime.memory import BatchSize, slices
from origcli.runtime.provenance import hash_files
from origcli.runtime.seeding import generator
from origcli.scenes import dataset as datasets
from origcli.settings import Settings, VaeSettings
from origcli.training.identity import start_hash
from origcli.training.loop import Job, train
from origcli.training.report import (
    Amount,
    by_the_first,
    notes_on_start,
    provenance,
    save_loss_figure,
    save_sheet,
    stage_result,
)
from origcli.training.schedule import steps_in

_EVALUATION_BATCH = 64
_STATISTICS_SAMPLES = 2000
_SSIM_WINDOW = 11


class ImageDataset(Dataset[Any]):
    """The first `size` images of a data set, fetched a batch at a time."""

    def __init__(self, data: datasets.Dataset, size: int) -> None:
        self.data, self.size = data, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """uint8 images (n, h, w, 3)."""
        return {"pictures": torch.from_numpy(np.stack([self.data.image(i) for i in indices]))}


class VaeObjective(nn.Module):
    """L1 + MSE + KL, each a mean over the values of an image, so the weights mean the same at any size.

    With the KL a mean over the image's 3·h·w values, too, a weight of 1e-6 is Stable Diffusion's.
    """

    def __init__(self, vae: Any, settings: VaeSettings) -> None:
        super().__init__()
        self.vae, self.settings = vae, settings

    def forward(self, pictures: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Terms, each (n,).

        Args:
            pictures: uint8 (n, h, w, 3).
            noise: (n, c, h/f, w/f), of the posterior's sample.
        """
        pixels = pictures.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last) / 127.5 - 1
        posterior = self.vae.encode(pixels).latent_dist
        latents = posterior.mean + posterior.std * noise  # (n, c, h/f, w/f)
        difference = self.vae.decode(latents).sample - pixels  # (n, 3, h, w)

        l1 = difference.abs().mean((1, 2, 3))
        mse = difference.square().mean((1, 2, 3))
        kl = posterior.kl() / pixels[0].numel()
        weights = self.settings
        loss = weights.l1_weight * l1 + weights.mse_weight * mse + weights.kl_weight * kl
        return {"loss": loss, "l1": l1, "mse": mse, "kl": kl}


def run(
    data_path: Path,
    settings: Settings,
    runtime: Runtime,
    *,
    resume: bool = False,
    workers: int = 0,
    track: str | None = None,
    init_from: Path | None = None,
) -> TrainVaeReport:
    """Trains a VAE; writes `vae/`, `report.json`, `history.csv` and two images into the run directory.

    With `freeze_encoder` the decoder alone learns: latents, and a UNet trained on them, stay good.

    Returns:
        The report: PSNR (dB) and SSIM on held-out images; mean and standard deviation of the latents
        before they were normalized; the scaling factor.

    Raises:
        InputError: the data set is missing or too small to hold images out.
        UsageError: the encoder is to be kept and there is none, or the images cannot be halved that often.
        ModelError: the VAE to start from cannot be loaded, or has another shape.
    """
    own = settings.vae
    data = datasets.read_dataset(data_path)
    held_out = held_out_indices(data, own.held_out)
    side = latent_side(data, len(own.channels))
    vae = initial_vae(own, data.resolution, runtime.seed, init_from)
    if own.freeze_encoder:
        freeze_encoder(vae, init_from)

    job = make_job(vae, data, held_out, side, own, runtime, init_from)
    amount = Amount(steps_in(own.epochs, job.size, own.batch_size), own.batch_size, job.size)
    vae.to(runtime.device, memory_format=torch.channels_last)
    history = train(job, own, amount.steps, runtime, resume=resume, workers=workers, track=track)

    def finish() -> TrainVaeReport:
        vae.float()
        measured = normalize(vae, data, job.size, own, runtime)
        measured = {**reconstruction_quality(vae, data, held_out, runtime), **measured}

        save_vae(vae, runtime.out / "vae")
        _draw_reconstructions(vae, data, held_out[:16], runtime.out / "reconstructions.png")
        save_loss_figure(runtime.out / "loss.png", history, ("l1", "mse", "kl"))

        report = TrainVaeReport(
            status=Status.complete,
            provenance=provenance("train-vae", {"vae": own}, runtime, data.hash, notes_on_start(init_from)),
            results=(
                stage_result(
                    "vae",
                    amount,
                    vae,
                    measured,
                    history,
                    directory="vae",
                    dataset_hash=data.hash,
                    weights_hash=hash_files((runtime.out / "vae").glob("*.safetensors"), runtime.out / "vae"),
                    figures=("loss.png", "reconstructions.png"),
                ),
            ),
        )
        write_report(runtime.out, report)
        return report

    return by_the_first(finish, runtime)


def freeze_encoder(vae: Any, init_from: Path | None) -> None:
    """Lets the decoder alone learn.

    Raises:
        UsageError: the encoder has random weights.
    """
    if init_from is None:
        raise UsageError("--freeze-encoder needs an encoder to keep", "add --init-from DIR")
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)


def make_job(
    vae: Any,
    data: datasets.Dataset,
    held_out: range,
    side: int,
    settings: VaeSettings,
    runtime: Runtime,
    init_from: Path | None,
) -> Job:
    """What is trained: the VAE, on all images that are not held out.

    Args:
        side: width and height of the latents.
    """
    latent_shape = (settings.latent_channels, side, side)

    def preview(step: int) -> None:
        path = runtime.out / f"reconstructions-{step:08d}.png"
        _draw_reconstructions(vae, data, held_out[:8], path)

    return Job(
        name="train-vae",
        objective=VaeObjective(vae, settings),
        trained=vae,
        samples=ImageDataset(data, held_out.start),
        size=held_out.start,
        randoms=lambda g, n: {"noise": torch.randn((n, *latent_shape), generator=g)},
        identity={
            "settings": settings.model_dump(mode="json"),
            "seed": runtime.seed,
            "data": data.hash,
            "pictures": data.pictures_hash,
            "init_from": start_hash(init_from),
        },
        called=("encoder", "decoder"),  # encode() and decode() are no calls of the whole
        preview=preview,
    )


def normalize(
    vae: Any, data: datasets.Dataset, train_size: int, settings: VaeSettings, runtime: Runtime
) -> dict[str, float]:
    """Gives the latents mean 0 and deviation 1 where the encoder may change; what they were before."""
    pictures = range(min(train_size, _STATISTICS_SAMPLES))
    mean, std = latent_statistics(vae, data, pictures, runtime)
    if not settings.freeze_encoder:
        fold_normalization(vae, mean, std)
    return {
        **{f"latent_mean_{i}": float(value) for i, value in enumerate(mean)},
        **{f"latent_std_{i}": float(value) for i, value in enumerate(std)},
        "scaling_factor": vae.config.scaling_factor,
    }


def save_vae(vae: Any, target: Path) -> None:
    """Writes a VAE's directory, whole or not at all."""
    vae.to(memory_format=torch.contiguous_format)
    with atomic_directory(target) as partial:
        with quiet_loading():
            vae.save_pretrained(partial, safe_serialization=True)
        forget_origin(partial)


def held_out_indices(data: datasets.Dataset, wanted: int) -> range:
    """The last images of a data set, at most a tenth of it, that no training sees.

    Raises:
        InputError: a tenth of it is not one image.
    """
    size = len(data)
    if size < 10:
        raise InputError(
            f"{data.path}: {size} images are too few to train on and hold a tenth of them out",
            "make 10 at least: origcli synth --count",
        )
    return range(size - min(wanted, size // 10), size)


def latent_side(data: datasets.Dataset, levels: int) -> int:
    """The width and height of the latents of a VAE, each level of which but the first halves an image.

    Raises:
        UsageError: the images cannot be halved that often: they would be decoded smaller than they were.
    """
    factor = 2 ** (levels - 1)
    if data.resolution % factor:
        raise UsageError(
            f"{data.path}: images of {data.resolution} pixels cannot be halved {levels - 1} times, as a "
            f"VAE of {levels} levels does",
            f"make them at a multiple of {factor}: origcli synth --resolution, or give [vae] fewer channels",
        )
    return data.resolution // factor


def initial_vae(settings: VaeSettings, resolution: int, seed: int, init_from: Path | None) -> Any:
    """New random weights, or those of a VAE directory of the same shape.

    Raises:
        ModelError: it cannot be loaded, or has another shape.
    """
    with torch.random.fork_rng():
        torch.manual_seed(generator(seed, "vae").initial_seed() % 2**63)
        vae = build_vae(settings, resolution)
    if init_from is not None:
        try:
            vae.load_state_dict(load_vae(init_from).state_dict())
        except RuntimeError as error:
            raise ModelError(
                f"{init_from}: its VAE has another shape than the settings ask for",
                "start from one of the same channels and layers, or leave --init-from out",
            ) from error
    return vae


@torch.inference_mode()
def latent_statistics(
    vae: Any, data: datasets.Dataset, indices: Sequence[int], runtime: Runtime
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (c,) of posterior samples over images."""
    samples, size = [], BatchSize(_EVALUATION_BATCH, runtime.progress.say)
    for part in slices(len(indices), _EVALUATION_BATCH):
        array = np.stack([data.image(i) for i in indices[part]])
        mean, std = _moments(vae, array, size, runtime.device)
        noise = torch.randn(mean.shape, generator=generator("latent statistics", part.start))
        samples.append((mean + std * noise.to(mean.device)).double().cpu())
    values = torch.cat(samples)
    return (
        values.mean((0, 2, 3)).float().to(runtime.device),
        values.std((0, 2, 3)).float().to(runtime.device),
    )


@torch.inference_mode()
def reconstruction_quality(
    vae: Any, data: datasets.Dataset, indices: Sequence[int], runtime: Runtime
) -> dict[str, float]:
    """PSNR and SSIM of round trips (posterior mean, 8-bit images), over the images that hold something.

    PSNR is from the squared error pooled over all images: a mean of PSNRs would be led by the
    emptiest ones.
    """
    shown = [i for i in indices if (data.image(i) != 255).any()]
    size = BatchSize(_EVALUATION_BATCH, runtime.progress.say)

    def measure(part: slice) -> tuple[float, float, int]:
        """Sums over the images of a part: squared error, SSIM, values."""
        array = np.stack([data.image(i) for i in shown[part]])
        redrawn = _round_trip(vae, array, runtime.device)
        error = float(((redrawn.astype(np.float64) - array) ** 2).sum())
        return error, float(similarities(redrawn, array, runtime.device).sum()), array.size

    sums = np.array(list(size.over(len(shown), measure)), float).reshape(-1, 3)
    error, similarity, values = sums.sum(axis=0).tolist()
    mse = error / values if values else float("nan")
    return {
        "psnr_db": 10 * float(np.log10(255**2 / mse)) if mse > 0 else float("inf"),
        "ssim": similarity / len(shown) if shown else float("nan"),
        "held_out_images": len(shown),
    }


def similarities(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """SSIM (Wang et al. 2004) of images uint8 (n, h, w, 3) and as many others: (n,), at most 1.

    The Gaussian window has a deviation of 1.5 pixels. Images are mirrored at their edges, so that every
    pixel has one.
    """
    from pytorch_msssim import ssim

    planes = (torch.from_numpy(each).to(device).permute(0, 3, 1, 2).float() for each in (a, b))
    mirrored = [functional.pad(each, (_SSIM_WINDOW // 2,) * 4, mode="reflect") for each in planes]
    similarity: Tensor = ssim(
        *mirrored, data_range=255, size_average=False, win_size=_SSIM_WINDOW, win_sigma=1.5
    )
    return similarity


def _moments(
    vae: Any, array: np.ndarray[Any, Any], size: BatchSize, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (n, c, h/f, w/f) of images uint8 (n, h, w, 3)."""
    parts = size.over(len(array), lambda part: encode_moments(vae, to_pixels(array[part], device)))
    mean, std = (torch.cat(each) for each in zip(*parts, strict=True))
    return mean, std


def _round_trip(vae: Any, array: np.ndarray[Any, Any], device: torch.device) -> np.ndarray[Any, Any]:
    """Images uint8 (n, h, w, 3), decoded from the means of their latents."""
    mean, _ = encode_moments(vae, to_pixels(array, device))
    return to_array(decode_latents(vae, mean * vae.config.scaling_factor))


@torch.inference_mode()
def _draw_reconstructions(vae: Any, data: datasets.Dataset, indices: Sequence[int], path: Path) -> None:
    """A sheet of held-out images over their round trips."""
    array = np.stack([data.image(i) for i in indices])
    device = next(vae.parameters()).device
    parts = BatchSize(len(array)).over(len(array), lambda part: _round_trip(vae, array[part], device))
    redrawn = np.concatenate(list(parts))
    pictures = [Image.fromarray(picture) for picture in (*array, *redrawn)]
    save_sheet(path, pictures, len(array))
