"""Kills at random moments, many times over: the results are those of a run that nobody disturbed.

CHAOS_KILLS is how often each command is killed, CHAOS_SEED where the moments come from.
"""

import logging
import os
import random
from pathlib import Path

import pytest

from origcli.scenes.mixtures import Recipe
from origcli.scenes.writing import write_dataset
from origcli.settings import resolve
from tests.chaos.processes import Command, contents

KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", "0"))

SCORE = {
    "ORIGCLI_INVERT_BATCH_SIZE": "2",
    "ORIGCLI_INVERT_EVALUATE_SAMPLES": "2",
    "ORIGCLI_SCORE_CEILING_SAMPLES": "4",
    "ORIGCLI_SCORE_BOOTSTRAP": "30",
    "ORIGCLI_SCORE_MEASURE_ANYWAY": "true",
}

TRAIN = """
[text_encoder]
width = 16
layers = 1
heads = 2
steps = 6
batch_size = 4
max_length = 40
[vae]
held_out = 6
[unet]
epochs = 3
batch_size = 6
channels = [8, 16]
norm_groups = 4
attention_head_dim = 8
warmup_steps = 2
checkpoint_every = 3
sample_every = 9
"""


def pictures(path: Path, count: int) -> Path:
    """A small data set of 64 pixels."""
    settings, _ = resolve({"synth": {"count": count, "resolution": 64}}, environment={})
    return write_dataset(Recipe(settings.synth, 0), path).path


def kill_and_compare(command: Command, folder: Path) -> None:
    """Kills a command `KILLS` times, in as many runs as that takes, and compares each with one unbroken."""
    moments = random.Random(SEED)
    longest = command.finish(folder / "whole")
    expected = contents(folder / "whole")
    assert expected
    left, run = KILLS, 0
    while left > 0:
        run += 1
        out = folder / f"killed-{run}"
        left -= command.killed(out, moments, longest, left)
        found = contents(out)
        assert found.keys() == expected.keys()
        assert [name for name in found if found[name] != expected[name]] == []
    logging.info("%d kills in %d runs of %.1f s each, seed %d", KILLS, run, longest, SEED)


@pytest.mark.slow
@pytest.mark.fault(
    10, "score, killed at random moments until it is done, writes the bytes of an unbroken run"
)
def test_a_score_is_killed_again_and_again(tmp_path: Path) -> None:
    queries = pictures(tmp_path / "queries", 12)
    words = ["score", str(queries), "--model", "shapes", "--max-tokens", "3", "--together", "2"]
    quick = ["--samples", "2", "--denoising-steps", "2", "--learning-steps", "4"]
    options = ["--device", "cpu", "--threads", "1", "--quiet"]
    kill_and_compare(Command([*words, *quick, *options], SCORE), tmp_path)


@pytest.mark.slow
@pytest.mark.fault(10, "so does train-unet, its weights included")
def test_a_training_is_killed_again_and_again(tmp_path: Path, tiny_bert_pipeline_dir: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TRAIN)
    data = pictures(tmp_path / "data", 60)
    words = ["train-unet", str(data), "--vae", str(tiny_bert_pipeline_dir / "vae")]
    options = ["--config", str(tmp_path / "tiny.toml"), "--device", "cpu", "--threads", "1", "--quiet"]
    kill_and_compare(Command([*words, *options], {}), tmp_path)
