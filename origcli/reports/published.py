"""Writes or checks the published JSON Schema files: `python -m origcli.reports.published --update`."""

import sys
from pathlib import Path

from origcli.reports.schema import SCHEMAS, schema_text

DIRECTORY = Path(__file__).parent / "schemas"


def stale() -> list[str]:
    """The files that differ from what the models say, are missing, or belong to no report."""
    wanted = {f"{name}.json": schema_text(name) for name in SCHEMAS}
    published = {path.name: path.read_text("utf-8") for path in DIRECTORY.glob("*.json")}
    return sorted(
        name for name in wanted.keys() | published.keys() if wanted.get(name) != published.get(name)
    )


def update() -> None:
    """Makes the directory what it should be."""
    for path in DIRECTORY.glob("*.json"):
        path.unlink()
    for name in SCHEMAS:
        (DIRECTORY / f"{name}.json").write_text(schema_text(name), "utf-8")


if __name__ == "__main__":
    if "--update" in sys.argv:
        update()
    sys.exit(f"stale: {', '.join(stale())}; run with --update" if stale() else 0)
