"""The supplement's section 5 with the true weights: photos of street cats, one token, mean DreamSim 0.42.

Needs a GPU, Stable Diffusion 1.5 and DreamSim (`origcli fetch sd15 dreamsim clip`), and 15 photos of your
own of cats in the street, in the directory that ORIGCLI_TEST_CATS names.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.weights
@pytest.mark.gpu
def test_one_token_redraws_a_street_cat(tmp_path: Path) -> None:
    directory = os.environ.get("ORIGCLI_TEST_CATS", "")
    assert Path(directory).is_dir() and directory, "ORIGCLI_TEST_CATS must name a directory of 15 photos"
    words = ["--model", "sd15", "--preset", "paper", "--max-tokens", "1", "--metric", "dreamsim"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "origcli",
            "score",
            directory,
            *words,
            "--format",
            "json",
            "--out",
            tmp_path / "cats",
        ],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "ORIGCLI_TEST_CATS"},
    )
    assert done.returncode == 0, done.stderr
    distances = [result["curve"][0]["distance"]["value"] for result in json.loads(done.stdout)["results"]]
    assert len(distances) >= 15
    # The published mean is 0.42, of other photos of the same kind.
    assert statistics.mean(distances) == pytest.approx(0.42, abs=0.06)
