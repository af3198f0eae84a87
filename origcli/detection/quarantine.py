"""Keeps what ultralytics does to a process from reaching the rest of it.

Its import replaces `PIL.Image.open` and `torch.save`, sets variables of the environment, thread counts,
print options and warning filters, writes a settings file, and looks the network up; its functions log to
stdout. Inside the quarantine there is no network, and it is kept silent and out of the home
directory; after it everything is as it was.
"""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from origcli.errors import ModelError
from origcli.runtime.network import no_network

# Read by ultralytics while it is imported, and never again.
_VARIABLES = {
    "YOLO_OFFLINE": "1",  # no look-up of the network, no analytics, no search for updates
    "YOLO_AUTOINSTALL": "0",  # no pip, not even for packages that a checkpoint names
    "YOLO_VERBOSE": "0",
    "ULTRALYTICS_SAFE_LOAD": "1",  # no `eval` of an architecture's words, no code in checkpoints
}


# Threads that undid each other's changes in turn would leave some of them.
_one_at_a_time = threading.RLock()


@contextmanager
def quarantine(config_directory: Path) -> Iterator[None]:
    """A context in which ultralytics may be imported and used.

    Args:
        config_directory: where it may keep its settings file.
    """
    with _one_at_a_time, ExitStack() as stack:
        stack.enter_context(no_network())
        stack.enter_context(_environment({**_VARIABLES, "YOLO_CONFIG_DIR": str(config_directory)}))
        stack.enter_context(_functions())
        stack.enter_context(_switches())
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(redirect_stdout(sys.stderr))
        yield


def _opencv() -> Any:
    """OpenCV, which ultralytics imports.

    Raises:
        ModelError: it cannot be imported, as where a library of the system is missing.
    """
    try:
        import cv2
    except ImportError as error:
        raise ModelError(
            f"OpenCV, which the detector needs, cannot be imported: {error}",
            "pip install --force-reinstall opencv-python-headless (and no opencv-python beside it)",
        ) from error
    return cv2


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _functions() -> Iterator[None]:
    """Functions of other libraries that ultralytics replaces by its own."""
    cv2 = _opencv()
    owners: list[tuple[Any, str]] = [
        (PIL.Image, "open"),
        (torch, "save"),
        (torch, "load"),
        (cv2, "imread"),
        (cv2, "imwrite"),
        (cv2, "imshow"),
    ]
    before = [getattr(owner, name) for owner, name in owners]
    try:
        yield
    finally:
        for (owner, name), function in zip(owners, before, strict=True):
            setattr(owner, name, function)


@contextmanager
def _switches() -> Iterator[None]:
    """Settings of numpy, torch and OpenCV that hold for the whole process."""
    cv2 = _opencv()
    numpy_options = np.get_printoptions()
    tensor_options = dict(vars(torch._tensor_str.PRINT_OPTS))
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        shown: dict[str, Any] = {k: v for k, v in numpy_options.items() if k != "override_repr"}
        np.set_printoptions(**shown)
        vars(torch._tensor_str.PRINT_OPTS).update(tensor_options)
        if torch.get_num_threads() != torch_threads:
            torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)
        if (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ) != (deterministic, warn_only):
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
