"""The hash of a pipeline directory: what it was when its files were known to be whole."""

from pathlib import Path

from origcli.runtime.provenance import hash_files

COMPONENTS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")


def hash_pipeline(root: Path, variant: str | None = None) -> str:
    """sha256 over all files that loading reads: weights of the variant, configurations, vocabulary."""
    files = [
        path
        for part in COMPONENTS
        for path in (root / part).rglob("*")
        if path.is_file() and not path.name.startswith(".")
        if path.suffix in (".json", ".txt") or _is_of_variant(path.name, variant)
    ]
    return hash_files(files, root)


def _is_of_variant(name: str, variant: str | None) -> bool:
    """Whether loading reads a weight file: `model.safetensors` may lie beside `model.fp16.safetensors`."""
    middle = name.removesuffix(".safetensors").partition(".")[2]  # "", "fp16" or "fp16-00001-of-00002"
    return name.endswith(".safetensors") and middle.partition("-")[0] == (variant or "")
