"""Stores a pipeline at half its size, as the bundled model is stored:

    python -m origcli.models.half_precision PIPELINE DIRECTORY

Weights become fp16; they are fp32 again where they are loaded on a CPU. What else lies in the directory
(card, detector, example) stays, but for its registry.json: that holds constants of other weights, and
`origcli calibrate --write` writes it again.
"""

import shutil
import sys
from pathlib import Path

from torch import nn

from origcli.models.pipeline import load_pipeline, save_pipeline
from origcli.runtime.atomic import atomic_directory
from origcli.runtime.context import Runtime
from origcli.weights.registry import REGISTRY_FILE


def store_half(pipeline: Path, directory: Path) -> None:
    """Makes a directory of a pipeline in fp16 and of what else it held before, whole or not at all.

    Raises:
        ModelError: the pipeline cannot be loaded.
        StorageError: the disk is full or the directory cannot be written.
    """
    parts = load_pipeline(pipeline, Runtime(), name=pipeline.name).family.parts
    with atomic_directory(directory) as partial:
        save_pipeline(
            partial,
            **{name: part.half() if isinstance(part, nn.Module) else part for name, part in parts.items()},
        )
        for kept in directory.iterdir() if directory.is_dir() else ():
            if kept.name == REGISTRY_FILE or (partial / kept.name).exists():
                continue
            copy = shutil.copytree if kept.is_dir() else shutil.copy2
            copy(kept, partial / kept.name)


if __name__ == "__main__":
    store_half(Path(sys.argv[1]), Path(sys.argv[2]))
