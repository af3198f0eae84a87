"""Stores a pipeline at half its size, as the bundled model is stored:

    python -m origcli.models.half PIPELINE DIRECTORY

Weights become fp16; they are fp32 again where they are loaded on a CPU. What else lies in the directory
(card, detector, example) stays, but for its registry.json: that holds constants of other weights, and
`origcli calibrate --write` makes it anew.
"""

import shutil
import sys
from pathlib import Path

from origcli.models.checkpoints import publish_directory
from origcli.models.pipeline import load_pipeline, save_pipeline
from origcli.models.registry import REGISTRY_FILE
from origcli.runtime.context import Runtime


def store_half(pipeline: Path, directory: Path) -> None:
    """Writes the parts of a pipeline in fp16 into a directory, each part whole or not at all.

    Raises:
        ModelError: the pipeline cannot be loaded.
    """
    model = load_pipeline(pipeline, Runtime(), name=pipeline.name)
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / ".half.partial"
    shutil.rmtree(partial, ignore_errors=True)
    save_pipeline(
        partial,
        vae=model.vae.half(),
        unet=model.unet.half(),
        text_encoder=model.text_encoder.half(),
        tokenizer=model.tokenizer,
        scheduler=model.scheduler,
    )
    for part in sorted(partial.iterdir()):
        if part.is_dir():
            publish_directory(part, directory / part.name)
        else:
            part.replace(directory / part.name)
    partial.rmdir()
    (directory / REGISTRY_FILE).unlink(missing_ok=True)


if __name__ == "__main__":
    store_half(Path(sys.argv[1]), Path(sys.argv[2]))
