"""Small models of both families, as directories and as single files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from origcli.models.importing.build import Request, run
from origcli.runtime.context import Runtime
from origcli.runtime.progress import SilentProgress
from tests.single_files import load_parts, write_single_file, write_tiny_xl
from tests.stable_diffusion import write_narrow_pipeline

Import = Callable[..., dict[str, Any]]


class Listener(SilentProgress):
    """Keeps the remarks."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, message: str, always: bool = False) -> None:
        self.said.append(message)


@pytest.fixture(scope="session")
def sd_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion 1's blocks, narrow. Do not write into it."""
    return write_narrow_pipeline(tmp_path_factory.mktemp("narrow") / "sd")


@pytest.fixture(scope="session")
def xl_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion XL's blocks, narrow. Do not write into it."""
    return write_tiny_xl(tmp_path_factory.mktemp("narrow") / "xl")


@pytest.fixture(scope="session")
def sd_parts(sd_dir: Path) -> dict[str, Any]:
    return load_parts(sd_dir)


@pytest.fixture(scope="session")
def xl_parts(xl_dir: Path) -> dict[str, Any]:
    return load_parts(xl_dir)


@pytest.fixture(scope="session")
def sd_file(sd_parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_single_file(tmp_path_factory.mktemp("single") / "sd.safetensors", sd_parts)


@pytest.fixture(scope="session")
def xl_file(xl_parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_single_file(tmp_path_factory.mktemp("single") / "xl.safetensors", xl_parts)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def bring(tmp_path: Path, listener: Listener) -> Import:
    """Imports into `tmp_path / "out"`."""

    def call(base: Path | str, out: str = "out", **options: Any) -> dict[str, Any]:
        config = options.pop("config", None)
        request = Request(
            str(base), tmp_path / out, config=None if config is None else str(config), **options
        )
        return run(request, Runtime(progress=listener, offline=True))

    return call
