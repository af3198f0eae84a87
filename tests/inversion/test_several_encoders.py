"""Tokens of models with several text encoders: every encoder learns, alone and together, and resumes."""

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image

from origcli.errors import Interrupted
from origcli.inversion.embeddings import initial_vectors, learning_rates
from origcli.inversion.optimization import invert
from origcli.models.pipeline import DiffusionModel, load_pipeline
from origcli.models.words import Vectors
from origcli.runtime.context import Runtime
from tests.inversion.conftest import invert_settings
from tests.tiny_families import write_tiny_family

Seen = dict[int, Mapping[str, Mapping[int, Vectors]]]


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """Three text encoders and flow matching."""
    return load_pipeline(write_tiny_family(tmp_path_factory.mktemp("several") / "sd3", "sd3"), Runtime())


def test_every_encoders_vectors_move_by_about_their_own_rate(
    sd3: DiffusionModel, pictures: list[Image.Image]
) -> None:
    settings = invert_settings(steps=1, learning_rate="auto")
    (found,) = invert(sd3, pictures[:1], ["a"], [2], settings, Runtime())
    rates, start = learning_rates(sd3, "auto"), initial_vectors(sd3, settings.initialization, 2)
    assert list(found.vectors[2]) == ["clip_l", "clip_g", "t5xxl"] and len(set(rates.values())) == 3
    for key, vectors in found.vectors[2].items():
        moved = (vectors - start[key]).abs()
        assert float(moved.max()) == pytest.approx(rates[key], rel=0.01)  # Adam's first step


def test_joint_and_solo_runs_agree(sd3: DiffusionModel, pictures: list[Image.Image]) -> None:
    settings = invert_settings(steps=3)
    joint = invert(sd3, pictures[:2], ["a", "b"], [1, 2], settings, Runtime())
    (alone,) = invert(sd3, pictures[1:2], ["b"], [2], settings, Runtime())
    for key, vectors in alone.vectors[2].items():
        torch.testing.assert_close(joint[1].vectors[2][key], vectors, rtol=0, atol=2e-5)


def test_a_stopped_and_resumed_run_is_equal_bit_by_bit(
    sd3: DiffusionModel, pictures: list[Image.Image], tmp_path: Path
) -> None:
    settings = invert_settings(steps=4, preview_every=2, checkpoint_every=2)
    whole: Seen = {}
    invert(sd3, pictures[:1], ["a"], [2], settings, Runtime(), watch=whole.__setitem__)

    def stopped(step: int, vectors: Mapping[str, Mapping[int, Vectors]]) -> None:
        if step == 4:
            raise Interrupted(signal.SIGTERM)

    seen: Seen = {}
    with pytest.raises(Interrupted):
        invert(sd3, pictures[:1], ["a"], [2], settings, Runtime(), checkpoint=tmp_path, watch=stopped)
    invert(sd3, pictures[:1], ["a"], [2], settings, Runtime(), checkpoint=tmp_path, watch=seen.__setitem__)
    assert list(seen) == [4]
    for key, vectors in whole[4]["a"][2].items():
        assert torch.equal(seen[4]["a"][2][key], vectors), key
