"""DreamSim (Fu et al. 2023, arXiv 2306.09344): the distance of the supplement's section 6.2.

The distance is the original's; the way there is not. Weights are verified files of our cache, each image is
embedded once, everything is fp32, nothing comes from torch.hub, nothing is unpickled, nothing is printed.
"""

from collections.abc import Sequence
from importlib import metadata

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from origcli.errors import ModelError
from origcli.perception.dreamsim_towers import SIDE, load_towers
from origcli.perception.embedding import EmbeddingDistance
from origcli.runtime.context import Runtime
from origcli.weights import dreamsim_release


class DreamSim(EmbeddingDistance):
    """1 − cosine of centered embeddings; a `Distance`.

    An embedding is a unit vector: 1,792 numbers for the ensemble. Images are put into 224×224 (bicubic, the
    aspect ratio not kept), as DreamSim was trained.

    Attributes:
        name: `dreamsim`, or `dreamsim:VARIANT` for all but the ensemble, which are other metrics.
        version: of the package, the variant and the weights.
    """

    def __init__(self, variant: str, weights_hash: str, towers: nn.ModuleList, runtime: Runtime) -> None:
        version = f"{metadata.version('dreamsim')} {variant} {weights_hash[:16]}"
        super().__init__(dreamsim_release.metric_name(variant), version, runtime)
        self._patches = variant.endswith("_patch")
        self._towers = towers.to(runtime.device)

    def _embed(self, images: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([_pixels(image) for image in images]).to(self._device)  # (n, 3, 224, 224)
        tokens = [tower(pixels) for tower in self._towers]  # each (n, t, d)
        return _patch_embedding(tokens[0]) if self._patches else _class_embedding(tokens)


def _class_embedding(tokens: Sequence[Tensor]) -> Tensor:
    """The class tokens of all towers side by side, centered and of unit length: (n, Σ d)."""
    return _normalized(torch.cat([part[:, 0] for part in tokens], dim=-1))


def _patch_embedding(tokens: Tensor) -> Tensor:
    """The class token and the mean patch token, of tokens centered and of unit length: (n, 2 d)."""
    unit = _normalized(tokens)
    return torch.cat([unit[:, 0], unit[:, 1:].mean(dim=1)], dim=-1)


def _normalized(x: Tensor) -> Tensor:
    x = x - x.mean(dim=-1, keepdim=True)
    return x / x.norm(dim=-1, keepdim=True)


def _pixels(image: Image.Image) -> Tensor:
    """(3, 224, 224) in [0, 1]."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def load_dreamsim(runtime: Runtime, variant: str = dreamsim_release.ENSEMBLE) -> DreamSim:
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
                f"with a network, run: origcli fetch {dreamsim_release.metric_name(variant)}",
            )
        dreamsim_release.fetch_release(variant, runtime.progress)
    directory, weights_hash = dreamsim_release.verified(variant)
    *backbones, config, adapter = dreamsim_release.needed_files(variant, directory)
    return DreamSim(variant, weights_hash, load_towers(backbones, adapter, config), runtime)
