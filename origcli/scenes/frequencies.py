"""How often kinds of images, numbers and elements came up, beside what the mixture says of kinds."""

from collections import Counter
from typing import Any

from origcli.scenes.mixtures import Recipe
from origcli.scenes.scene import Scene

Tally = Counter[str]


def tally(counts: Tally, scene: Scene) -> None:
    """Adds a scene to counts of kinds, numbers and elements, e.g. of "number/rest/2"."""
    kind, elements = scene.category, scene.elements
    counts[f"category/{kind}"] += 1
    counts[f"number/{kind}/{len(elements)}"] += 1
    for element in elements:
        counts[f"element/{kind}/{element.phrase}"] += 1


def category_shares(recipe: Recipe) -> dict[str, float]:
    """The probability of each kind of image."""
    settings = recipe.settings
    if settings.category is not None:
        return {settings.category: 1.0}
    if settings.mixture == "uniform":
        return {"empty": settings.empty, "uniform": 1 - settings.empty}
    rest = 1 - settings.empty - settings.common - settings.rare
    return {"empty": settings.empty, "common": settings.common, "rare": settings.rare, "rest": rest}


def frequency_facts(recipe: Recipe, counts: Tally) -> dict[str, Any]:
    """The realized frequencies for `dataset.json`, and the shares of kinds that the mixture has."""
    total = sum(counts[key] for key in counts if key.startswith("category/"))
    kinds = {
        kind: {
            "pictures": counts[f"category/{kind}"],
            "share": counts[f"category/{kind}"] / total if total else 0.0,
            "expected": share,
        }
        for kind, share in category_shares(recipe).items()
    }

    numbers: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    for key, count in counts.items():
        what, value = key.split("/")[0], key.split("/")[-1]
        if what == "number":
            numbers[value] += count
        elif what == "element":
            elements[value] += count

    return {
        "kinds": kinds,
        "numbers": dict(numbers),
        "elements": {element.phrase: elements[element.phrase] for element in recipe.elements},
    }
