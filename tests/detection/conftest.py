from pathlib import Path

import pytest

from tests.detection.tiny import write_tiny_detector


@pytest.fixture(scope="session")
def tiny_detector_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not write into it."""
    return write_tiny_detector(tmp_path_factory.mktemp("detector") / "tiny")
