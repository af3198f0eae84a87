"""Whether a pipeline directory is whole and unchanged: its kind, its files, and the hash over all of them."""

from pathlib import Path

from origcli.errors import ModelError
from origcli.runtime.provenance import hash_files
from origcli.weights.pipelines import INDEX, Pipeline, check_files, read_index

_READ = (".json", ".txt", ".model")  # configurations and vocabularies


def check_pipeline(
    root: Path, variant: str | None = None, expected: str | None = None, remedy: str = ""
) -> tuple[Pipeline, str]:
    """Everything about a pipeline directory that can be told without loading it, the cheapest first.

    Args:
        variant: `fp16` for `*.fp16.safetensors`.
        expected: what `hash_pipeline` gave when the files were known to be whole.
        remedy: what to do about files that have changed.

    Returns:
        What the index says, and the hash.

    Raises:
        ModelError: the kind cannot be opened, a file is missing, or the files are not those expected.
    """
    pipeline = read_index(str(root), root / INDEX)
    check_files(str(root), root, pipeline, variant)
    found = hash_pipeline(root, variant, pipeline)
    if expected not in (None, found):
        raise ModelError(
            f"{root}: damaged: its files are not those that were downloaded or published", remedy
        )
    return pipeline, found


def hash_pipeline(root: Path, variant: str | None = None, pipeline: Pipeline | None = None) -> str:
    """sha256 over all files that loading reads: index, weights of the variant, configurations, vocabulary.

    Args:
        pipeline: what the index says, where it was read before.

    Raises:
        ModelError: the directory is no pipeline that can be opened.
    """
    pipeline = pipeline or read_index(str(root), root / INDEX)
    files = [
        path
        for part in pipeline.files
        for path in (root / part.folder).rglob("*")
        if path.is_file() and not path.name.startswith(".")
        if path.suffix in _READ or _is_of_variant(path.name, variant)
    ]
    return hash_files([root / INDEX, *files], root)


def _is_of_variant(name: str, variant: str | None) -> bool:
    """Whether loading reads a weight file: `model.safetensors` may lie beside `model.fp16.safetensors`."""
    middle = name.removesuffix(".safetensors").partition(".")[2]  # "", "fp16" or "fp16-00001-of-00002"
    return name.endswith(".safetensors") and middle.partition("-")[0] == (variant or "")
