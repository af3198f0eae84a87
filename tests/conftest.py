"""Fixtures that all rooms share."""

from pathlib import Path

import pytest
from hypothesis import settings

# A slow or busy machine is no failure.
settings.register_profile("origcli", deadline=None)
# Ten times as many: pytest --hypothesis-profile=long tests/fuzz
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile("origcli")


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
