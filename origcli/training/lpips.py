"""LPIPS (Zhang et al. 2018), an optional term of the VAE's loss, and the fetching of its weights.

The distance and its five small layers are torchmetrics'; VGG-16 below them is torchvision's, whose own loader
would unpickle it.
"""

from typing import Any

import torch

from origcli.errors import ModelError
from origcli.runtime.cache import cache_directory
from origcli.runtime.context import Runtime
from origcli.runtime.provenance import hash_file
from origcli.weights.downloads import RemoteFile, download

VGG16 = RemoteFile(
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    size=553433881,
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)


def load_lpips(runtime: Runtime) -> Any:
    """The frozen distance: (n, 3, h, w) twice, in [-1, 1], to (n, 1, 1, 1); VGG-16 is fetched at first use.

    Raises:
        ModelError: its weights are not here and cannot be fetched.
    """
    from torchmetrics.functional.image.lpips import _LPIPS

    target = cache_directory("lpips") / VGG16.name
    whole = target.is_file() and hash_file(target) == VGG16.sha256
    if not whole and runtime.offline:
        raise ModelError(
            "LPIPS: the weights of VGG-16 are not on this disk, and the network is off",
            f"put {VGG16.name} at {target}, run once with a network, or use --lpips-weight 0",
        )
    if not whole:
        try:
            download(VGG16, target, runtime.progress)
        except ModelError as error:
            raise ModelError(
                f"LPIPS: the weights of VGG-16 cannot be fetched: {error.message}",
                f"try again, put {VGG16.name} at {target}, or use --lpips-weight 0",
            ) from error
    weights = torch.load(target, map_location="cpu", weights_only=True)
    # Without dropout its layers have other names, and torchmetrics leaves them random without a word.
    distance = _LPIPS(pretrained=True, net="vgg", pnet_rand=True, use_dropout=True)
    for layer in distance.lins:
        layer.model[0] = torch.nn.Identity()  # no step's seed decides about a distance
    layers = distance.net.state_dict()  # slice1.0.weight is features.0.weight
    distance.net.load_state_dict({name: weights[f"features.{name.partition('.')[2]}"] for name in layers})
    return distance.requires_grad_(False)
