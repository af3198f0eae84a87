"""Latents and text states computed once: memory-mapped files keyed by what made them, with their checksums.

A file is filled under another name and renamed when it is whole, so a killed run leaves nothing
that a later one could take for complete.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn

from origcli.models.text_encoder import text_states, tokenize
from origcli.models.vae import encode_moments, to_pixels
from origcli.runtime import interrupts
from origcli.runtime.atomic import storage_error, write_text
from origcli.runtime.cache import working_directory
from origcli.runtime.context import Runtime
from origcli.runtime.device import autocast
from origcli.runtime.distributed import main_first
from origcli.runtime.memory import BatchSize
from origcli.runtime.owned import partial_name
from origcli.runtime.provenance import hash_file, hash_value
from origcli.scenes.dataset import Dataset

Rows = np.ndarray[Any, np.dtype[np.float32]]
_ENCODE_BATCH = 128


def take_room(file: BinaryIO, size: int) -> None:
    """Reserves disk space for a new file, in bytes. Where the system cannot (macOS), it writes zeros."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    block = bytes(1 << 20)
    for start in range(0, size, len(block)):
        file.write(block[: size - start])
    file.flush()


def hash_module(module: nn.Module) -> str:
    """sha256 of a module's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        plain = value.detach().cpu().contiguous(memory_format=torch.contiguous_format)
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def latent_moments(vae: Any, data: Dataset, size: int, runtime: Runtime) -> Rows:
    """Posterior moments of the first `size` images, (size, 2, c, h/f, w/f), unscaled, fp32, read-only.

    Row i holds the mean and the standard deviation, so that a training step draws its own exact
    sample of the posterior. The images themselves are in the key: a data set whose recipe says the
    same may hold others.
    """
    encoder = nn.ModuleList([vae.encoder, vae.quant_conv])  # another decoder makes no other latents
    key = hash_value(["latent moments", data.pictures_hash, size, hash_module(encoder), str(runtime.dtype)])

    @torch.inference_mode()
    def encode(first: int, count: int) -> Rows:
        pictures = np.stack([data.image(i) for i in range(first, first + count)])
        with autocast(runtime.device, runtime.dtype):
            moments = torch.stack(encode_moments(vae, to_pixels(pictures, runtime.device)), dim=1)
        return np.asarray(moments.float().cpu().numpy())

    with main_first(runtime.device):
        return _computed_once("latents", key, size, encode, runtime)


def caption_states(text_encoder: Any, tokenizer: Any, captions: Sequence[str], runtime: Runtime) -> Rows:
    """Text states (captions, L, d) of distinct captions, fp32, read-only.

    Raises:
        UsageError: a caption is longer than the text encoder holds.
    """
    ids, mask = tokenize(tokenizer, captions)
    key = hash_value(
        ["text states", list(captions), ids.tolist(), hash_module(text_encoder), str(runtime.dtype)]
    )

    @torch.inference_mode()
    def encode(first: int, count: int) -> Rows:
        part = slice(first, first + count)
        with autocast(runtime.device, runtime.dtype):
            states = text_states(text_encoder, ids[part], mask[part])
        return np.asarray(states.float().cpu().numpy())

    with main_first(runtime.device):
        return _computed_once("text states", key, len(captions), encode, runtime)


def distinct(captions: Iterable[str]) -> tuple[list[str], np.ndarray[Any, Any]]:
    """The distinct captions in order of first use, and the row of each caption."""
    rows: dict[str, int] = {}
    index = [rows.setdefault(caption, len(rows)) for caption in captions]
    return list(rows), np.asarray(index, dtype=np.int64)


def _computed_once(
    name: str, key: str, size: int, compute: Callable[[int, int], Rows], runtime: Runtime
) -> Rows:
    """Rows from the cache, or computed a batch at a time with back-off and put there."""
    path = working_directory("features") / f"{key}.npy"
    checksum = path.with_suffix(".sha256")
    # What is missing or damaged is computed again: a flipped bit would be learned from.
    with contextlib.suppress(OSError, ValueError, EOFError):
        if checksum.read_text("ascii") == hash_file(path):
            return np.load(path, mmap_mode="r", allow_pickle=False)
    partial = path.with_name(partial_name(path.name))
    batch = BatchSize(_ENCODE_BATCH, runtime.progress.say)
    try:
        _fill(name, partial, size, compute, batch, runtime)
        write_text(checksum, hash_file(partial))
        partial.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _fill(
    name: str, path: Path, size: int, compute: Callable[[int, int], Rows], batch: BatchSize, runtime: Runtime
) -> None:
    rows: np.memmap[Any, Any] | None = None
    done = 0
    with runtime.progress.task(f"compute {name}", size) as bar:
        while done < size:
            first = done
            part = batch.attempt(lambda count, first=first: compute(first, min(count, size - first)))  # type: ignore[misc]
            if rows is None:
                shape = (size, *part.shape[1:])
                # Room is taken before the work: a full disk must not end in SIGBUS while it is filled.
                with path.open("wb") as file:
                    take_room(file, int(np.prod(shape)) * 4 + 4096)
                rows = np.lib.format.open_memmap(path, "w+", np.float32, shape)
            rows[first : first + len(part)] = part
            done += len(part)
            bar.advance(len(part))
            interrupts.check()
    assert rows is not None
    rows.flush()
