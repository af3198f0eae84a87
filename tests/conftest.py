"""Fixtures that all rooms share."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Tests that run beside each other share the cores out: threads of two that wait for each other on one core
# take four times as long. Said before torch is imported; the commands that tests start hear it, too.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

# A model without a threshold would be calibrated first, which is tested where it is meant.
os.environ.setdefault("ORIGCLI_SCORE_CALIBRATE", "false")

# A slow or busy machine is no failure.
settings.register_profile("origcli", deadline=None)
# A hundred and twenty times as many, about ten minutes of a core: pytest --hypothesis-profile=long tests/fuzz
settings.register_profile("long", deadline=None, max_examples=12_000)
settings.load_profile("origcli")


@pytest.fixture(scope="session", autouse=True)
def own_clusters() -> Iterator[None]:
    """Ray's `auto` finds the clusters of this process alone: one of a test beside it ends with that test."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", directory)  # a short path: sockets lie in it
        yield


@pytest.fixture(scope="session")
def tiny_detector_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with random weights. Do not write into it."""
    from tests.detection.tiny import write_tiny_detector

    return write_tiny_detector(tmp_path_factory.mktemp("detector") / "tiny")


@pytest.fixture(scope="session")
def tiny_bert_pipeline_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory with a BERT text encoder and v-prediction. Do not write into it."""
    from tests.tiny_models import write_tiny_pipeline

    return write_tiny_pipeline(tmp_path_factory.mktemp("tiny") / "bert", "bert")


@pytest.fixture(scope="session")
def tiny_clip_pipeline_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory with a CLIP text encoder and ε-prediction. Do not write into it."""
    from tests.tiny_models import write_tiny_pipeline

    return write_tiny_pipeline(tmp_path_factory.mktemp("tiny") / "clip", "clip")
