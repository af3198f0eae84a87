"""DreamSim (Fu et al. 2023, arXiv 2306.09344): the distance of the supplement's section 6.2.

The distance is the original's; the way there is not. Weights are verified files of our cache, each picture is
embedded once, everything is fp32, nothing comes from torch.hub, nothing is unpickled, nothing is printed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from origcli.errors import ModelError
from origcli.perception.dreamsim_towers import SIDE, load_towers
from origcli.runtime.context import Runtime
from origcli.runtime.memory import BatchSize, slices
from origcli.weights import dreamsim_release

DEFAULT_VARIANT = "ensemble"
_BATCH = 32

Feature = NDArray[np.float32]


class DreamSim:
    """1 − cosine of centred embeddings; a `Distance`.

    Attributes:
        name: `dreamsim`, or `dreamsim:VARIANT` for all but the ensemble, which are other metrics.
        version: of the package, the variant and the weights.
    """

    def __init__(self, variant: str, weights_hash: str, towers: nn.ModuleList, runtime: Runtime) -> None:
        self.name = dreamsim_release.metric_name(variant)
        self.version = f"{metadata.version('dreamsim')} {variant} {weights_hash[:16]}"
        self._patches = variant.endswith("_patch")
        self._towers = towers.to(runtime.device)
        self._device = runtime.device
        self._batch = BatchSize(_BATCH, runtime.progress.say)

    def features(self, images: Sequence[Image.Image]) -> list[Feature]:
        """One unit vector a picture: 1,792 numbers for the ensemble.

        Pictures are put into 224×224 (bicubic, the aspect ratio not kept), as DreamSim was trained.
        """
        return self._batch.attempt(
            lambda size: [row for part in slices(len(images), size) for row in self._embed(images[part])]
        )

    def between(self, a: Any, b: Any) -> float:
        """1 − cosine, at least 0 and at most 2."""
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
        return max(0.0, 1.0 - cosine)  # rounding takes the distance of equal pictures to −1e-16

    @torch.inference_mode()
    def _embed(self, images: Sequence[Image.Image]) -> list[Feature]:
        pixels = torch.stack([_pixels(image) for image in images]).to(self._device)  # (n, 3, 224, 224)
        with full_precision(), torch.autocast(self._device.type, enabled=False):
            tokens = [tower(pixels) for tower in self._towers]  # each (n, t, d)
        embedding = _patch_embedding(tokens[0]) if self._patches else _class_embedding(tokens)
        return list(embedding.cpu().numpy())


def _class_embedding(tokens: Sequence[Tensor]) -> Tensor:
    """The class tokens of all towers side by side, centred and of unit length: (n, Σ d)."""
    return _normalised(torch.cat([part[:, 0] for part in tokens], dim=-1))


def _patch_embedding(tokens: Tensor) -> Tensor:
    """The class token and the mean patch token, of tokens centred and of unit length: (n, 2 d)."""
    unit = _normalised(tokens)
    return torch.cat([unit[:, 0], unit[:, 1:].mean(dim=1)], dim=-1)


def _normalised(x: Tensor) -> Tensor:
    x = x - x.mean(dim=-1, keepdim=True)
    return x / x.norm(dim=-1, keepdim=True)


def _pixels(image: Image.Image) -> Tensor:
    """(3, 224, 224) in [0, 1]."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32: a distance must not depend on what was switched on for the diffusion model."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled,
            benchmark=False,
            deterministic=torch.backends.cudnn.deterministic,
            allow_tf32=False,
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def load_dreamsim(runtime: Runtime, variant: str = DEFAULT_VARIANT) -> DreamSim:
    """DreamSim on the runtime's device; with a network, its weights are fetched on first use, which is said.

    Raises:
        UsageError: no such variant.
        ModelError: the weights are not here and cannot be fetched, or are not what was fetched.
    """
    dreamsim_release.release(variant)
    if not dreamsim_release.is_fetched(variant):
        if runtime.offline:
            raise ModelError(
                f"DreamSim's weights ({variant}) are not here, and the network is off",
                f"fetch them where there is one: origcli fetch {dreamsim_release.metric_name(variant)}",
            )
        dreamsim_release.fetch_release(variant, runtime.progress)
    directory, weights_hash = dreamsim_release.verified(variant)
    *backbones, config, adapter = dreamsim_release.needed_files(variant, directory)
    return DreamSim(variant, weights_hash, load_towers(backbones, adapter, config), runtime)
