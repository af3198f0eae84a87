"""The card of a data set: README.md, whose header tells `datasets` how the directory is read."""

from collections.abc import Mapping
from typing import Any

NAME = "README.md"

_SIZES = (1_000, 10_000, 100_000, 1_000_000)
_IN_FOLDERS = """configs:
- config_name: default
  data_files:
  - split: train
    path:
    - metadata.jsonl
    - images/**/*.png
"""
_IN_SHARDS = """configs:
- config_name: default
  data_files:
  - split: train
    path: shards/*.tar
"""


def dataset_card(facts: Mapping[str, Any]) -> str:
    """The card of a finished set.

    Args:
        facts: what goes into `dataset.json`.
    """
    recipe, count, side = facts["recipe"], facts["count"], facts["recipe"]["resolution"]
    in_shards = recipe["shards"] is not None
    kinds = facts["frequencies"]["kinds"]
    rows = "".join(
        f"| {kind} | {counts['pictures']} | {counts['share']:.4f} | {counts['expected']:.4f} |\n"
        for kind, counts in kinds.items()
    )
    columns = (
        "`png`, `txt` (the caption), `json`" if in_shards else "`image`, `text` (the caption), `elements`"
    )
    return f"""---
pretty_name: Colored shapes
task_categories:
- text-to-image
tags:
- synthetic
size_categories:
- {size_category(count)}
{_IN_SHARDS if in_shards else _IN_FOLDERS}---

# Colored shapes

{count} images of {side} × {side} pixels, made by `origcli synth` {facts["origcli"]} with the mixture
`{recipe["mixture"]}` and the seed {recipe["seed"]}. Image *i* depends on the recipe, the seed and *i* alone.
Hash of the recipe: `{facts["hash"]}`.

```python
from datasets import load_dataset

rows = load_dataset("path/to/this/directory", split="train")  # columns: {columns}
```

| images | number | share | expected |
|---|---|---|---|
{rows}
`dataset.json` has the whole recipe and the frequencies of all elements.
"""


def size_category(count: int) -> str:
    """The Hub's name for the size of a set."""
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")
    return names[sum(count >= size for size in _SIZES)]
