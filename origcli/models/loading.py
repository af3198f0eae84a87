"""Networks from their directories: quietly, without a network, and with weights that fit exactly."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from origcli.errors import ModelError
from origcli.runtime.network import no_network
from origcli.weights.pipelines import check_part, part_files

_PROBLEMS = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keeps the libraries' remarks and bars off the terminal, and puts their settings back."""
    import diffusers.utils.logging
    import transformers.utils.logging

    libraries = (diffusers.utils.logging, transformers.utils.logging)
    bars = [library.is_progress_bar_enabled() for library in libraries]
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    try:
        for library in libraries:
            library.disable_progress_bar()
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for library, shown in zip(libraries, bars, strict=True):
            if shown:
                library.enable_progress_bar()


def first_line(error: Exception) -> str:
    """What a library's error says, in short: some go on for pages."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def load_network(
    kind: Any,
    directory: Path,
    *,
    variant: str | None = None,
    dtype: torch.dtype | None = None,
    remedy: str = "",
) -> Any:
    """A network of diffusers or transformers with its weights, frozen.

    Args:
        kind: its class.
        variant: `fp16` takes `*.fp16.safetensors`.
        dtype: of the weights; `None` is the library's choice.

    Raises:
        ModelError: weights are missing, too many, damaged, or of another shape.
    """
    import transformers

    name = "dtype" if issubclass(kind, transformers.PreTrainedModel) else "torch_dtype"
    try:
        with no_network(), quiet_loading():
            network, info = kind.from_pretrained(
                directory,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                variant=variant,
                **({} if dtype is None else {name: dtype}),
            )
    except Exception as error:  # each library raises its own kinds for a damaged file
        raise ModelError(f"{directory}: cannot load the weights: {first_line(error)}", remedy) from error
    for problem in _PROBLEMS:
        if info.get(problem):
            first = sorted(map(str, info[problem]))[0]
            text = f"{len(info[problem])} {problem.replace('_', ' ')}, e.g. {first}"
            raise ModelError(f"{directory}: the weights do not fit a {kind.__name__}: {text}", remedy)
    return network.requires_grad_(False).eval()


def load_part(kind: Any, path: Path, name: str) -> Any:
    """A frozen diffusers network, from its directory or from a run or pipeline that holds it.

    Args:
        kind: a class such as AutoencoderKL.
        name: what it is called; in small letters, the folder that holds it.

    Raises:
        ModelError: there is none, it is another network, or it is damaged.
    """
    folder = name.lower()
    directory = path / folder if (path / folder).is_dir() else path
    if not (directory / "config.json").is_file():
        raise ModelError(f"{path}: no {name} is here", f"make one with: origcli train-{folder}")
    check_part(directory, part_files("", kind.__name__))
    return load_network(kind, directory)
