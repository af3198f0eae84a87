"""The cache: results and features by the content that made them, under the user's cache directory."""

import os
from pathlib import Path

import platformdirs

from origcli.files import expanded
from origcli.runtime.atomic import make_directory, sweep

SCORES = "score"
ROOMS = {
    SCORES: "learned tokens, drawings and constants of scores, by content",
    "features": "features of training pictures",
    "hub": "hashes of fetched models",
    "ultralytics": "settings of ultralytics",
    "weights": "weights of YOLOv8",
}
_STALE = 24 * 3600.0  # seconds after which nobody still writes a file of the cache


def cache_directory(name: str = "") -> Path:
    """`$ORIGCLI_CACHE`, else the platform's cache directory for origcli; `name` is a room in it.

    A room is rid of what killed processes left half-written there.
    """
    root = os.environ.get("ORIGCLI_CACHE")
    path = Path(expanded(root)) if root else Path(platformdirs.user_cache_dir("origcli"))
    room = make_directory(path / name)
    if name:
        sweep(room, older_than=_STALE)
    return room
