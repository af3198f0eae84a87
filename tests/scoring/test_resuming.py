"""What a run is gone on with: the same settings, models and packages; and what leaves nothing in its way."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from origcli.errors import InputError, ModelError, OrigError, UsageError
from origcli.images.inputs import Input
from origcli.inversion.token_files import write_tokens
from origcli.reports import provenance
from origcli.runtime import machine
from origcli.runtime.context import open_runtime
from origcli.runtime.provenance import package_versions
from origcli.scoring import store
from origcli.scoring.run import Request, score_images
from origcli.settings import Settings
from tests.chaos.processes import contents
from tests.scoring.runs import score

pytestmark = pytest.mark.usefixtures("pixel_metric")


class Killed(Exception):
    """Stands for a kill."""


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.fault(11, "a score that is killed while it keeps what a batch gave computes no other batch")
def test_a_kill_between_two_results_of_a_batch_changes_no_byte(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny_settings(score={"together": 2, "max_tokens": 3})
    score(settings, tmp_path / "whole", pictures[:2])
    real = store._write
    for last in (4, 6, 9, 12, 16):  # the file of all, lanes of two images; drawings of the first, the second
        left = [last]

        def write(path: Path, data: Any, left: Any = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            real(path, data)

        out = tmp_path / str(last)
        with monkeypatch.context() as patch:
            patch.setattr(store, "_write", write)
            with pytest.raises(Killed):
                score(settings, out, pictures[:2])
        score(settings, out, pictures[:2])
        assert contents(out) == contents(tmp_path / "whole"), last


@pytest.mark.fault(14, "less free memory than another time changes no byte of a score on a CPU")
def test_what_is_free_at_the_time_changes_no_byte(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny_settings(score={"together": 2, "max_tokens": 3})
    for name, available in (("much", 2**33), ("little", 2**10)):
        monkeypatch.setattr(machine, "memory_facts", lambda a=available: {"total": 2**34, "available": a})
        score(settings, tmp_path / name, pictures[:2])
    assert contents(tmp_path / "much") == contents(tmp_path / "little")


@pytest.mark.fault(12, "so are another precision, and other packages")
def test_another_precision_or_package_is_refused(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    score(tiny_settings(), tmp_path / "out", pictures[:1])
    with pytest.raises(UsageError, match="dtype was 'float32', is 'bfloat16'"):
        score(tiny_settings(runtime={"dtype": "bf16"}), tmp_path / "out", pictures[:1])
    versions = package_versions()
    monkeypatch.setattr(provenance, "package_versions", lambda: {**versions, "diffusers": "0"})
    with pytest.raises(UsageError, match=r"versions\.diffusers was .*, is '0'"):
        score(tiny_settings(), tmp_path / "out", pictures[:1])


@pytest.mark.fault(12, "and a model, or a file of first vectors, that was edited")
def test_an_edited_model_or_start_is_refused(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    tiny_bert_pipeline_dir: Path,
) -> None:
    import torch

    model = shutil.copytree(tiny_bert_pipeline_dir, tmp_path / "model")
    write_tokens(tmp_path / "start.safetensors", "<x>", {"": torch.ones(1, 16)})
    settings = tiny_settings(
        score={"model": str(model)}, invert={"initialization": str(tmp_path / "start.safetensors")}
    )
    score(settings, tmp_path / "out", pictures[:1])
    write_tokens(tmp_path / "start.safetensors", "<x>", {"": torch.zeros(1, 16)})
    with pytest.raises(UsageError, match="start was"):
        score(settings, tmp_path / "out", pictures[:1])
    write_tokens(tmp_path / "start.safetensors", "<x>", {"": torch.ones(1, 16)})
    flip_last_byte(next((model / "unet").glob("*.safetensors")))
    with pytest.raises(UsageError, match="model was"):
        score(settings, tmp_path / "out", pictures[:1])


def test_another_start_in_the_same_file_is_learned_anew(
    tmp_path: Path, pictures: list[Input], tiny_settings: Callable[..., Settings]
) -> None:
    import torch

    start = tmp_path / "start.safetensors"
    settings = tiny_settings(invert={"initialization": str(start)})
    curves: list[Any] = []
    for value in (0.0, 1.0, 0.0):
        # Not one number in all places: layer normalization takes that away.
        write_tokens(start, "<x>", {"": value * torch.linspace(-1, 1, 16)[None]})
        out = tmp_path / str(len(curves))
        curves.append(score(settings, out, pictures[:1], cache=tmp_path / "cache").results[0].curve)
    assert curves[0] == curves[2] != curves[1]


def test_a_refused_run_leaves_nothing_in_the_way(
    tmp_path: Path,
    pictures: list[Input],
    tiny_settings: Callable[..., Settings],
    tiny_bert_pipeline_dir: Path,
) -> None:
    damaged = shutil.copytree(tiny_bert_pipeline_dir, tmp_path / "damaged")
    (damaged / "unet" / "config.json").unlink()
    (tmp_path / "no-report.json").write_text(json.dumps({}))
    wrong: list[tuple[dict[str, Any], dict[str, Any], type[OrigError], str]] = [
        ({"invert": {"initialization": "日本"}}, {}, UsageError, "not words"),
        ({"score": {"max_tokens": 30}}, {}, UsageError, "longer than the text encoder"),
        ({"score": {"prompt": "a photo"}}, {}, UsageError, "must have one"),
        ({"score": {"until_reached": True}}, {}, UsageError, "needs a threshold"),
        ({"score": {"reference": str(tmp_path / "no-report.json")}}, {}, InputError, "not a report"),
        ({"score": {"model": str(damaged)}}, {}, ModelError, "damaged"),
        ({}, {"shard": "3/2"}, UsageError, "--shard"),
    ]
    out = tmp_path / "out"

    def attempt(settings: Settings, **request: Any) -> Any:
        with open_runtime(settings.runtime, out, existing="refuse") as runtime:
            return score_images(Request(pictures[:1], **request), settings, runtime)

    for changes, request, kind, words in wrong:
        with pytest.raises(kind, match=words):
            attempt(tiny_settings(**changes), **request)
        assert not out.exists(), words
    assert attempt(tiny_settings()).results
