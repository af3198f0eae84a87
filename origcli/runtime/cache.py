"""The cache: results and features by the content that made them, under the user's cache directory."""

import os
from pathlib import Path

import platformdirs

from origcli.runtime.run_directory import make_directory


def cache_directory(name: str = "") -> Path:
    """`$ORIGCLI_CACHE`, else the platform's cache directory for origcli; `name` is a room in it."""
    root = os.environ.get("ORIGCLI_CACHE")
    path = Path(root) if root else Path(platformdirs.user_cache_dir("origcli"))
    return make_directory(path / name)
