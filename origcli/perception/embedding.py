"""Distances that are cosines of embeddings, and networks of the hub that embed images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from origcli.errors import ModelError
from origcli.models.loading import quiet_loading
from origcli.perception.distance import EDIT, InDistributionTest
from origcli.runtime.context import Runtime
from origcli.runtime.memory import BatchSize, slices
from origcli.runtime.network import no_network
from origcli.runtime.provenance import hash_files
from origcli.weights.registry import companion_directory
from origcli.weights.repository import HubModel

_BATCH = 32
_PREPROCESSOR = "preprocessor_config.json"
# Not weights, but the numbers 0, 1, 2 …, which files of older versions of transformers hold.
_NUMBERS = ".position_ids"

Feature = NDArray[np.float32]


class EmbeddingDistance(ABC):
    """1 − cosine of embeddings; a `Distance`. Everything is fp32."""

    test: InDistributionTest = EDIT

    def __init__(self, name: str, version: str, runtime: Runtime) -> None:
        self.name, self.version = name, version
        self._device = runtime.device
        self._batch = BatchSize(_BATCH, runtime.progress.say)

    @abstractmethod
    def _embed(self, images: Sequence[Image.Image]) -> Tensor:
        """Embeddings (n, d) of images that fit into memory together."""

    def features(self, images: Sequence[Image.Image]) -> list[Feature]:
        """One vector an image."""

        def work(size: int) -> list[Feature]:
            features: list[Feature] = []
            for part in slices(len(images), size):
                features += self._part(images[part])
            return features

        return self._batch.attempt(work)

    @torch.inference_mode()
    def _part(self, images: Sequence[Image.Image]) -> list[Feature]:
        with full_precision(), torch.autocast(self._device.type, enabled=False):
            return list(self._embed(images).float().cpu().numpy())

    def between(self, a: Any, b: Any) -> float:
        """1 − cosine, at least 0 and at most 2."""
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
        return max(0.0, 1.0 - cosine)  # rounding takes the distance of equal images to −1e-16

    def captions(self, unprompted: Callable[[], Sequence[Any]]) -> list[str] | None:
        """Any plain caption serves."""
        return None

    def facts_of(self, features: Sequence[Any]) -> dict[str, Any]:
        """Nothing: an embedding tells no one anything but its distance."""
        return {}


class HubDistance(EmbeddingDistance):
    """The distance of what a network of transformers, from the hub, makes of images."""

    def __init__(
        self,
        name: str,
        version: str,
        network: Any,
        processor: Any,
        embedding: Callable[[Any], Tensor],
        runtime: Runtime,
    ) -> None:
        super().__init__(name, version, runtime)
        self._network, self._processor, self._embedding = network.to(runtime.device), processor, embedding

    def _embed(self, images: Sequence[Image.Image]) -> Tensor:
        rgb = [image.convert("RGB") for image in images]
        pixels = self._processor(rgb, return_tensors="pt")["pixel_values"]  # (n, 3, h, w)
        return self._embedding(self._network(pixel_values=pixels.to(self._device)))


def open_hub_distance(
    model: HubModel,
    network: Any,
    processor: Any,
    embedding: Callable[[Any], Tensor],
    runtime: Runtime,
    *,
    others: tuple[str, ...] = (),
) -> HubDistance:
    """A distance by a network of the hub, which is fetched where that is needed and allowed.

    Args:
        model: its repository; the metric is called as it is.
        network, processor: their classes in transformers.
        embedding: takes the embeddings (n, d) out of the network's output.
        others: how the names of weights begin that the repository has for other networks.

    Raises:
        ModelError: the files are not here and cannot be fetched, are damaged, or are those of another
            network.
    """
    directory = companion_directory(model, runtime)
    loaded = load_strictly(network, directory, model.command, others)
    prepared = load_processor(processor, directory, model.command)
    files = [*directory.glob("*.safetensors"), directory / "config.json", directory / _PREPROCESSOR]
    version = f"1 {hash_files(files, directory)[:16]}"
    return HubDistance(model.name, version, loaded, prepared, embedding, runtime)


def load_strictly(network: Any, directory: Path, remedy: str, others: tuple[str, ...] = ()) -> Any:
    """A frozen network of transformers in fp32, of which every weight came from a directory's safetensors.

    Args:
        network: its class.
        remedy: a command that gets the files again.
        others: how the names of weights begin that are of other networks.

    Raises:
        ModelError: a file is missing or damaged, or the weights are not those of this network.
    """
    try:
        with quiet_loading(), no_network():
            loaded, info = network.from_pretrained(
                directory,
                dtype=torch.float32,  # as the pixels are, however it is stored
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{directory}: cannot load {network.__name__}: {error}", f"get it again: {remedy}"
        ) from error
    foreign = [
        name
        for name in info["unexpected_keys"]
        if not name.endswith(_NUMBERS) and not (others and name.startswith(others))
    ]
    for problem, weights in (("missing", info["missing_keys"]), ("unknown", foreign)):
        if weights:
            raise ModelError(
                f"{directory}: weights of {network.__name__} are {problem}: {min(weights)} "
                f"({len(weights)} in all)",
                f"get it again: {remedy}",
            )
    return loaded.eval().requires_grad_(False)


def load_processor(kind: Any, directory: Path, remedy: str) -> Any:
    """What makes pixels or token ids for a network, from its directory.

    Raises:
        ModelError: its configuration is missing or damaged.
    """
    try:
        with quiet_loading(), no_network():
            return kind.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{directory}: cannot load {kind.__name__}: {error}", f"get it again: {remedy}"
        ) from error


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
